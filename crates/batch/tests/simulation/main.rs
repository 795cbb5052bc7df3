//! Whole days of random traffic on a virtual clock.
//!
//! The seed of each day is printed when its test fails; `CRESSET_SIMULATION_SEED=<n>` plays that day alone.

mod dice;
mod plan;
mod rules;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cresset_batch::{BULK_HEADWAY, Class, Limits, Moment};

use crate::plan::{Plan, Traffic};
use crate::world::{Fate, Known, World};

const SEED_VARIABLE: &str = "CRESSET_SIMULATION_SEED";
/// Days that are always the same, and days that never are.
const KNOWN_DAYS: u64 = 150;
const NEW_DAYS: u64 = 50;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Plays a day; a failure says which it was.
fn play(plan: Plan) -> World {
    let told = plan.clone();
    catch_unwind(AssertUnwindSafe(|| World::new(plan).play())).unwrap_or_else(|panic| {
        eprintln!("{SEED_VARIABLE}={}: {told:?}", told.seed);
        resume_unwind(panic)
    })
}

fn seeds() -> Vec<u64> {
    if let Ok(text) = std::env::var(SEED_VARIABLE) {
        return vec![text.parse().expect("the seed is a number")];
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let new = time.as_nanos() as u64;
    (0..KNOWN_DAYS)
        .chain((0..NEW_DAYS).map(|n| new.wrapping_add(n)))
        .collect()
}

/// Size, bytes, cost, padding, order, deadlines, hang-ups, no loss, no idling: see `rules.rs` and the checks in `world.rs`.
#[test]
fn whatever_happens_the_rules_are_kept() {
    let seeds = seeds();
    println!(
        "{SEED_VARIABLE}={} and {} others",
        seeds[seeds.len() - 1],
        seeds.len() - 1
    );
    let mut batches = 0;
    for seed in seeds {
        batches += play(Plan::any(seed)).batches;
    }
    assert!(batches > 0);
}

/// When an item was served.
fn ended(known: &Known) -> Moment {
    match known.fate {
        Fate::Served(at) => at,
        other => unreachable!("item {} is {other:?}", known.entry.item),
    }
}

fn wait(known: &Known) -> Duration {
    ended(known) - known.entry.arrived
}

/// The median of the times that items of a class took.
fn median(world: &World, class: Class) -> Duration {
    let of_class = world.items.iter().filter(|k| k.entry.class == class);
    let mut waits: Vec<_> = of_class.map(wait).collect();
    waits.sort();
    waits[waits.len() / 2]
}

/// Both classes half and half, in batches of eight: 380 items a second can be served, and so many come.
fn both_classes(seed: u64, gap: Duration) -> Plan {
    Plan {
        limits: Limits {
            max_items: 8,
            ..Limits::default()
        },
        traffic: Traffic::Arrivals { gap, burst: 1 },
        bulk_percent: 50,
        noise: 0,
        ..Plan::plain(seed)
    }
}

#[test]
fn predictions_go_ahead_of_tasks() {
    for seed in 0..5 {
        let world = play(both_classes(seed, Duration::from_micros(2_700)));
        let (interactive, bulk) = (median(&world, Class::Interactive), median(&world, Class::Bulk));
        assert!(
            interactive * 5 < bulk * 4,
            "seed {seed}: {interactive:?}, {bulk:?}"
        );
    }
}

#[test]
fn under_overload_a_task_is_overtaken_only_by_predictions_of_its_headway() {
    for seed in 0..2 {
        // 2.6 times what can be served.
        let world = play(both_classes(seed, ms(1)));
        let of = |class| world.items.iter().filter(move |k| k.entry.class == class);
        let mut later = of(Class::Interactive).peekable();
        let mut seen = 0;
        for task in of(Class::Bulk) {
            while later
                .next_if(|k| k.entry.arrived <= task.entry.arrived + BULK_HEADWAY)
                .is_some()
            {}
            let Some(prediction) = later.peek() else { break };
            let (first, second) = (ended(task), ended(prediction));
            assert!(first <= second, "seed {seed}: {task:?} after {prediction:?}");
            seen += 1;
        }
        assert!(seen > 1_000);
    }
}

#[test]
fn the_lowest_priority_is_overtaken_only_as_long_as_it_is_worth() {
    for seed in 0..2 {
        let step = ms(1);
        let mut world = World::new(Plan {
            priorities: vec![100],
            step,
            ..both_classes(seed, ms(1))
        });
        for _ in 0..100 {
            world.add(Class::Interactive, 100);
        }
        let lowest = world.add(Class::Interactive, -100);
        let world = world.play();
        let lowest = &world.items[lowest];
        // 200 points of priority, a step each.
        let overtakes = |k: &&Known| {
            k.entry.class == Class::Interactive && k.entry.arrived > lowest.entry.arrived + step * 200
        };
        let later = world.items.iter().find(overtakes).expect("there are later ones");
        assert!(
            ended(lowest) <= ended(later),
            "seed {seed}: {lowest:?} after {later:?}"
        );
        assert!(
            wait(lowest) > step * 200,
            "seed {seed}: others were to go before it"
        );
    }
}

/// A day's throughput, items a second.
fn throughput(plan: Plan) -> f64 {
    let world = play(plan);
    world.items.len() as f64 / world.now.as_secs_f64()
}

#[test]
fn knowing_how_long_batches_take_serves_more_and_never_much_less() {
    let mut gains = Vec::new();
    for seed in 0..2 {
        for (instances, count) in [(1, 4), (1, 16), (1, 64), (2, 16), (2, 32), (2, 64), (4, 64)] {
            for (own, each) in [(100, 1), (5_800, 2_840), (3_000, 100)] {
                let plan = Plan {
                    instances,
                    own: Duration::from_micros(own),
                    each: Duration::from_micros(each),
                    traffic: Traffic::Callers {
                        count,
                        think: Duration::from_micros(500),
                    },
                    ..Plan::plain(seed)
                };
                let unknown = throughput(Plan {
                    knows_ends: false,
                    ..plan.clone()
                });
                let gain = throughput(plan) / unknown;
                assert!(
                    gain > 0.95,
                    "seed {seed}, {instances} instances, {count} callers, {own} + {each} us: {gain}"
                );
                gains.push(gain);
            }
        }
    }
    let mean = gains.iter().sum::<f64>() / gains.len() as f64;
    assert!(mean > 1.0, "{mean}");
}

/// Callers that come back together are waited for where a batch's own time is worth it, unless the settings say never.
#[test]
fn waiting_for_callers_that_come_back_serves_more_and_costs_strangers_nothing() {
    let plan = |seed, instances, traffic, max_delay| Plan {
        instances,
        own: Duration::from_micros(9_800),
        each: Duration::from_micros(1_730),
        limits: Limits {
            max_delay,
            ..Limits::default()
        },
        traffic,
        ..Plan::plain(seed)
    };
    for seed in 0..2 {
        for (instances, count, gain) in [(1, 4, 1.3), (1, 16, 1.1), (2, 16, 1.1), (2, 64, 1.02)] {
            let callers = || Traffic::Callers {
                count,
                think: Duration::from_micros(300),
            };
            let never = throughput(plan(seed, instances, callers(), Duration::ZERO));
            let gained = throughput(plan(seed, instances, callers(), ms(2))) / never;
            assert!(
                gained > gain,
                "seed {seed}, {instances} instances, {count} callers: {gained}"
            );
        }
        let strangers = || Traffic::Arrivals { gap: ms(3), burst: 1 };
        let never = median(
            &play(plan(seed, 2, strangers(), Duration::ZERO)),
            Class::Interactive,
        );
        let waiting = median(&play(plan(seed, 2, strangers(), ms(2))), Class::Interactive);
        assert!(waiting < never * 11 / 10, "seed {seed}: {waiting:?}, {never:?}");
    }
}
