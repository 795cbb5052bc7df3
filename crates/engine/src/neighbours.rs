//! What other servers on the same store do, told to those here whom it concerns.
//!
//! They are told to look: what is so is in the store. What a model says while it runs elsewhere (progress, pieces, lines) does
//! not come here.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cresset_queue::News as Told;
use cresset_task::State;

use crate::served::Models;
use crate::shared::Shared;
use crate::waiters::News;

/// Runs until the engine drains; where the store belongs to one server it has nothing to do.
pub(crate) async fn run(shared: Arc<Shared>, models: Arc<ArcSwap<Models>>) {
    loop {
        tokio::select! {
            biased;
            () = shared.draining.cancelled() => return,
            news = shared.backend.news() => news.into_iter().for_each(|told| tell(&shared, &models, told)),
        }
    }
}

fn tell(shared: &Shared, models: &ArcSwap<Models>, told: Told) {
    match told {
        Told::Moved {
            id,
            model,
            state,
            was_leased,
        } => {
            if state.is_terminal() {
                shared.ended(id, &News::Look);
            } else {
                shared.followers.moved(id);
            }
            shared.tell(id, &model, state, None);
            if state == State::Revoked
                && was_leased
                && let Some(served) = models.load().get(&model)
            {
                // Its driver knows whether it has it.
                served.stop(id);
            }
        }
        Told::Work(model) => {
            if let Some(served) = models.load().get(&model) {
                served.wake.notify_one();
            }
        }
        Told::Members => shared.members.notify_one(),
        Told::LookAgain => {
            shared.members.notify_one();
            shared.waiters.wake_all();
            shared.followers.all_moved();
            // Whoever looked after what expires may be gone.
            shared.expiries.returned();
            for served in models.load().values() {
                served.wake.notify_one();
            }
        }
    }
}
