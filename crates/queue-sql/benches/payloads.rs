//! Large payloads in rows and in files: how fast they are accepted and taken through a life, how often each byte is
//! written, and what small tasks notice of it.
//!
//! `cargo bench -p cresset-queue-sql --bench payloads` prints one table. `CRESSET_BENCH_MIB` sets how much each cell
//! submits (default 256), `CRESSET_BENCH_ROUNDS` how often (default 3), `TMPDIR` on which disk. "disk" is what
//! `/proc/self/io` counts as sent to storage, log and database both, divided by the bytes of the payloads.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on says so by panicking"
)]

mod common;
#[path = "common/disk.rs"]
mod disk;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cresset_queue::{Broker, Completion, Finished, LeaseRequest, NewTask, ResultStore};
use cresset_queue_sql::{Durability, SqliteOptions, SqliteStore};
use cresset_task::{ModelName, Outcome, Payload, Timestamp};
use tokio::task::JoinSet;

use crate::common::{percentile, runtime, setting};
use crate::disk::bytes_written;

const SUBMITTERS: usize = 8;
const WORKERS: usize = 2;
const LEASE_MAX: usize = 8;
const SMALL_BYTES: usize = 1024;
const SIZES_KIB: [usize; 5] = [32, 64, 128, 256, 1024];

fn main() {
    let mib = setting("CRESSET_BENCH_MIB", 256);
    let rounds = setting("CRESSET_BENCH_ROUNDS", 3);
    println!(
        "{mib} MiB a cell; {SUBMITTERS} submitters; lifecycle with {WORKERS} workers that answer what they were given; \
         beside: {SMALL_BYTES} B submits of one caller meanwhile; times in ms"
    );
    println!(
        "{:<22}{:>8}{:>7}{:>8}{:>8}{:>9}{:>9}{:>10}{:>7}",
        "", "MB/s", "disk", "p50", "p99", "beside50", "beside99", "life MB/s", "disk"
    );
    for round in 0..rounds {
        for kib in SIZES_KIB {
            // Now one first, now the other, so that neither always finds the disk as the other left it.
            let order = if round % 2 == 0 {
                [true, false]
            } else {
                [false, true]
            };
            for in_files in order {
                cell(kib * 1024, mib << 20, in_files);
            }
        }
    }
}

fn cell(size: usize, bytes: usize, in_files: bool) {
    let tasks = bytes / size / SUBMITTERS * SUBMITTERS;
    let submit = measured(size, tasks, in_files, false);
    let life = measured(size, tasks, in_files, true);
    println!(
        "{:<22}{:>8.0}{:>7.2}{:>8.2}{:>8.2}{:>9.2}{:>9.2}{:>10.0}{:>7.2}",
        format!(
            "{:>5} KiB in {}",
            size / 1024,
            if in_files { "files" } else { "rows" }
        ),
        submit.rate,
        submit.disk,
        percentile(&submit.acks, 50),
        percentile(&submit.acks, 99),
        percentile(&submit.beside, 50),
        percentile(&submit.beside, 99),
        life.rate,
        life.disk,
    );
}

struct Measured {
    /// MB/s of inputs.
    rate: f64,
    /// Bytes sent to storage for each byte of a payload.
    disk: f64,
    acks: Vec<Duration>,
    beside: Vec<Duration>,
}

fn measured(size: usize, tasks: usize, in_files: bool, whole_lives: bool) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(SqliteOptions {
        durability: Durability::Fsync,
        max_inline_bytes: if in_files { SMALL_BYTES } else { usize::MAX },
        ..SqliteOptions::at(folder.path().join("tasks.db"))
    })
    .unwrap();
    let payload = Payload::Json(noise(size));
    let written = bytes_written();
    let begun = Instant::now();
    let (acks, beside, took) = runtime().block_on(async {
        let going = Arc::new(AtomicBool::new(true));
        let beside = JoinSet::from_iter([beside(store.clone(), Arc::clone(&going))]);
        let open = Arc::new(AtomicUsize::new(tasks));
        let mut working = JoinSet::new();
        if whole_lives {
            for _ in 0..WORKERS {
                working.spawn(work(store.clone(), Arc::clone(&open)));
            }
        }
        let mut submitting = JoinSet::new();
        for _ in 0..SUBMITTERS {
            submitting.spawn(submit(store.clone(), payload.clone(), tasks / SUBMITTERS));
        }
        let acks = submitting.join_all().await.concat();
        working.join_all().await;
        let took = begun.elapsed();
        going.store(false, Ordering::SeqCst);
        let beside = beside.join_all().await.concat();
        // The log goes into the database.
        store.close().await.unwrap();
        (sorted(acks), sorted(beside), took)
    });
    let bytes = (tasks * size) as f64;
    let payloads = if whole_lives { 2.0 * bytes } else { bytes };
    Measured {
        rate: bytes / 1e6 / took.as_secs_f64(),
        disk: (bytes_written() - written) as f64 / payloads,
        acks,
        beside,
    }
}

/// Bytes that do not compress.
fn noise(size: usize) -> Bytes {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'0' + (state % 10) as u8
    };
    (0..size).map(|_| next()).collect::<Vec<_>>().into()
}

fn model(name: &str) -> ModelName {
    name.parse().unwrap()
}

fn task(name: &str, payload: Payload) -> NewTask {
    NewTask::new(model(name), payload, Timestamp::now())
}

async fn submit(store: SqliteStore, payload: Payload, count: usize) -> Vec<Duration> {
    let mut acks = Vec::with_capacity(count);
    for _ in 0..count {
        let task = task("large", payload.clone());
        let begun = Instant::now();
        store.submit(task).await.unwrap();
        acks.push(begun.elapsed());
    }
    acks
}

/// One caller with small tasks, as long as the others are at it.
async fn beside(store: SqliteStore, going: Arc<AtomicBool>) -> Vec<Duration> {
    let payload = Payload::Json(noise(SMALL_BYTES));
    let mut acks = Vec::new();
    while going.load(Ordering::SeqCst) {
        let task = task("small", payload.clone());
        let begun = Instant::now();
        store.submit(task).await.unwrap();
        acks.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    acks
}

async fn work(store: SqliteStore, open: Arc<AtomicUsize>) {
    while open.load(Ordering::SeqCst) > 0 {
        let request = LeaseRequest {
            model: model("large"),
            max_tasks: LEASE_MAX,
            max_bytes: usize::MAX,
            now: Timestamp::now(),
        };
        let leases = store.lease(request).await.unwrap();
        if leases.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let completions: Vec<_> = leases
            .into_iter()
            .map(|lease| Completion {
                id: lease.id,
                attempt: lease.attempt,
                redeliveries: 0,
                history: Vec::new(),
                outcome: Outcome::Success(lease.payload.unwrap()),
                version: Some("1".into()),
                finished_at: Timestamp::now(),
                evidence: None,
                cached: false,
            })
            .collect();
        let answers = store.finish(completions).await.unwrap();
        assert!(answers.iter().all(|a| *a == Finished::Recorded));
        open.fetch_sub(answers.len(), Ordering::SeqCst);
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}
