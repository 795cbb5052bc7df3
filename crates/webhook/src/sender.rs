//! Takes what is due out of the outbox, sends it, and says what became of it. Never more than so much at once, in all and for each
//! host; nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_queue::{Backend, Finished, Lookup, OutboxLoad, OutboxRequest, QueueError, Sending, Told, Tried};
use cresset_task::{Span, SpanId, SpanKind, Spans, TaskRecord, Timestamp, Word};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::courier::{Courier, Reply, Trouble, Words, understand};
use crate::hosts::{Hosts, PER_HOST};
use crate::message;
use crate::policy::{Answer, HOST_PAUSE_LONGEST, Policy, Verdict, dice};

/// Sent at once, in all: each is a connection and at most a body, and most of the time waits for the other side.
const AT_ONCE: usize = 128;
/// Bodies made at once: each may have a whole result in memory, if only to find that it is too large to be sent.
const WRITES_AT_ONCE: usize = 2;
/// The wall clock is looked at this often while something waits for its time: one set forwards is noticed this soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is due and cannot be sent now is looked at again after this, unless something ends before.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A store that refused is asked again after this.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// When the server stops, what is being sent has so long to end; else it is sent again after the next start.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Makes the `data` of a message, as JSON, of at most [`message::BODY_MAX`] or little more.
pub trait Writer: Send + Sync {
    /// `record` is the task as it is now; `None` when it has been purged.
    fn write(&self, sending: &Sending, record: Option<&TaskRecord>) -> Vec<u8>;
}

/// What became of a try, to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Delivered.
    Delivered,
    /// It will be tried again.
    PutOff,
    /// It will not.
    GivenUp,
    /// The address wants nothing more.
    Disabled,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::PutOff, Self::GivenUp, Self::Disabled];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::PutOff => "put_off",
            Self::GivenUp => "given_up",
            Self::Disabled => "disabled",
        }
    }
}

/// Counts.
pub trait Tally: Send + Sync {
    /// One try has ended, after so long.
    fn tried(&self, outcome: Outcome, took: Duration);
}

/// What a flight needs.
struct Crew {
    backend: Arc<dyn Backend>,
    courier: Arc<Courier>,
    writer: Arc<dyn Writer>,
    tally: Arc<dyn Tally>,
    policy: Policy,
    writes: Semaphore,
    stop: CancellationToken,
    spans: Option<Arc<dyn Spans>>,
}

/// Empties the outbox.
pub struct Sender {
    crew: Arc<Crew>,
    hosts: Hosts,
    /// Hosts behind this one are looked at next.
    after: Option<String>,
}

/// A try that has ended.
struct Landed {
    host: String,
    /// The host is well, whatever it thinks of this message.
    answered: bool,
    asked: Duration,
}

impl Sender {
    /// One that runs until `stop`.
    #[must_use]
    pub fn new(
        backend: Arc<dyn Backend>,
        courier: Arc<Courier>,
        writer: Arc<dyn Writer>,
        tally: Arc<dyn Tally>,
        policy: Policy,
        stop: CancellationToken,
    ) -> Self {
        let crew = Crew {
            backend,
            courier,
            writer,
            tally,
            policy,
            writes: Semaphore::new(WRITES_AT_ONCE),
            stop,
            spans: None,
        };
        Self {
            crew: Arc::new(crew),
            hosts: Hosts::default(),
            after: None,
        }
    }

    /// One whose tries are told to these.
    #[must_use]
    pub fn recorded_by(mut self, spans: Option<Arc<dyn Spans>>) -> Self {
        if let Some(crew) = Arc::get_mut(&mut self.crew) {
            crew.spans = spans;
        }
        self
    }

