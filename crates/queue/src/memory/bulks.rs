//! Bulks.

use std::collections::{BTreeMap, HashMap};

use cresset_task::{BulkId, ModelName, Ownership, TaskId, Tenant, Timestamp};

use super::tables::Tables;
use crate::{
    BULK_PAGE_MAX, BULKS_MAX, Bulk, BulkAdded, BulkCounts, BulkCursor, BulkFound, BulkLine, BulkMade,
    BulkPage, BulkQuery, BulkSealed, IdempotencyKey, NewBulk,
};

/// A bulk with what its record does not show.
#[derive(Debug)]
struct Held {
    new: NewBulk,
    touched_at: Timestamp,
    total: Option<u64>,
    cancelled_at: Option<Timestamp>,
    lines: Vec<Result<TaskId, String>>,
}

#[derive(Debug, Default)]
pub(super) struct Bulks {
    last: u64,
    held: BTreeMap<u64, Held>,
    ids: HashMap<BulkId, u64>,
    keys: HashMap<(ModelName, IdempotencyKey), BulkId>,
}

impl Bulks {
    pub(super) fn make(&mut self, new: NewBulk) -> BulkMade {
        if let Some(key) = &new.key {
            let name = (new.model.clone(), key.clone());
            if let Some(known) = self.keys.get(&name) {
                return BulkMade::Known(*known);
            }
            self.keys.insert(name, new.id);
        }
        self.last += 1;
        self.ids.insert(new.id, self.last);
        let held = Held {
            touched_at: new.created_at,
            new,
            total: None,
            cancelled_at: None,
            lines: Vec::new(),
        };
        self.held.insert(self.last, held);
        BulkMade::New
    }

    fn get(&self, id: BulkId) -> Option<&Held> {
        self.held.get(self.ids.get(&id)?)
    }

    fn get_mut(&mut self, id: BulkId) -> Option<&mut Held> {
        self.held.get_mut(self.ids.get(&id)?)
    }

    pub(super) fn seal(&mut self, id: BulkId, total: u64) -> BulkSealed {
        let Some(held) = self.get_mut(id) else {
            return BulkSealed::Unknown;
        };
        let accepted = held.lines.len() as u64;
        if accepted != total {
            return BulkSealed::Differs(accepted);
        }
        held.total = Some(total);
        BulkSealed::Sealed
    }

    pub(super) fn cancel(&mut self, id: BulkId, now: Timestamp) -> bool {
        let Some(held) = self.get_mut(id) else {
            return false;
        };
        held.cancelled_at.get_or_insert(now);
        true
    }
}

impl Tables {
    pub(super) fn bulk_add(
        &mut self,
        id: BulkId,
        first: u64,
        lines: Vec<BulkLine>,
        now: Timestamp,
    ) -> Result<BulkAdded, TaskId> {
        let Some(held) = self.bulks.get(id) else {
            return Ok(BulkAdded::Unknown);
        };
        let accepted = held.lines.len() as u64;
        if first > accepted {
            return Ok(BulkAdded::Gap(accepted));
        }
        let known = usize::try_from(accepted - first).unwrap_or(usize::MAX);
        if lines.len() <= known {
            return Ok(BulkAdded::Added(0));
        }
        if let Some(total) = held.total {
            return Ok(BulkAdded::Sealed(total));
        }
        if held.cancelled_at.is_some() {
            return Ok(BulkAdded::Cancelled);
        }
        for line in lines.iter().skip(known) {
            if let BulkLine::Task(task) = line
                && (self.task(task.id).is_some() || self.tombstones.contains_key(&task.id))
            {
                return Err(task.id);
            }
        }
        let mut fresh = Vec::new();
        for line in lines.into_iter().skip(known) {
            fresh.push(match line {
                BulkLine::Wrong(error) => Err(error),
                BulkLine::Task(mut task) => {
                    task.idempotency = None;
                    let id = task.id;
                    self.submit(*task, None);
                    Ok(id)
                }
            });
        }
        let added = fresh.len();
        if let Some(held) = self.bulks.get_mut(id) {
            held.lines.extend(fresh);
            held.touched_at = held.touched_at.max(now);
        }
        Ok(BulkAdded::Added(added))
    }

