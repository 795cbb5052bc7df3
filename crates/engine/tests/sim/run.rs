//! A run: one server after the other on one store, each with a runtime of its own, whose end is the death of all that ran.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cresset_engine::{Engine, EngineOptions};
use cresset_queue::Broker;
use cresset_queue::conformance::Dice;
use cresset_queue::kit::Ttl;
use cresset_queue::memory::{Fates, MemoryStore, Stable};
use cresset_task::Timestamp;
use cresset_task::simulated::Simulated;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::callers::{self, Caller};
use crate::history::{Entry, What};
use crate::plan::{End, Plan, millis};
use crate::pool::{EVENTS_MAX, SimPool};
use crate::world::{Mood, World};

/// Longer than any run goes on.
const KEPT: Duration = Duration::from_secs(1_000_000);
/// Once nothing goes wrong any more, all work is done within this.
const DONE_WITHIN: Duration = Duration::from_secs(600);
/// A server stops within this beyond what it is given: the grace of its processes, and the calls that are under way.
const STOP_SLACK: Duration = Duration::from_secs(9);

/// Plays a run.
pub(crate) fn run(seed: u64) -> Vec<Entry> {
    let world = Arc::new(World::new(Plan::of(seed)));
    let clock = Arc::clone(&world);
    let _simulated = Simulated::begin(seed, move || clock.clock.wall());
    let kept = world.plan.kept.unwrap_or(KEPT);
    let stable = Stable::new(Ttl {
        results: kept,
        tombstones: kept * 2,
        letters: kept * 3,
        deliveries: kept * 3,
    });
    let callers = Caller::all(&world);
    for (number, end) in world.plan.lives.iter().enumerate() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(live(&world, &stable, &callers, number as u64, *end));
        drop(runtime);
        stable.crash();
    }
    world.log.take()
}

async fn live(world: &Arc<World>, stable: &Stable, callers: &[Arc<Mutex<Caller>>], number: u64, end: End) {
    world.clock.begin();
    world.note(What::Starts);
    world.dies_in(match end {
        End::CrashInCall { call, done } => Some((call, done)),
        _ => None,
    });
    let seed = world.plan.seed ^ (number << 48);
    let fates: Arc<dyn Fates> = Arc::clone(world) as _;
    let store = Arc::new(MemoryStore::open(stable, fates, Timestamp::now()));
    let options = EngineOptions {
        admission: world.plan.admission.clone(),
        purge_every: world.plan.kept.map_or(KEPT, |kept| kept / 4),
        ..EngineOptions::default()
    };
    let engine = Engine::start(store.clone(), &options);
    for (at, model) in world.plan.models.iter().enumerate() {
        let (events, news) = mpsc::channel(EVENTS_MAX);
        let pool = SimPool::start(world, at, seed ^ ((at as u64 + 1) << 24), events);
        engine.serve(Arc::clone(&model.config), pool, news);
    }
    let mut acting = JoinSet::new();
    for caller in callers {
        let act = callers::act(Arc::clone(caller), Arc::clone(world), engine.clone());
        acting.spawn(act);
    }
    let mut nemesis = JoinSet::new();
    nemesis.spawn(trouble(Arc::clone(world), Dice::new(seed ^ 0x7e0b)));
    tokio::select! {
        biased;
        () = world.death.notified() => world.note(What::Crashes),
        () = until(world, &engine, &store, stable, &mut acting, end) => {}
    }
    stable.crash();
    world.clock.end();
}

/// Goes on until this end.
async fn until(
    world: &World,
    engine: &Engine,
    store: &MemoryStore,
    stable: &Stable,
    acting: &mut JoinSet<()>,
    end: End,
) {
    match end {
        End::Crash(after) => {
            sleep(after).await;
            world.note(What::Crashes);
        }
        End::CrashInCall { .. } => {
            sleep(Duration::from_secs(20)).await;
            world.note(What::Crashes);
        }
        End::Stop { after, deadline } => {
            sleep(after).await;
            stop(world, engine, deadline).await;
        }
        End::Last => {
            while let Some(done) = acting.join_next().await {
                done.unwrap();
            }
            world.mend();
            if timeout(DONE_WITHIN, all_ended(stable)).await.is_err() {
                world.note(What::Stuck("some tasks have not ended"));
            }
            // What has ended in the store is told a moment later.
            sleep(Duration::from_secs(20)).await;
            world.note(What::Rest {
                residue: engine.residue(),
                leased: stable.leased(),
                queued: store.load().tasks,
                unwell: unwell(engine),
            });
            stop(world, engine, Duration::from_secs(5)).await;
        }
    }
}

/// Why the server does not count as ready, if it does not.
fn unwell(engine: &Engine) -> Option<String> {
    let health = engine.health();
    (!health.ready).then(|| format!("{health:?}"))
}

async fn all_ended(stable: &Stable) {
    while stable.records().iter().any(|record| !record.state.is_terminal()) {
        sleep(Duration::from_secs(1)).await;
    }
}

async fn stop(world: &World, engine: &Engine, deadline: Duration) {
    world.note(What::Stops(deadline));
    match timeout(deadline + STOP_SLACK, engine.stop(deadline)).await {
        Ok(()) => {
            // Who has been answered by then gets to know of it.
            sleep(Duration::from_millis(1)).await;
            world.note(What::Stopped);
        }
        Err(_) => world.note(What::Stuck("the server does not stop")),
    }
}

/// Breaks what the plan says.
async fn trouble(world: Arc<World>, mut dice: Dice) {
    while !world.is_mended() {
        sleep(millis(&mut dice, 50, 4_000)).await;
        if world.is_mended() {
            return;
        }
        if world.plan.faults {
            world.set_mood(match dice.below(3) {
                0 => Mood::Slow,
                1 => Mood::Failing([10, 30, 100][dice.below(3)]),
                _ => Mood::Calm,
            });
        }
        if world.plan.jumps && dice.chance(30) {
            let size = [30_000, 3_000_000, 600_000_000][dice.below(3)];
            let by = (1 + dice.below(size)) as i64 * if dice.chance(50) { 1 } else { -1 };
            world.jump(by);
        }
    }
}