    /// Runs. What is being sent at the end is given a moment, and otherwise left to the next start.
    pub async fn run(mut self) {
        let mut load = self.crew.backend.outbox();
        let mut flights = JoinSet::new();
        loop {
            let OutboxLoad { open, next_due, .. } = *load.borrow_and_update();
            let refused = match next_due {
                Some(due) if due <= Timestamp::now() => self.launch(&mut flights).await,
                _ => None,
            };
            let pause = refused.unwrap_or_else(|| self.until(load.borrow().next_due));
            // Cancel-safe: a watch, a JoinSet and a token.
            tokio::select! {
                biased;
                () = self.crew.stop.cancelled() => break,
                Some(landed) = flights.join_next() => self.land(landed),
                changed = load.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(pause), if open > 0 => {}
            }
        }
        let rest = async { while flights.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, rest).await.is_err() {
            tracing::info!("webhooks that are being sent are left to the next start");
        }
    }

    /// How long there is nothing to do but wait, if nothing happens.
    fn until(&self, next: Option<Timestamp>) -> Duration {
        let due = next.map_or(LOOK_EVERY, |next| next.since(Timestamp::now()));
        let now = Instant::now();
        let paused = self.hosts.next(now).map_or(LOOK_EVERY, |then| then - now);
        // Due already, and not sent: for want of room, or of the host's pause.
        let due = if due.is_zero() {
            paused.max(LOOK_AGAIN)
        } else {
            due
        };
        due.min(LOOK_EVERY)
    }

    /// Sends what is due and has room; how long to leave the store alone, if it refused.
    async fn launch(&mut self, flights: &mut JoinSet<Landed>) -> Option<Duration> {
        // Once around: from where the last walk stopped to the end, and from the beginning.
        let mut again = self.after.is_some();
        loop {
            let max = AT_ONCE.saturating_sub(flights.len());
            if max == 0 {
                return None;
            }
            let request = OutboxRequest {
                now: Timestamp::now(),
                max,
                per_host: PER_HOST,
                rooms: self.hosts.rooms(Instant::now()),
                after: self.after.take(),
            };
            let found = match self.crew.backend.outbox_lease(request).await {
                Ok(found) => found,
                Err(error) => {
                    refused(&error);
                    return Some(REFUSED_PAUSE);
                }
            };
            for sending in found.sendings {
                self.hosts.begins(sending.url.host());
                flights.spawn(fly(Arc::clone(&self.crew), sending));
            }
            self.after = found.next;
            if self.after.is_none() && !std::mem::take(&mut again) {
                return None;
            }
        }
    }

    fn land(&mut self, landed: Result<Landed, tokio::task::JoinError>) {
        match landed {
            Ok(Landed {
                host,
                answered,
                asked,
            }) => {
                self.hosts
                    .ended(&host, answered, asked, &self.crew.policy, Instant::now());
            }
            // Its lease ends with the process, and its host has less room until then.
            Err(error) => tracing::error!(%error, "a webhook could not be sent"),
        }
    }
}

/// One try, from the lease to its end.
async fn fly(crew: Arc<Crew>, sending: Sending) -> Landed {
    let host = sending.url.host().to_owned();
    let mut landed = Landed {
        host,
        answered: true,
        asked: Duration::ZERO,
    };
    let (words, parent) = match crew.words(&sending).await {
        Ok(words) => words,
        Err(error) => {
            // It says nothing of the receiver: tried again soon, by the same count.
            refused(&error);
            let due = Timestamp::now().plus(REFUSED_PAUSE);
            crew.settle(
                &sending,
                Told::Again(due),
                None,
                Some("the task could not be read".into()),
            )
            .await;
            return landed;
        }
    };
    let (began, began_at) = (Instant::now(), Timestamp::now());
    let reply = crew.courier.post(&sending.url, &words, Timestamp::now()).await;
    let trace_id = words
        .trace
        .as_ref()
        .map(|trace| tracing::field::display(trace.id));
    if let Err(Trouble::Refused(address)) = &reply {
        tracing::warn!(id = %sending.id, trace_id, host = landed.host, %address, "a webhook leads where none may go");
    }
    let now = Timestamp::now();
    let (answer, note) = understand(&reply, now);
    landed.answered = match answer {
        Answer::Status(status, _) => !matches!(status, 429 | 502..=504),
        Answer::Refused => true,
        Answer::None => false,
    };
    if let Answer::Status(429 | 503, Some(asked)) = answer {
        landed.asked = asked.min(HOST_PAUSE_LONGEST);
    }
    let dice = dice(sending.id, sending.tries);
    let verdict = crew.policy.judge(answer, sending.tries, sending.since, now, dice);
    let (told, outcome) = match verdict {
        Verdict::Delivered => (Told::Delivered, Outcome::Delivered),
        Verdict::Again(wait) => (Told::Again(now.plus(wait)), Outcome::PutOff),
        Verdict::GivenUp => (Told::Failed, Outcome::GivenUp),
        Verdict::Gone => (Told::Disabled, Outcome::Disabled),
    };
    if matches!(outcome, Outcome::GivenUp | Outcome::Disabled) {
        tracing::warn!(
            id = %sending.id, trace_id, host = landed.host, tries = sending.tries, note, outcome = outcome.name(),
            "a webhook was not delivered and is not tried again"
        );
    }
    if outcome == Outcome::Delivered {
        tracing::debug!(id = %sending.id, trace_id, host = landed.host, "a webhook was delivered");
    }
    crew.record(&sending, &words, parent, (began_at, now), &reply);
    crew.tally.tried(outcome, began.elapsed());
    crew.settle(&sending, told, reply.ok().map(|reply| reply.status), note)
        .await;
    landed
}

