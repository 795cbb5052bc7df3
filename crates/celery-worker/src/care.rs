//! What is done again and again: telling that we live, keeping what is held, looking for what others have lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cresset_celery::Event;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::node;
use crate::worker::Shared;

/// As often as real workers do.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// What was lost is looked for so often, or three times in a visibility timeout where that is shorter.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Of a visibility timeout, how often what is held is made known.
const KEEPS: u32 = 3;

/// A worker that may use the broker, but not its broadcasts, is told of all the same after this.
const HEARD_PATIENCE: Duration = Duration::from_secs(10);

/// Tells that we live: that we are there as soon as we can be asked, because whoever hears it may ask at once.
pub(crate) async fn beat(shared: Arc<Shared>, leave: CancellationToken) {
    tokio::select! {
        () = shared.heard.cancelled() => {}
        () = tokio::time::sleep(HEARD_PATIENCE) => {}
        () = leave.cancelled() => return,
    }
    let mut what = "online";
    let mut ticks = tokio::time::interval(BEAT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = leave.cancelled() => return,
        }
        shared.show_held();
        if tell(&shared, what).await {
            what = "heartbeat";
        }
    }
}

/// One event of the worker's. False: it could not be sent.
pub(crate) async fn tell(shared: &Shared, what: &'static str) -> bool {
    let event = Event::Worker {
        what,
        active: shared.held.counts().active,
        processed: shared.processed.load(Ordering::Relaxed),
        load: node::load(),
    };
    shared.events.worker(&*shared.transport, event).await
}

/// Keeps what is held, restores what was lost, makes the queues known.
pub(crate) async fn look_after(shared: Arc<Shared>, leave: CancellationToken) {
    let visibility = shared.options.settings.visibility_timeout;
    let mut ticks = tokio::time::interval((visibility / KEEPS).min(LOOK_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = leave.cancelled() => return,
        }
        let transport = &shared.transport;
        let kept = transport.keep(&shared.held.receipts()).await;
        let known = transport.announce().await;
        let restored = transport.restore().await;
        if let Ok(count @ 1..) = restored {
            tracing::info!(
                count,
                "messages that another worker had lost are in their queues again"
            );
        }
        for error in [kept.err(), known.err(), restored.err()].into_iter().flatten() {
            tracing::debug!(error = %error, "broker could not be looked after");
        }
    }
}
