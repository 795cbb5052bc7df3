//! Takes messages from the broker, as many as there is room for.

use std::sync::Arc;
use std::time::Duration;

use crate::held::SCHEDULED_MAX;
use crate::insist::Waits;
use crate::job;
use crate::transport::{Delivery, Receipt};
use crate::worker::Shared;

/// Messages of one fetch: the script that takes them holds Redis up for a millisecond at most.
const FETCH_MAX: usize = 512;
/// A worker of a fleet that is not told of cancels by then takes work all the same.
const HEARS_WITHIN: Duration = Duration::from_secs(3);

/// Takes until the door closes. A fetch that is under way then is waited for, or its messages would be nobody's for as long as the
/// broker's own rules say.
pub(crate) async fn run(shared: Arc<Shared>) {
    let prefetch = shared.catalog.prefetch();
    if shared.options.is_fleet {
        // A cancel is told once, to whoever listens: what is taken before would run to its end for nobody.
        unless_closing(&shared, hears(&shared)).await;
    }
    let mut waits = Waits::new();
    let mut is_lost = false;
    let mut epoch = 0;
    while !shared.closing.is_cancelled() {
        let counts = shared.held.counts();
        let room = prefetch.saturating_sub(counts.current);
        if room == 0 || counts.scheduled >= SCHEDULED_MAX {
            unless_closing(&shared, shared.held.freed()).await;
            continue;
        }
        match shared.transport.fetch(room.min(FETCH_MAX)).await {
            Ok(deliveries) => {
                if is_lost {
                    tracing::info!("broker is back");
                }
                (is_lost, waits) = (false, Waits::new());
                shared.broker_is(None);
                match shared.transport.epoch() {
                    0 => {}
                    now if now == epoch => {}
                    now => {
                        epoch = now;
                        shared.held.void_before(now);
                    }
                }
                let none = deliveries.is_empty();
                for delivery in deliveries {
                    own(&shared, delivery).await;
                }
                if none {
                    unless_closing(&shared, shared.transport.arrival()).await;
                }
            }
            Err(error) => {
                if !is_lost {
                    tracing::warn!(error = %error, "broker cannot be used; it is tried again");
                }
                is_lost = true;
                shared.broker_is(Some(error.to_string()));
                unless_closing(&shared, tokio::time::sleep(waits.next())).await;
            }
        }
    }
}

/// Gives a message to a job of its own, or back when the door has closed meanwhile.
async fn own(shared: &Arc<Shared>, delivery: Delivery) {
    let receipt = Receipt {
        epoch: delivery.epoch,
        tag: delivery.tag,
        place: delivery.place,
    };
    if shared.closing.is_cancelled() {
        if let Err(error) = shared.transport.give_back(&receipt).await {
            tracing::warn!(error = %error, "message could not be given back; it will be delivered again");
        }
        return;
    }
    let place = shared.held.add(receipt.clone(), delivery.queue.clone());
    let job = job::run(
        Arc::clone(shared),
        receipt,
        delivery.queue,
        delivery.content,
        place,
    );
    shared.jobs.spawn(job);
}

/// Returns when remote control is heard, or that takes too long.
async fn hears(shared: &Shared) {
    if tokio::time::timeout(HEARS_WITHIN, shared.heard.cancelled())
        .await
        .is_err()
    {
        tracing::debug!("work is taken although cancels are not heard yet");
    }
}

async fn unless_closing(shared: &Shared, wait: impl Future<Output = ()>) {
    tokio::select! {
        () = wait => {}
        () = shared.closing.cancelled() => {}
    }
}