impl Crew {
    /// The message, and the span that its try is a part of.
    async fn words(&self, sending: &Sending) -> Result<(Words, Option<SpanId>), QueueError> {
        let _turn = self.writes.acquire().await;
        let found = self.backend.fetch(sending.id.task).await?;
        let record = match &found {
            Lookup::Found(record) => Some(&**record),
            Lookup::Expired | Lookup::Unknown => None,
        };
        let data = self.writer.write(sending, record);
        let body = message::body(sending.id.event.kind(), sending.at, &data);
        let trace = record.and_then(|record| record.trace.as_ref());
        let words = Words {
            id: sending.id.to_string(),
            body: Bytes::from(body),
            trace: trace.map(|trace| trace.at(SpanId::fresh())),
        };
        Ok((words, trace.map(|trace| trace.span)))
    }

    /// A try has ended: told to whoever records spans.
    fn record(
        &self,
        sending: &Sending,
        words: &Words,
        parent: Option<SpanId>,
        (began, ended): (Timestamp, Timestamp),
        reply: &Result<Reply, Trouble>,
    ) {
        let (Some(spans), Some(place)) = (&self.spans, &words.trace) else {
            return;
        };
        if !place.is_sampled {
            return;
        }
        let mut said: Vec<(&str, Word)> = vec![
            ("cresset.task.id", sending.id.task.to_string().into()),
            ("cresset.webhook.event", sending.id.event.kind().into()),
            ("cresset.webhook.try", sending.tries.into()),
            ("server.address", sending.url.host().to_owned().into()),
        ];
        let error = match reply {
            Ok(reply) => {
                said.push(("http.response.status_code", i64::from(reply.status).into()));
                (!(200..300).contains(&reply.status)).then(|| format!("it answered {}", reply.status))
            }
            Err(trouble) => Some(trouble.to_string()),
        };
        spans.ended(Span {
            place: place.clone(),
            parent,
            kind: SpanKind::Client,
            name: "webhook".into(),
            began,
            ended,
            words: said,
            links: Vec::new(),
            error,
        });
    }

    /// Until the store takes it, or the server stops: then it is sent once more, under the same name.
    async fn settle(&self, sending: &Sending, told: Told, status: Option<u16>, note: Option<String>) {
        let tried = Tried {
            id: sending.id,
            fence: sending.fence,
            at: Timestamp::now(),
            told,
            status,
            note,
        };
        loop {
            match self.backend.outbox_settle(tried.clone()).await {
                Ok(Finished::Recorded) => return,
                Ok(Finished::Stale) => {
                    tracing::debug!(id = %sending.id, "the end of a try came too late");
                    return;
                }
                Err(error) => refused(&error),
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(REFUSED_PAUSE) => {}
            }
        }
    }
}

fn refused(error: &QueueError) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "the outbox cannot be used now"
    );
}
