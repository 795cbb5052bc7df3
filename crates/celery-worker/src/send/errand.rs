//! One item at the workers, from the message to its result.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_celery::{BODY_BYTES_MAX, Call, Cargo, Message, Outgoing, PARCEL_LOST, Parcel, Sending, Told};
use cresset_config::{Arguments, Celery, CeleryCall, ServiceUrl};
use cresset_runner::{ItemEnd, Name};
use cresset_task::{Code, Failure, Payload, TaskId, Timestamp, Trace};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::courier::{Courier, Moves, Way};
use crate::depot::{Depot, Left, Never, Passage};
use crate::insist::{Abandoned, insist};
use crate::transport::Refused;

/// Priorities of Celery with Redis: 0 goes first, 9 last, and most have 0.
const REDIS_LAST: i64 = 9;
/// In a fleet: the step of a usual task, as predictions have the first.
const REDIS_USUAL: i64 = 3;
/// A result that has not been told by then is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// An item is sent so often, when what its messages refer to is not there any more; the last time all goes whole.
const TRIES_MAX: u32 = 3;

/// One item.
pub(super) struct Errand {
    courier: Arc<Courier>,
    call: Arc<CeleryCall>,
    id: String,
    name: Name,
    trace: Option<Trace>,
    input: Payload,
    /// By which it may go, if it is large.
    passage: Option<Arc<Passage>>,
    left: Left,
}

/// What a message says of the store.
#[derive(Default)]
struct ByStore {
    /// Where its input is.
    parcel: Option<Parcel>,
    /// Where a large result may be left.
    results: Option<Uuid>,
}

/// What has become of one try.
enum Tried {
    End(ItemEnd),
    /// What was referred to is not there any more: the input, or the result.
    Lost(Failure),
}

/// It was stopped before its end.
pub(super) struct Stopped {
    /// Workers may know of it.
    pub(super) is_sent: bool,
}

impl Errand {
    pub(super) fn new(
        courier: Arc<Courier>,
        call: Arc<CeleryCall>,
        passage: Option<Arc<Passage>>,
        input: Payload,
        name: Name,
        trace: Option<Trace>,
    ) -> Self {
        let task = name.task.unwrap_or_else(TaskId::fresh).to_string();
        // To servers of ours each try goes by a name of its own: what copies of an earlier one come to is not this one's end.
        let id = match name.retries {
            retries @ 1.. if courier.fleet.is_some() => format!("{task}-{retries}"),
            _ => task,
        };
        Self {
            courier,
            call,
            id,
            name,
            trace,
            input,
            left: Left::new(passage.as_ref().map(|passage| Arc::clone(&passage.depot))),
            passage,
        }
    }

    /// Runs it, until `stop`. `tell` is told how far it has come.
    pub(super) async fn run<F: Future<Output = ()>>(
        &self,
        stop: &CancellationToken,
        tell: impl Fn(f64, Option<String>) -> F,
    ) -> Result<ItemEnd, Stopped> {
        let mut number = 1;
        loop {
            let end = match self.once(number, stop, &tell).await? {
                Tried::End(end) => end,
                Tried::Lost(failure) if number < TRIES_MAX => {
                    tracing::info!(id = self.id, why = failure.message, "an item is sent once more");
                    number += 1;
                    continue;
                }
                Tried::Lost(failure) => ItemEnd::Failed(failure),
            };
            self.left.done();
            return Ok(end);
        }
    }

