//! Many at once: nothing lost, nothing doubled.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cresset_task::{State, TaskId};
use tokio::task::JoinSet;

use super::dice::Dice;
use super::world::{World, at, giving_up, request, success, task};
use crate::{Finished, Lease, NewTask};

const SUBMITTERS: usize = 16;
const EACH: usize = 60;
const LEASERS: usize = 8;

/// What the crowd did, to be judged afterwards.
#[derive(Default)]
struct Seen {
    holders: HashMap<TaskId, u32>,
    given_back: HashSet<(TaskId, u32)>,
    ended: HashSet<TaskId>,
}

pub(super) async fn many_submitters_and_leasers_lose_nothing_and_double_nothing(world: World) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let open = Arc::new(AtomicUsize::new(SUBMITTERS * EACH));
    let mut submitters = JoinSet::new();
    for number in 0..SUBMITTERS {
        let store = world.store.clone();
        submitters.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..EACH {
                let new = NewTask {
                    priority: (number % 3) as i8,
                    ..task("digits")
                };
                ids.push(new.id);
                store.submit(new).await.unwrap();
            }
            ids
        });
    }
    let mut leasers = JoinSet::new();
    for number in 0..LEASERS {
        let (store, seen, open) = (world.store.clone(), seen.clone(), open.clone());
        leasers.spawn(async move {
            let mut dice = Dice::new(number as u64);
            while open.load(Ordering::SeqCst) > 0 {
                let leases = store.lease(request("digits", 1 + dice.below(12))).await.unwrap();
                note_leases(&mut seen.lock().unwrap(), &leases);
                let (keep, give): (Vec<_>, Vec<_>) = leases.into_iter().partition(|_| dice.below(4) > 0);
                {
                    let mut seen = seen.lock().unwrap();
                    for lease in &give {
                        seen.holders.remove(&lease.id);
                        seen.given_back.insert((lease.id, lease.attempt.0));
                    }
                }
                store.release(give.iter().map(giving_up).collect()).await.unwrap();
                let answers = store
                    .finish(keep.iter().map(|l| success(l, at(7))).collect())
                    .await
                    .unwrap();
                assert!(
                    answers.iter().all(|a| *a == Finished::Recorded),
                    "the holder was refused"
                );
                let mut seen = seen.lock().unwrap();
                for lease in &keep {
                    assert!(seen.ended.insert(lease.id), "a task ended twice");
                }
                open.fetch_sub(keep.len(), Ordering::SeqCst);
            }
        });
    }
    let submitted: Vec<TaskId> = submitters.join_all().await.concat();
    leasers.join_all().await;
    assert_eq!(seen.lock().unwrap().ended, submitted.iter().copied().collect());
    assert_eq!(world.depth("digits").tasks, 0);
    for id in submitted {
        assert_eq!(world.record(id).await.state, State::Success);
    }
}

fn note_leases(seen: &mut Seen, leases: &[Lease]) {
    for lease in leases {
        assert!(!seen.ended.contains(&lease.id), "an ended task was leased");
        assert_eq!(
            seen.holders.insert(lease.id, lease.attempt.0),
            None,
            "a task has two holders"
        );
        let attempts = 1..lease.attempt.0;
        assert!(
            attempts
                .into_iter()
                .all(|a| seen.given_back.contains(&(lease.id, a))),
            "attempt {} came before the earlier ones were given back",
            lease.attempt
        );
    }
}
