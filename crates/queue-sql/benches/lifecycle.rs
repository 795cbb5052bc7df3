//! How fast the store accepts tasks, how fast it takes them through a whole life, and how fast it opens.
//!
//! `cargo bench -p cresset-queue-sql` prints one table. `CRESSET_BENCH_TASKS` sets how many tasks (default 40000),
//! `CRESSET_BENCH_QUEUED` with how many queued rows opening is timed (default 1000000; 0 leaves it out),
//! `CRESSET_BENCH_ROUNDS` how often (default 3), `TMPDIR` on which disk. Medians hide little here; all rounds are shown.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on says so by panicking"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cresset_queue::{Broker, Completion, Finished, LeaseRequest, NewTask, ResultStore, Turn};
use cresset_queue_sql::{Durability, SqliteOptions, SqliteStore};
use cresset_task::{ModelName, Outcome, Payload, TaskId, Timestamp};
use tokio::task::JoinSet;

const SUBMITTERS: usize = 64;
const WORKERS: usize = 8;
const LEASE_MAX: usize = 32;
const PAYLOAD_BYTES: usize = 1024;
const RESULT_BYTES: usize = 200;

fn main() {
    let tasks = setting("CRESSET_BENCH_TASKS", 40_000);
    let queued = setting("CRESSET_BENCH_QUEUED", 1_000_000);
    let rounds = setting("CRESSET_BENCH_ROUNDS", 3);
    println!(
        "{tasks} tasks of {PAYLOAD_BYTES} B, results of {RESULT_BYTES} B, {SUBMITTERS} submitters, {WORKERS} workers"
    );
    println!(
        "{:<34}{:>10}{:>11}{:>11}{:>11}{:>11}",
        "", "tasks/s", "ack p50 ms", "ack p99 ms", "lease p50", "lease p99"
    );
    for _ in 0..rounds {
        for durability in [Durability::Fsync, Durability::Os] {
            run(
                &format!("enqueue only, {durability:?}"),
                durability,
                tasks,
                SUBMITTERS,
                0,
            );
            run(
                &format!("lifecycle, {durability:?}"),
                durability,
                tasks,
                SUBMITTERS,
                WORKERS,
            );
        }
        run("lifecycle, Fsync, 1 and 1", Durability::Fsync, tasks / 10, 1, 1);
    }
    if queued > 0 {
        time_opening(queued);
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} must be a number"))
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn open(folder: &Path, durability: Durability) -> SqliteStore {
    SqliteStore::open(SqliteOptions {
        durability,
        ..SqliteOptions::at(folder.join("tasks.db"))
    })
    .unwrap()
}

fn model() -> ModelName {
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

fn task(number: u64) -> NewTask {
    let created_at = Timestamp::now();
    NewTask {
        id: TaskId::fresh(),
        model: model(),
        payload: payload(number),
        priority: 0,
        turn: Turn::of(created_at, 0, Duration::ZERO),
        metadata: None,
        created_at,
        due_at: None,
        expires_at: None,
        idempotency: None,
    }
}

/// One row of the table.
fn run(name: &str, durability: Durability, tasks: usize, submitters: usize, workers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), durability);
    let (took, acks, leases) = runtime().block_on(lives(&store, tasks, submitters, workers));
    let rate = tasks as f64 / took.as_secs_f64();
    println!(
        "{name:<34}{rate:>10.0}{:>11.2}{:>11.2}{:>11.2}{:>11.2}",
        percentile(&acks, 50),
        percentile(&acks, 99),
        percentile(&leases, 50),
        percentile(&leases, 99),
    );
}

/// Milliseconds; 0 of nothing.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted
        .get(sorted.len() * percent / 100)
        .map_or(0.0, |d| d.as_secs_f64() * 1e3)
}

async fn lives(
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
    store.close().await.unwrap();
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

async fn work(store: SqliteStore, open: Arc<AtomicUsize>) -> Vec<Duration> {
    let mut took = Vec::new();
    while open.load(Ordering::SeqCst) > 0 {
        let request = LeaseRequest {
            model: model(),
            max_tasks: LEASE_MAX,
            max_bytes: usize::MAX,
            now: Timestamp::now(),
        };
        let begun = Instant::now();
        let leases = store.lease(request).await.unwrap();
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
            })
            .collect();
        let answers = store.finish(completions).await.unwrap();
        assert!(answers.iter().all(|a| *a == Finished::Recorded));
        open.fetch_sub(answers.len(), Ordering::SeqCst);
    }
    took
}

fn time_opening(queued: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Durability::Os);
    runtime().block_on(lives(&store, queued, SUBMITTERS, 0));
    drop(store);
    let begun = Instant::now();
    let store = open(folder.path(), Durability::Fsync);
    println!(
        "open with {} queued: {:.0} ms",
        store.opened().queued,
        begun.elapsed().as_secs_f64() * 1e3
    );
    runtime().block_on(async {
        let begun = Instant::now();
        let request = LeaseRequest {
            model: model(),
            max_tasks: LEASE_MAX,
            max_bytes: usize::MAX,
            now: Timestamp::now(),
        };
        let last = store.lease(request).await.unwrap().pop().unwrap();
        println!(
            "first lease of {LEASE_MAX}: {:.2} ms",
            begun.elapsed().as_secs_f64() * 1e3
        );
        store
            .release(vec![cresset_queue::Release {
                id: last.id,
                attempt: last.attempt,
            }])
            .await
            .unwrap();
        let newest = task(0);
        store.submit(newest.clone()).await.unwrap();
        let begun = Instant::now();
        let position = store.position(newest.id).await.unwrap();
        println!(
            "position {position:?}: {:.2} ms",
            begun.elapsed().as_secs_f64() * 1e3
        );
        store.close().await.unwrap();
    });
}