    async fn once<F: Future<Output = ()>>(
        &self,
        number: u32,
        stop: &CancellationToken,
        tell: &impl Fn(f64, Option<String>) -> F,
    ) -> Result<Tried, Stopped> {
        let passage = self.passage.as_ref().filter(|_| number < TRIES_MAX);
        let mut by_store = ByStore {
            parcel: None,
            results: passage.map(|passage| passage.depot.store()),
        };
        let passage =
            passage.filter(|passage| passage.depot.takes(self.input.weight()) && (passage.is_shared)());
        let whole = match passage.is_none().then(|| self.message(&by_store)).transpose() {
            Ok(whole) => whole,
            Err(why) => return Ok(Tried::End(invalid(why))),
        };
        let early = |_: Abandoned| Stopped { is_sent: number > 1 };
        let answers = &*self.courier.answers;
        // Before it is sent: nothing may be missed.
        let expected = insist(stop, "waiting for a result", || answers.expect(&self.id));
        let mut expected = expected.await.map_err(early)?;
        if number > 1 || self.name.task.is_some() && !self.name.is_first {
            // An earlier attempt may have sent it, and ended before it could take its result.
            let stored = insist(stop, "looking for a result", || answers.stored(&self.id));
            if let Some(told) = stored.await.map_err(early)? {
                return self.end(told, stop).await.map_err(early);
            }
        }
        let late = |_: Abandoned| Stopped { is_sent: true };
        if let Some(passage) = passage {
            by_store.parcel = self.leave(&passage.depot, stop).await.map_err(early)?;
        }
        let message = match whole.map_or_else(|| self.message(&by_store), Ok) {
            Ok(message) => message,
            Err(why) => return Ok(Tried::End(invalid(why))),
        };
        // From before it is sent: whoever takes it may be no master any more.
        let moves = self.courier.moves();
        if let Some(refused) = self.send(&message, stop).await.map_err(late)? {
            return Ok(Tried::End(refused));
        }
        let deadline = Instant::now() + self.call.timeout;
        // It can be made again, and need not lie here for as long as the item is away.
        drop(message);
        let mut again = pin!(self.missed(&by_store, stop, moves));
        loop {
            let told = tokio::select! {
                told = expected.next() => told,
                missed = &mut again, if self.courier.fleet.is_some() => match missed.map_err(late)? {
                    Missed::Told(told) => told,
                    Missed::Refused(end) => return Ok(Tried::End(end)),
                },
                () = tokio::time::sleep_until(deadline) => {
                    self.revoke().await;
                    return Ok(Tried::End(ItemEnd::Failed(self.overdue())));
                }
                () = stop.cancelled() => return Err(Stopped { is_sent: true }),
            };
            match told {
                Told::Going(fraction, words) => tell(fraction, words).await,
                end => return self.end(end, stop).await.map_err(late),
            }
        }
    }

    /// Nobody waits for it any more.
    pub(super) async fn revoke(&self) {
        self.left.done();
        self.courier.revoke(&self.id, self.call.terminate).await;
    }

    /// Nobody has been sent it.
    pub(super) fn unsent(&self) {
        self.left.done();
    }

    /// Leaves the input in the store; none when that takes it never.
    async fn leave(&self, depot: &Depot, stop: &CancellationToken) -> Result<Option<Parcel>, Abandoned> {
        let (parcel, bytes) = depot.pack(&self.input);
        self.left.add(parcel.id);
        let put = insist(stop, "leaving an input in the store", || {
            depot.put(&parcel, &bytes)
        });
        Ok(match put.await? {
            Ok(()) => Some(parcel),
            Err(Never(why)) => {
                tracing::warn!(why, "a large input cannot be left in the store and is sent whole");
                None
            }
        })
    }

    /// A result that was left in the store.
    async fn fetch(&self, parcel: &Parcel, stop: &CancellationToken) -> Result<Tried, Abandoned> {
        let depot = self.passage.as_ref().map(|passage| &passage.depot);
        let Some(depot) = depot.filter(|depot| depot.store() == parcel.store) else {
            let why = "the result was left in a store that this gateway does not have".into();
            return Ok(Tried::Lost(failed(Code::Internal, PARCEL_LOST, why)));
        };
        let had = insist(stop, "fetching a result from the store", || depot.get(parcel)).await?;
        depot.done(parcel.id);
        Ok(match had {
            Ok(Some(output)) => Tried::End(ItemEnd::Done(output)),
            Ok(None) => {
                let why = format!("the result is not in the store any more (parcel {})", parcel.id);
                Tried::Lost(failed(Code::Internal, PARCEL_LOST, why))
            }
            Err(Never(why)) => Tried::Lost(failed(Code::Internal, PARCEL_LOST, why)),
        })
    }