    pub(super) fn bulk(&self, id: BulkId) -> Option<Bulk> {
        self.bulks.get(id).map(|held| self.shown(held))
    }

    fn shown(&self, held: &Held) -> Bulk {
        let mut counts = BulkCounts::default();
        let mut last = None;
        for line in &held.lines {
            let task = line.as_ref().map(|id| self.task(*id));
            let place = match task {
                Err(_) => &mut counts.wrong,
                Ok(None) => &mut counts.forgotten,
                Ok(Some((_, task))) => {
                    last = last.max(task.record.finished_at);
                    counts.of_state(task.record.state)
                }
            };
            *place += 1;
        }
        let NewBulk {
            id,
            model,
            tenant,
            metadata,
            created_at,
            ..
        } = held.new.clone();
        Bulk {
            id,
            model,
            tenant,
            metadata,
            created_at,
            accepted: held.lines.len() as u64,
            total: held.total,
            cancelled_at: held.cancelled_at,
            finished_at: last.filter(|_| counts.open() == 0),
            counts,
        }
    }

    pub(super) fn bulk_owner(&self, id: BulkId) -> Ownership {
        let held = self.bulks.get(id);
        held.map_or(Ownership::Unknown, |held| Ownership::Of(held.new.tenant.clone()))
    }

    pub(super) fn bulk_lines(&self, id: BulkId, from: u64, limit: usize) -> Vec<BulkFound> {
        let lines = self.bulks.get(id).map_or(&[][..], |held| &held.lines);
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let found = lines.iter().skip(from).take(limit.clamp(1, BULK_PAGE_MAX));
        let found = found.map(|line| match line {
            Err(error) => BulkFound::Wrong(error.clone()),
            Ok(id) if self.task(*id).is_some() => BulkFound::Task(*id),
            Ok(_) => BulkFound::Forgotten,
        });
        found.collect()
    }

    pub(super) fn bulk_open(&self, id: BulkId, limit: usize) -> Vec<TaskId> {
        let lines = self.bulks.get(id).map_or(&[][..], |held| &held.lines);
        let is_open = |id: &TaskId| {
            self.task(*id)
                .is_some_and(|(_, task)| !task.record.state.is_terminal())
        };
        let open = lines.iter().flatten().copied().filter(is_open);
        open.take(limit.clamp(1, BULK_PAGE_MAX)).collect()
    }

    pub(super) fn bulk_list(&self, query: &BulkQuery) -> BulkPage {
        let before = query.after.map_or(u64::MAX, |BulkCursor(place)| place);
        let is_meant = |tenant: &Option<Tenant>| query.tenant.is_none() || query.tenant == *tenant;
        let mut found =
            (self.bulks.held.range(..before).rev()).filter(|(_, held)| is_meant(&held.new.tenant));
        let page: Vec<_> = found.by_ref().take(query.limit.clamp(1, BULKS_MAX)).collect();
        let last = page.last().map(|(seq, _)| BulkCursor(**seq));
        BulkPage {
            next: last.filter(|_| found.next().is_some()),
            bulks: page.into_iter().map(|(_, held)| self.shown(held)).collect(),
        }
    }

    pub(super) fn bulk_purge(&mut self, max: usize, is_old: impl Fn(&Timestamp) -> bool) -> usize {
        let is_over = |held: &Held| {
            is_old(&held.touched_at) && held.lines.iter().flatten().all(|id| self.task(*id).is_none())
        };
        let over: Vec<u64> = (self.bulks.held.iter())
            .filter(|(_, held)| is_over(held))
            .take(max)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in &over {
            if let Some(held) = self.bulks.held.remove(seq) {
                self.bulks.ids.remove(&held.new.id);
                if let Some(key) = held.new.key {
                    self.bulks.keys.remove(&(held.new.model, key));
                }
            }
        }
        over.len()
    }
}
