//! One item at the workers, from the message to its result.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_celery::{Outgoing, PARCEL_LOST, Parcel, Told};
use cresset_config::CeleryCall;
use cresset_runner::{ItemEnd, Name};
use cresset_task::{Code, Failure, Payload, TaskId, Trace};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::away::{Away, Sent};
use super::courier::{Courier, Moves, Way};
use crate::depot::{Depot, Left, Never, Passage};
use crate::insist::{Abandoned, insist};
use crate::transport::Refused;

/// A result that has not been told by then is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// An item is sent so often, when what its messages refer to is not there any more; the last time all goes whole.
const TRIES_MAX: u32 = 3;

/// What is other where workers are ours.
pub(super) struct ToFleet {
    pub(super) passage: Option<Passage>,
    /// What they have been sent.
    pub(super) away: Arc<Away>,
}

/// One item.
pub(super) struct Errand {
    pub(super) courier: Arc<Courier>,
    pub(super) call: Arc<CeleryCall>,
    pub(super) id: String,
    pub(super) name: Name,
    pub(super) trace: Option<Trace>,
    pub(super) input: Payload,
    /// What is other where the workers are ours.
    fleet: Option<Arc<ToFleet>>,
    left: Left,
}

/// What a message says of the store.
#[derive(Default)]
pub(super) struct ByStore {
    /// Where its input is.
    pub(super) parcel: Option<Parcel>,
    /// Where a large result may be left.
    pub(super) results: Option<Uuid>,
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
        fleet: Option<Arc<ToFleet>>,
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
            left: Left::new(passage_of(&fleet).map(|passage| Arc::clone(&passage.depot))),
            fleet,
        }
    }

    /// By which it may go, if it is large.
    fn passage(&self) -> Option<&Passage> {
        passage_of(&self.fleet)
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
        let passage = self.passage().filter(|_| number < TRIES_MAX);
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
        let priority = message.message.properties.priority.unwrap_or_default();
        let fleet = self.fleet.as_ref();
        let sent = fleet.map(|fleet| fleet.away.sent(&self.id, priority));
        let deadline = Instant::now() + self.call.timeout;
        // It can be made again, and need not lie here for as long as the item is away.
        drop(message);
        let mut again = pin!(self.missed(&by_store, stop, moves, sent.as_ref()));
        loop {
            let told = tokio::select! {
                told = expected.next() => told,
                missed = &mut again, if sent.is_some() => match missed.map_err(late)? {
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
                end => {
                    if let Some(sent) = &sent {
                        sent.ended();
                    }
                    return self.end(end, stop).await.map_err(late);
                }
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
        let depot = self.passage().map(|passage| &passage.depot);
        let Some(depot) = depot.filter(|depot| depot.store() == parcel.store) else {
            let why = "the result was left in a store that this gateway does not have";
            return Ok(Tried::Lost(Failure::new(Code::Internal, PARCEL_LOST, why)));
        };
        let had = insist(stop, "fetching a result from the store", || depot.get(parcel)).await?;
        depot.done(parcel.id);
        Ok(match had {
            Ok(Some(output)) => Tried::End(ItemEnd::Done(output)),
            Ok(None) => {
                let why = format!("the result is not in the store any more (parcel {})", parcel.id);
                Tried::Lost(Failure::new(Code::Internal, PARCEL_LOST, why))
            }
            Err(Never(why)) => Tried::Lost(Failure::new(Code::Internal, PARCEL_LOST, why)),
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
            Told::Parcel(_) | Told::Going(..) => ItemEnd::Failed(Failure::new(
                Code::Internal,
                "Internal",
                "a task that goes on was taken for one that has ended",
            )),
        })
    }

    /// Sends it; gives its end when it can never be sent.
    async fn send(&self, message: &Outgoing, stop: &CancellationToken) -> Result<Option<ItemEnd>, Abandoned> {
        let sent = insist(stop, "sending a task", || self.courier.transport.offer(message));
        Ok(sent.await?.map(|Refused(why)| {
            let message = format!("the message for the workers cannot be sent: {why}");
            ItemEnd::Failed(Failure::new(Code::InvalidInput, "InvalidInput", message))
        }))
    }

    /// Looks for what may have been missed, now and then. When a broker has been away, or is another one than before, it may have lost the
    /// message, or its result: what has none by then is sent once more, and so is what is found nowhere ([`Sent::lost`]). Workers of ours take
    /// that as they take every message; one of the two ends counts.
    async fn missed(
        &self,
        by_store: &ByStore,
        stop: &CancellationToken,
        mut moves: Moves,
        sent: Option<&Sent>,
    ) -> Result<Missed, Abandoned> {
        let mut way = self.courier.way();
        loop {
            let may_be_lost = tokio::select! {
                closed = way.wait_for(|way| matches!(way, Way::Closed(_))) => closed.is_ok(),
                () = moves.next() => true,
                () = lost(sent) => true,
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
            if let (true, Some(sent)) = (may_be_lost, sent) {
                sent.again();
            }
            if may_be_lost
                && let Ok(message) = self.message(by_store)
                && let Some(refused) = self.send(&message, stop).await?
            {
                return Ok(Missed::Refused(refused));
            }
        }
    }

    fn overdue(&self) -> Failure {
        if self.courier.fleet.is_some() {
            let message = format!(
                "no worker has ended it within {:?}, and no result of it is at the broker; it was revoked",
                self.call.timeout
            );
            return Failure::new(Code::TimeLimit, "TimeLimit", message);
        }
        let message = format!(
            "no result came from Celery within {:?} (send.timeout): nobody takes tasks from the queue `{}`, or the worker that had \
             this one has died; it was revoked",
            self.call.timeout,
            self.courier.settings.queue_of(&self.call)
        );
        Failure::new(Code::TimeLimit, "TimeLimit", message)
    }
}

/// What a look for what was missed has found.
enum Missed {
    Told(Told),
    /// It can never be sent.
    Refused(ItemEnd),
}

/// Returns when it is found nowhere.
async fn lost(sent: Option<&Sent>) {
    match sent {
        Some(sent) => sent.lost().await,
        None => std::future::pending().await,
    }
}

fn passage_of(fleet: &Option<Arc<ToFleet>>) -> Option<&Passage> {
    fleet.as_ref()?.passage.as_ref()
}

fn invalid(why: String) -> ItemEnd {
    ItemEnd::Failed(Failure::new(Code::InvalidInput, "InvalidInput", why))
}

/// Whether a worker says so of an input.
fn is_lost(failure: &Failure) -> bool {
    (failure.code, failure.type_.as_str()) == (Code::Internal, PARCEL_LOST)
}