    async fn end(&self, told: Told, stop: &CancellationToken) -> Result<Tried, Abandoned> {
        let tried = match told {
            Told::Parcel(parcel) => self.fetch(&parcel, stop).await?,
            Told::Failure(failure) if self.courier.fleet.is_some() && is_lost(&failure) => {
                Tried::Lost(failure)
            }
            told => return self.plain_end(told, stop).await.map(Tried::End),
        };
        if matches!(tried, Tried::Lost(_)) {
            let answers = &self.courier.answers;
            insist(stop, "forgetting what is lost", || answers.forget(&self.id)).await?;
        }
        Ok(tried)
    }

    async fn plain_end(&self, told: Told, stop: &CancellationToken) -> Result<ItemEnd, Abandoned> {
        Ok(match told {
            Told::Success(text) => ItemEnd::Done(Payload::Json(Bytes::from(text))),
            Told::Tensors(set) => ItemEnd::Done(Payload::Tensors(set)),
            // That stays, as a result does: it is not tried again.
            Told::Failure(failure) if failure.code == Code::Revoked => ItemEnd::Failed(failure),
            Told::Failure(failure) => {
                // When it is tried again, this end must not be taken for that try's.
                insist(stop, "forgetting a failure", || {
                    self.courier.answers.forget(&self.id)
                })
                .await?;
                ItemEnd::Failed(failure)
            }
            Told::Parcel(_) | Told::Going(..) => ItemEnd::Failed(failed(
                Code::Internal,
                "Internal",
                "a task that goes on was taken for one that has ended".into(),
            )),
        })
    }

    /// Sends it; gives its end when it can never be sent.
    async fn send(&self, message: &Outgoing, stop: &CancellationToken) -> Result<Option<ItemEnd>, Abandoned> {
        let sent = insist(stop, "sending a task", || self.courier.transport.offer(message));
        Ok(sent.await?.map(|Refused(why)| {
            let message = format!("the message for the workers cannot be sent: {why}");
            ItemEnd::Failed(failed(Code::InvalidInput, "InvalidInput", message))
        }))
    }

    /// Looks for what may have been missed, now and then. When a broker has been away, or is another one than before, it may have lost the
    /// message, or its result: what has none by then is sent once more. Workers of ours take that as they take every message; one of the two
    /// ends counts.
    async fn missed(
        &self,
        by_store: &ByStore,
        stop: &CancellationToken,
        mut moves: Moves,
    ) -> Result<Missed, Abandoned> {
        let mut way = self.courier.way();
        loop {
            let may_be_lost = tokio::select! {
                closed = way.wait_for(|way| matches!(way, Way::Closed(_))) => closed.is_ok(),
                () = moves.next() => true,
                () = tokio::time::sleep(LOOK_AGAIN) => false,
            };
            if may_be_lost && way.wait_for(|way| *way == Way::Open).await.is_err() {
                // The courier has gone, and with it whoever asks.
                std::future::pending::<()>().await;
            }
            // What is looked for now may have been lost by all that is known so far.
            moves.noted();
            let answers = &*self.courier.answers;
            let stored = insist(stop, "looking for a result", || answers.stored(&self.id));
            if let Some(told) = stored.await? {
                return Ok(Missed::Told(told));
            }
            if may_be_lost
                && let Ok(message) = self.message(by_store)
                && let Some(refused) = self.send(&message, stop).await?
            {
                return Ok(Missed::Refused(refused));
            }
        }
    }

    fn message(&self, by_store: &ByStore) -> Result<Outgoing, String> {
        let settings = &self.courier.settings;
        let message = match (&self.courier.fleet, &self.input) {
            (Some(replies), _) => self.ours(replies, by_store)?,
            // It was checked to be JSON, and so is UTF-8.
            (None, Payload::Json(input)) => self.call().message(&String::from_utf8_lossy(input)),
            (None, Payload::Tensors(_)) => return Err("tensors cannot be sent to Celery workers".into()),
        };
        Ok(Outgoing {
            queue: settings.queue_of(&self.call).to_owned(),
            message,
        })
    }

