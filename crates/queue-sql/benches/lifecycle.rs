//! How fast the store accepts tasks, and how fast it takes them through a whole life.
//!
//! `cargo bench -p cresset-queue-sql --bench lifecycle` prints one table. `CRESSET_BENCH_TASKS` sets how many tasks (default
//! 40000), `CRESSET_BENCH_ROUNDS` how often (default 3), `TMPDIR` on which disk. Medians hide little here; all rounds are
//! shown.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on says so by panicking"
)]

mod common;
#[path = "common/lives.rs"]
mod lives;

use cresset_queue::Broker;
use cresset_queue_sql::{Durability, SqliteOptions, SqliteStore};

use crate::common::{percentile, runtime, setting};
use crate::lives::{PAYLOAD_BYTES, RESULT_BYTES, lives};

const SUBMITTERS: usize = 64;
const WORKERS: usize = 8;

fn main() {
    let tasks = setting("CRESSET_BENCH_TASKS", 40_000);
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
}

/// One row of the table.
fn run(name: &str, durability: Durability, tasks: usize, submitters: usize, workers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(SqliteOptions {
        durability,
        ..SqliteOptions::at(folder.path().join("tasks.db"))
    })
    .unwrap();
    let (took, acks, leases) = runtime().block_on(async {
        let figures = lives(&store, tasks, submitters, workers).await;
        store.close().await.unwrap();
        figures
    });
    let rate = tasks as f64 / took.as_secs_f64();
    println!(
        "{name:<34}{rate:>10.0}{:>11.2}{:>11.2}{:>11.2}{:>11.2}",
        percentile(&acks, 50),
        percentile(&acks, 99),
        percentile(&leases, 50),
        percentile(&leases, 99),
    );
}
