//! Small tasks, all through their lives: submitters on one side, workers on the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cresset_queue::{Broker, Completion, Finished, LeaseRequest, NewTask, ResultStore};
use cresset_queue_sql::SqliteStore;
use cresset_task::{ModelName, Outcome, Payload, Timestamp};
use tokio::task::JoinSet;

pub(crate) const LEASE_MAX: usize = 32;
pub(crate) const PAYLOAD_BYTES: usize = 1024;
pub(crate) const RESULT_BYTES: usize = 200;

pub(crate) fn model() -> ModelName {
    "digits".parse().unwrap()
}

/// Bytes that do not compress, as text.
fn payload(seed: u64) -> Payload {
    let mut state = seed | 1;
    let text: Vec<u8> = (0..PAYLOAD_BYTES)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'0' + (state % 10) as u8
        })
        .collect();
    Payload::Json(text.into())
}

pub(crate) fn task(number: u64) -> NewTask {
    NewTask::new(model(), payload(number), Timestamp::now())
}

pub(crate) async fn lives(
    store: &SqliteStore,
    tasks: usize,
    submitters: usize,
    workers: usize,
) -> (Duration, Vec<Duration>, Vec<Duration>) {
    let open = Arc::new(AtomicUsize::new(tasks));
    let begun = Instant::now();
    let (mut submitting, mut working) = (JoinSet::new(), JoinSet::new());
    for number in 0..submitters {
        submitting.spawn(submit(store.clone(), number as u64, tasks / submitters));
    }
    open.store(tasks / submitters * submitters, Ordering::SeqCst);
    for _ in 0..workers {
        working.spawn(work(store.clone(), Arc::clone(&open)));
    }
    let mut acks = submitting.join_all().await.concat();
    let mut leases = working.join_all().await.concat();
    let took = begun.elapsed();
    acks.sort();
    leases.sort();
    (took, acks, leases)
}

async fn submit(store: SqliteStore, submitter: u64, count: usize) -> Vec<Duration> {
    let mut acks = Vec::with_capacity(count);
    for number in 0..count {
        let task = task(submitter << 32 | number as u64);
        let begun = Instant::now();
        store.submit(task).await.unwrap();
        acks.push(begun.elapsed());
    }
    acks
}

/// Ends as many tasks as have been submitted, and no more: what was queued before stays as long as it was.
async fn work(store: SqliteStore, open: Arc<AtomicUsize>) -> Vec<Duration> {
    let mut took = Vec::new();
    let ordering = Ordering::SeqCst;
    loop {
        let share = |open: usize| Some(open - open.min(LEASE_MAX));
        let max_tasks = open
            .fetch_update(ordering, ordering, share)
            .unwrap()
            .min(LEASE_MAX);
        if max_tasks == 0 {
            return took;
        }
        let request = LeaseRequest {
            model: model(),
            max_tasks,
            max_bytes: usize::MAX,
            now: Timestamp::now(),
        };
        let begun = Instant::now();
        let leases = store.lease(request).await.unwrap();
        open.fetch_add(max_tasks - leases.len(), ordering);
        if leases.is_empty() {
            tokio::task::yield_now().await;
            continue;
        }
        took.push(begun.elapsed());
        let completions: Vec<_> = leases
            .iter()
            .map(|lease| Completion {
                id: lease.id,
                attempt: lease.attempt,
                redeliveries: 0,
                history: Vec::new(),
                outcome: Outcome::Success(Payload::Json(Bytes::from_static(&[b'1'; RESULT_BYTES]))),
                version: Some("1".into()),
                finished_at: Timestamp::now(),
                evidence: None,
                cached: false,
            })
            .collect();
        let answers = store.finish(completions).await.unwrap();
        assert!(answers.iter().all(|a| *a == Finished::Recorded));
    }
}
