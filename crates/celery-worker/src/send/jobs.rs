//! A job of a model at Celery workers: each of its items is an errand, and it ends when all have.

use std::sync::{Arc, Mutex};

use cresset_runner::{DownReason, ItemEnd, Job, JobEnd, PROGRESS_EVERY, PoolEvent, Report, Timing};
use cresset_task::{BatchId, InstanceId};
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::courier::Way;
use super::errand::{Errand, Stopped};
use super::pool::{NO_ROOM, Seat, Shared, lock};

impl Shared {
    /// A job, from the first message to the last result.
    pub(super) async fn work(
        self: Arc<Self>,
        instance: InstanceId,
        job: Job,
        unwanted: Vec<CancellationToken>,
    ) {
        let began = Instant::now();
        let batch = job.batch;
        let mut traces = job.traces.into_iter();
        let mut names = job.names.into_iter();
        let errands = job
            .items
            .into_iter()
            .zip(&unwanted)
            .zip(0..)
            .map(|((input, token), at)| {
                let name = names.next().unwrap_or_default();
                let trace = traces.next().flatten();
                let errand = Errand::new(
                    Arc::clone(&self.courier),
                    Arc::clone(&self.call),
                    self.fleet.clone(),
                    input,
                    name,
                    trace,
                );
                self.item(instance, batch, at, errand, token)
            });
        let ends: Vec<Option<ItemEnd>> = join_all(errands.collect::<Vec<_>>()).await;
        let end = match ends.into_iter().collect::<Option<Vec<_>>>() {
            Some(ends) => JobEnd::Items(ends),
            None => JobEnd::Lost {
                reason: DownReason::Stopped,
                suspect: false,
                scene: None,
            },
        };
        let timing = Timing {
            compute: began.elapsed(),
        };
        let _telling = self.telling.lock().await;
        let closed = self.closed(instance);
        if let Some(seat) = lock(&self.seats).get_mut(instance.0 as usize) {
            *seat = match closed {
                None => Seat::Free,
                Some(_) => Seat::Down,
            };
        }
        let ended = PoolEvent::Ended {
            instance,
            batch,
            end,
            timing,
        };
        self.emit(ended).await;
        if let Some(why) = closed {
            let reason = DownReason::Away(why);
            self.emit(PoolEvent::Down { instance, reason }).await;
        }
    }

    /// Why a place is not to be used now, if so.
    fn closed(&self, instance: InstanceId) -> Option<String> {
        match &*self.courier.way().borrow() {
            Way::Closed(why) => Some(why.clone()),
            Way::Unknown | Way::Open if (instance.0 as usize) < *self.room.borrow() => None,
            Way::Unknown | Way::Open => Some(NO_ROOM.into()),
        }
    }

    /// The end of one item; none when it was given up.
    async fn item(
        &self,
        instance: InstanceId,
        batch: BatchId,
        at: u32,
        errand: Errand,
        unwanted: &CancellationToken,
    ) -> Option<ItemEnd> {
        let told = Mutex::new(None::<Instant>);
        let tell = |fraction: f64, message: Option<String>| {
            let now = Instant::now();
            let mut last = lock(&told);
            let is_soon = last.is_some_and(|last| now - last < PROGRESS_EVERY);
            if !is_soon {
                *last = Some(now);
            }
            async move {
                let report = Report {
                    items: Some(vec![at]),
                    fraction,
                    message,
                };
                let reports = vec![report];
                if !is_soon {
                    self.emit(PoolEvent::Progress {
                        instance,
                        batch,
                        reports,
                    })
                    .await;
                }
            }
        };
        match errand.run(unwanted, tell).await {
            Ok(end) => Some(end),
            // The message stays at the broker: whoever runs the task next looks for its result first.
            Err(_) if self.abandon.is_cancelled() => None,
            Err(Stopped { is_sent }) => {
                match is_sent {
                    true => errand.revoke().await,
                    false => errand.unsent(),
                }
                Some(ItemEnd::Skipped)
            }
        }
    }
}
