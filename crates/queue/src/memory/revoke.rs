//! Ends that no holder of a lease reports.

use cresset_task::{Event, Move, Outcome, State, TaskId, Timestamp};

use super::tables::{Order, Tables};
use crate::{Cancelled, Expiries};

/// Tasks of each kind that one expiry revokes at most.
const EXPIRED_MAX: usize = 500;

const EXPIRED: &str = "it expired before it could run";
const OVERDUE: &str = "its deadline passed while it ran";

impl Tables {
    fn revoke(&mut self, seq: u64, reason: &str, now: Timestamp) {
        self.change(seq, |task| {
            let record = &mut task.record;
            record.state = State::Revoked;
            record.outcome = Some(Outcome::Revoked {
                reason: reason.into(),
            });
            record.finished_at = Some(now);
            record.due_at = None;
        });
        self.tell(seq, Event::Revoked, 0, now);
    }

    pub(super) fn cancel(&mut self, id: TaskId, reason: &str, now: Timestamp) -> Cancelled {
        let Some((seq, task)) = self.task(id) else {
            return match self.tombstones.contains_key(&id) {
                true => Cancelled::Expired,
                false => Cancelled::Unknown,
            };
        };
        let (state, model) = (task.record.state, task.record.model.clone());
        if state.after(Move::Revoke).is_err() {
            return Cancelled::Ended(state);
        }
        self.revoke(seq, reason, now);
        match state {
            State::Started => Cancelled::Leased(model),
            _ => Cancelled::Queued(model),
        }
    }

    pub(super) fn expire(&mut self, now: Timestamp) -> Expiries {
        let past = |order: &Order<Timestamp>| -> Vec<u64> {
            let past = order.iter().take_while(|(at, _)| *at <= now);
            past.take(EXPIRED_MAX).map(|(_, seq)| *seq).collect()
        };
        let (expired, overdue) = (past(&self.expiring), past(&self.overdue));
        let mut end = |chunk: Vec<u64>, reason| -> Vec<_> {
            let mut ended = Vec::new();
            for seq in chunk {
                self.revoke(seq, reason, now);
                let task = self.tasks.get(&seq);
                ended.extend(task.map(|task| (task.record.id, task.record.model.clone())));
            }
            ended
        };
        let (revoked, stopped) = (end(expired, EXPIRED), end(overdue, OVERDUE));
        let firsts = [self.expiring.first(), self.overdue.first()];
        let next = firsts.into_iter().flatten().map(|(at, _)| *at).min();
        Expiries {
            revoked,
            stopped,
            next,
        }
    }
}