    fn ours(&self, replies: &str, by_store: &ByStore) -> Result<Message, String> {
        let settings = &self.courier.settings;
        let sending = Sending {
            id: &self.id,
            task: &self.call.task,
            reply_to: replies,
            copy: &uuid::Uuid::now_v7().simple().to_string(),
            // Whose caller is on the line goes first.
            priority: match (is_redis(settings), self.name.task) {
                (true, None) => 0,
                (true, Some(_)) => {
                    (REDIS_USUAL - i64::from(self.name.priority)).clamp(REDIS_USUAL, REDIS_LAST)
                }
                (false, _) => priority(self.name.priority, false, settings.max_priority),
            },
            trace: self.trace.as_ref(),
            store: by_store.results,
        };
        let whole = Cargo::Payload(&self.input);
        let message = sending.message(by_store.parcel.as_ref().map_or(whole, Cargo::Parcel));
        let bytes = message.body.len();
        if bytes > BODY_BYTES_MAX {
            return Err(format!(
                "the input must be at most {BODY_BYTES_MAX} bytes to go by the broker, is {bytes}"
            ));
        }
        Ok(message)
    }

    fn call(&self) -> Call<'_> {
        let call = &self.call;
        let settings = &self.courier.settings;
        let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
        Call {
            id: &self.id,
            task: &call.task,
            origin: &self.courier.node,
            reply_to: self.courier.answers.reply_to(),
            priority: priority(self.name.priority, is_redis(settings), settings.max_priority),
            limits: [seconds(call.hard_limit), seconds(call.soft_limit)],
            expires: Timestamp::now().plus(call.timeout),
            trace: self.trace.as_ref(),
            is_one: call.arguments == Arguments::One,
        }
    }

    fn overdue(&self) -> Failure {
        if self.courier.fleet.is_some() {
            let message = format!(
                "no worker has ended it within {:?}, and no result of it is at the broker; it was revoked",
                self.call.timeout
            );
            return failed(Code::TimeLimit, "TimeLimit", message);
        }
        let message = format!(
            "no result came from Celery within {:?} (send.timeout): nobody takes tasks from the queue `{}`, or the worker that had \
             this one has died; it was revoked",
            self.call.timeout,
            self.courier.settings.queue_of(&self.call)
        );
        failed(Code::TimeLimit, "TimeLimit", message)
    }
}

/// What a look for what was missed has found.
enum Missed {
    Told(Told),
    /// It can never be sent.
    Refused(ItemEnd),
}

fn is_redis(settings: &Celery) -> bool {
    let broker = settings.broker.as_ref();
    broker.is_some_and(ServiceUrl::is_redis)
}

/// A priority as the broker means it. Here a higher one is more urgent and 0 is the usual one.
fn priority(ours: i8, is_redis: bool, max: Option<u8>) -> i64 {
    let ours = i64::from(ours);
    match is_redis {
        true => (-ours).clamp(0, REDIS_LAST),
        false => ours.clamp(0, max.map_or(0, i64::from)),
    }
}

fn invalid(why: String) -> ItemEnd {
    ItemEnd::Failed(failed(Code::InvalidInput, "InvalidInput", why))
}

/// Whether a worker says so of an input.
fn is_lost(failure: &Failure) -> bool {
    (failure.code, failure.type_.as_str()) == (Code::Internal, PARCEL_LOST)
}

fn failed(code: Code, type_: &str, message: String) -> Failure {
    Failure {
        code,
        type_: type_.into(),
        message,
        traceback: None,
        stage: None,
        again: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_said_as_the_broker_means_it() {
        let redis = |ours| priority(ours, true, None);
        assert_eq!([redis(0), redis(5), redis(-3), redis(-100)], [0, 0, 3, 9]);
        let rabbit = |ours| priority(ours, false, Some(10));
        assert_eq!([rabbit(0), rabbit(5), rabbit(-3), rabbit(100)], [0, 5, 0, 10]);
        assert_eq!(priority(5, false, None), 0);
    }
}
