//! What a long queue costs: a life beside 100 and beside 1,000,000 queued tasks, memory, and opening after a crash.
//!
//! `cargo bench -p cresset-queue-sql --bench depth` prints one line a round, both depths in turn, then medians.
//! `CRESSET_BENCH_QUEUED` sets the long queue (default 1000000), `CRESSET_BENCH_TASKS` the lives of a round (default 20000),
//! `CRESSET_BENCH_ROUNDS` how often (default 7), `TMPDIR` on which disk (about 1.5 GB for a million).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on says so by panicking"
)]

mod common;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/lives.rs"]
mod lives;

use std::fs;
use std::path::Path;
use std::process::{Command, exit};
use std::time::{Duration, Instant};

use cresset_queue::{Broker, LeaseRequest, Release};
use cresset_queue_sql::{Durability, SqliteOptions, SqliteStore};
use cresset_task::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::common::{percentile, runtime, setting};
use crate::disk::bytes_written;
use crate::lives::{LEASE_MAX, lives, model, task};

const SHORT: usize = 100;
/// Tasks that are leased when the process dies.
const LEASED: usize = 1_000;
/// Set for a child of this bench: the folder to fill.
const CHILD: &str = "CRESSET_BENCH_FILL";
const SUBMITTERS: usize = 50;
/// So few that they never empty the short queue: full leases, at either depth.
const WORKERS: usize = 2;

fn main() {
    let queued = setting("CRESSET_BENCH_QUEUED", 1_000_000);
    let tasks = setting("CRESSET_BENCH_TASKS", 20_000);
    let rounds = setting("CRESSET_BENCH_ROUNDS", 7);
    if let Some(folder) = std::env::var_os(CHILD) {
        die_with(Path::new(&folder), queued);
    }
    let (short, long) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    runtime().block_on(async {
        let store = open(short.path(), Durability::Os);
        lives(&store, SHORT, SUBMITTERS, 0).await;
        store.close().await.unwrap();
    });
    println!("memory of the process before: {} MB", rss_mb("VmRSS"));
    let child = std::env::current_exe().unwrap();
    let died = Command::new(child).env(CHILD, long.path()).status().unwrap();
    assert!(died.success());
    time_opening(long.path());
    println!(
        "memory after opening with all of them queued: {} MB",
        rss_mb("VmRSS")
    );

    println!("{tasks} lives a round, {SUBMITTERS} submitters, {WORKERS} workers");
    println!(
        "{:>10}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "queued", "tasks/s", "CPU us", "disk B", "ack p99 ms", "lease p50", "lease p99"
    );
    let stores = [short.path(), long.path()].map(|folder| open(folder, Durability::Fsync));
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (store, figures) in stores.iter().zip(&mut figures) {
            figures.push(round(store, tasks));
        }
    }
    let [short, long] = figures.map(median);
    for (what, short, long) in [
        ("tasks/s", short[0], long[0]),
        ("us of CPU a task", short[1], long[1]),
        ("bytes to disk a task", short[2], long[2]),
    ] {
        println!(
            "median: {short:.1} and {long:.1} {what}, ratio {:.2}",
            long / short
        );
    }
    println!(
        "{} MB at the end, {} MB at the most",
        rss_mb("VmRSS"),
        rss_mb("VmHWM")
    );
    runtime().block_on(async {
        for store in stores {
            store.close().await.unwrap();
        }
    });
}

fn open(folder: &Path, durability: Durability) -> SqliteStore {
    SqliteStore::open(SqliteOptions {
        durability,
        ..SqliteOptions::at(folder.join("tasks.db"))
    })
    .unwrap()
}

/// Fills a database and ends as a killed process does, with some tasks leased.
fn die_with(folder: &Path, queued: usize) -> ! {
    let store = open(folder, Durability::Os);
    runtime().block_on(async {
        lives(&store, queued, SUBMITTERS, 0).await;
        let request = LeaseRequest {
            model: model(),
            max_tasks: LEASED,
            max_bytes: usize::MAX,
            now: Timestamp::now(),
        };
        assert_eq!(store.lease(request).await.unwrap().len(), LEASED);
    });
    println!(
        "memory after {queued} submits: {} MB, {} MB at the most",
        rss_mb("VmRSS"),
        rss_mb("VmHWM")
    );
    exit(0)
}

/// Lives at a constant depth: what is submitted goes to the end, what is leased comes from the head. Tasks a second,
/// microseconds of CPU a task, bytes to disk a task.
fn round(store: &SqliteStore, tasks: usize) -> [f64; 3] {
    let queued = store.depth(&model()).tasks;
    let (cpu, written) = (cpu_time(), bytes_written());
    let (took, acks, leases) = runtime().block_on(lives(store, tasks, SUBMITTERS, WORKERS));
    let cpu = (cpu_time() - cpu).as_secs_f64() * 1e6 / tasks as f64;
    let written = (bytes_written() - written) as f64 / tasks as f64;
    let rate = tasks as f64 / took.as_secs_f64();
    println!(
        "{queued:>10}{rate:>12.0}{cpu:>12.1}{written:>12.0}{:>12.2}{:>12.2}{:>12.2}",
        percentile(&acks, 99),
        percentile(&leases, 50),
        percentile(&leases, 99)
    );
    [rate, cpu, written]
}

/// The median of each.
fn median(figures: Vec<[f64; 3]>) -> [f64; 3] {
    [0, 1, 2].map(|column| {
        let mut values: Vec<f64> = figures.iter().map(|figures| figures[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

fn rss_mb(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let found = status
        .lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    let kib: u64 = found.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024 / 1_000_000
}

fn time_opening(folder: &Path) {
    let begun = Instant::now();
    let store = open(folder, Durability::Fsync);
    println!(
        "opening after its death: {:.0} ms; {:?}",
        begun.elapsed().as_secs_f64() * 1e3,
        store.opened()
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
            .release(vec![Release {
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
