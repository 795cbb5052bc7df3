//! Round trips of batches through a real process: `cargo bench -p cresset-runner` (`WORKERS=1` for another
//! number of runtime threads than 2).
//!
//! The instance is the fake one of the tests (plain Python that copies its input to its output), so this measures the
//! road, not the model: copy in, frame, wake, Python's share, frame, copy out, event. One batch in flight, then two.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench prints, and stops when something is amiss"
)]

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the bench uses a part of it")]
mod support;

use std::time::{Duration, Instant};

use cresset_runner::{JobEnd, PoolEvent};
use cresset_task::Payload;
use support::{Fixture, floats, json, object_model, tensor_model};

const WARM_UP: usize = 500;
const ROUNDS: usize = 5_000;

fn main() {
    let workers: usize = std::env::var("WORKERS").map_or(2, |w| w.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap();
    // On a worker, as the engine is: the thread of `block_on` is none, and waking it costs more.
    let mut all = tokio::task::JoinSet::new();
    all.spawn_on(bench_all(), runtime.handle());
    runtime.block_on(all.join_all());
}

async fn bench_all() {
    println!(
        "{:<26} {:>12} {:>12} {:>14} {:>14}",
        "batch", "p50", "p99", "1 in flight/s", "2 in flight/s"
    );
    for (batch, width) in [(1, 64), (8, 64), (32, 64), (128, 64), (8, 3 * 224 * 224)] {
        let rounds = if width > 1000 { ROUNDS / 20 } else { ROUNDS };
        let it = Fixture::new(|dir| {
            let mut config = tensor_model(dir, &[width as i64]);
            config.batching.max_batch_size = 128;
            config
        });
        let items = vec![floats("x", &vec![0.5; width]); batch];
        report(&format!("{batch} x {width} float32"), it, items, rounds).await;
    }
    report(
        "32 x JSON of 20 bytes",
        Fixture::new(object_model),
        vec![json("\"a text of 18 bytes\""); 32],
        ROUNDS,
    )
    .await;
}

async fn report(name: &str, mut it: Fixture, items: Vec<Payload>, rounds: usize) {
    it.up().await;
    for _ in 0..WARM_UP.min(rounds) {
        round_trip(&mut it, &items).await;
    }
    let mut times = Vec::with_capacity(rounds);
    let began = Instant::now();
    for _ in 0..rounds {
        times.push(round_trip(&mut it, &items).await);
    }
    let one = rounds as f64 / began.elapsed().as_secs_f64();
    times.sort_unstable();
    let began = Instant::now();
    it.run(items.clone());
    for _ in 0..rounds {
        it.run(items.clone());
        expect_done(it.next().await);
    }
    expect_done(it.next().await);
    let two = (rounds + 1) as f64 / began.elapsed().as_secs_f64();
    let (p50, p99) = (times[rounds / 2], times[rounds * 99 / 100]);
    println!("{name:<26} {p50:>12.1?} {p99:>12.1?} {one:>14.0} {two:>14.0}");
    it.stop(Duration::from_secs(5)).await;
}

async fn round_trip(it: &mut Fixture, items: &[Payload]) -> Duration {
    let items = items.to_vec();
    let began = Instant::now();
    it.run(items);
    expect_done(it.next().await);
    began.elapsed()
}

fn expect_done(event: PoolEvent) {
    match event {
        PoolEvent::Ended {
            end: JobEnd::Items(_),
            ..
        } => {}
        other => panic!("{other:?}"),
    }
}
