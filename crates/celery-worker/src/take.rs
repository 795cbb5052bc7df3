//! Takes messages from the broker, as many as there is room for.

use std::sync::Arc;

use crate::held::SCHEDULED_MAX;
use crate::insist::Waits;
use crate::job;
use crate::transport::Receipt;
use crate::worker::Shared;

/// Messages of one fetch: the script that takes them holds Redis up for a millisecond at most.
const FETCH_MAX: usize = 512;

/// Takes until the door closes.
pub(crate) async fn run(shared: Arc<Shared>) {
    tokio::select! {
        () = take(&shared) => {}
        () = shared.closing.cancelled() => {}
    }
}

/// Dropping this future at any await loses nothing: what a fetch had taken that is not ours yet is restored by the broker's own
/// rules, and there is none between a fetch that has returned and its messages having an owner.
async fn take(shared: &Arc<Shared>) {
    let prefetch = shared.catalog.prefetch();
    let mut waits = Waits::new();
    let mut is_lost = false;
    loop {
        let counts = shared.held.counts();
        let room = prefetch.saturating_sub(counts.current);
        if room == 0 || counts.scheduled >= SCHEDULED_MAX {
            shared.held.freed().await;
            continue;
        }
        match shared.transport.fetch(room.min(FETCH_MAX)).await {
            Ok(deliveries) => {
                if is_lost {
                    tracing::info!("broker is back");
                }
                (is_lost, waits) = (false, Waits::new());
                let none = deliveries.is_empty();
                for delivery in deliveries {
                    let receipt = Receipt {
                        tag: delivery.tag,
                        place: delivery.place,
                    };
                    let place = shared.held.add(receipt.clone(), delivery.queue.clone());
                    let job = job::run(
                        Arc::clone(shared),
                        receipt,
                        delivery.queue,
                        delivery.envelope,
                        place,
                    );
                    shared.jobs.spawn(job);
                }
                if none {
                    shared.transport.arrival().await;
                }
            }
            Err(error) => {
                if !is_lost {
                    tracing::warn!(error = %error, "broker cannot be used; it is tried again");
                }
                is_lost = true;
                tokio::time::sleep(waits.next()).await;
            }
        }
    }
}
