//! What the policy costs an item, from `push` to its batch, at so many items waiting. Run with
//! `cargo bench -p cresset-batch`; `-- 256` shows that depth alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cresset_batch::{Ahead, Batcher, Class, Decision, Entry, Limits, Moment, Seats, Turn};

/// About as large as the engine's items are.
type Item = [u64; 24];

const DEPTHS: [usize; 6] = [1, 16, 64, 256, 1024, 16_384];
/// Items pushed and taken in one measurement.
const ITEMS: usize = 2_000_000;
const ROUNDS: usize = 5;
/// Between two arrivals: a hundred thousand a second.
const GAP: Duration = Duration::from_micros(10);
const STEP: Duration = Duration::from_millis(100);

/// What comes.
struct Mix {
    name: &'static str,
    limits: Limits,
    entry: fn(u64, Moment) -> Entry<Item>,
}

/// A prediction with a time limit, all alike: what the server sees most.
fn plain(number: u64, now: Moment) -> Entry<Item> {
    Entry {
        item: [number; 24],
        bytes: 256,
        cost: 64,
        bucket: 1,
        length: 0,
        class: Class::Interactive,
        turn: Turn::interactive(now, 0, STEP),
        arrived: now,
        deadline: Some(now + Duration::from_secs(30)),
    }
}

fn both_classes(number: u64, now: Moment) -> Entry<Item> {
    let line = now.as_nanos() as i64;
    match number % 2 {
        0 => plain(number, now),
        _ => Entry {
            class: Class::Bulk,
            turn: Turn::bulk(now, line, 0, STEP),
            deadline: None,
            ..plain(number, now)
        },
    }
}

/// Nothing comes in order: neither turns nor deadlines.
fn disorder(number: u64, now: Moment) -> Entry<Item> {
    let chance = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Entry {
        turn: Turn::interactive(now, (chance % 200) as i8, STEP),
        deadline: Some(now + Duration::from_millis(1_000 + chance % 30_000)),
        ..plain(number, now)
    }
}

fn lengths(number: u64, now: Moment) -> Entry<Item> {
    let chance = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Entry {
        length: 1 + chance % 512,
        ..plain(number, now)
    }
}

fn main() {
    let only: Option<usize> = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let padded = Limits {
        max_padding: Some(0.25),
        ..Limits::default()
    };
    let mix = |name, limits, entry| Mix { name, limits, entry };
    let mixes = [
        mix(
            "predictions",
            Limits::default(),
            plain as fn(u64, Moment) -> Entry<Item>,
        ),
        mix("and tasks", Limits::default(), both_classes),
        mix("in disorder", Limits::default(), disorder),
        mix("of 512 lengths", padded, lengths),
    ];
    print!("{:<16}", "ns an item at");
    let depths = DEPTHS
        .into_iter()
        .filter(|depth| only.is_none_or(|only| only == *depth));
    depths.clone().for_each(|depth| print!("{depth:>9}"));
    println!();
    for mix in mixes {
        print!("{:<16}", mix.name);
        depths
            .clone()
            .for_each(|depth| print!("{:>9.1}", measure(&mix, depth)));
        println!();
    }
}

/// The best of several rounds: the others measure the neighbours.
fn measure(mix: &Mix, depth: usize) -> f64 {
    let mut batcher = Batcher::new(mix.limits);
    let (mut now, mut number) = (Moment::ZERO, 0);
    let mut push = |batcher: &mut Batcher<Item>| {
        now += GAP;
        number += 1;
        batcher.push((mix.entry)(number, now));
        now
    };
    for _ in 1..depth {
        push(&mut batcher);
    }
    let together = depth.min(mix.limits.max_items);
    let round = |_| {
        let (mut taken, begun) = (0, Instant::now());
        while taken < ITEMS {
            let now = (0..together)
                .map(|_| push(&mut batcher))
                .last()
                .unwrap_or_default();
            black_box(batcher.next_deadline());
            let seats = Seats {
                idle: 1,
                behind: &[Ahead {
                    began: now,
                    ends: None,
                    callers: 0,
                }],
            };
            while let Decision::Run { batch, .. } = batcher.next(now, seats, |_| true, drop) {
                taken += batch.len();
                black_box(batch);
                if batcher.len() < depth {
                    break;
                }
            }
        }
        begun.elapsed().as_nanos() as f64 / taken as f64
    };
    (0..ROUNDS).map(round).fold(f64::MAX, f64::min)
}
