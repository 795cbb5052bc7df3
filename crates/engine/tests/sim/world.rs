//! What outlives a server in a run: the plan, the clock, the history, the inputs, and what the store does to calls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_queue::conformance::Dice;
use cresset_queue::memory::{Effect, Fate, Fates, Pause};
use cresset_task::{TaskId, TaskRecord};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::history::{CallId, Log, Serial, What};
use crate::plan::{Kind, Plan, millis};

/// Calls of one operation within a second of the run's time: what more there are no work needs.
const CALLS_MAX: u64 = 150;
/// The longest pause on either side of a call's effect.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(600);

/// An input, over all its runs.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) kind: Kind,
    /// Runs that came to an end of its own.
    pub(crate) tries: u32,
    /// Processes that were killed while it ran, and not because of it.
    pub(crate) killed: u32,
}

/// What the store is like at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Calm,
    Slow,
    /// So many calls of a hundred fail.
    Failing(usize),
}

#[derive(Debug)]
struct Store {
    dice: Dice,
    mood: Mood,
    calls: u64,
    /// The call in which the server dies.
    dies_in: Option<(u64, bool)>,
    /// The operations called within the second that began then.
    second: Duration,
    counts: Vec<(&'static str, u64)>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) clock: Clock,
    pub(crate) log: Log,
    inputs: Mutex<Vec<Input>>,
    tasks: Mutex<Vec<TaskId>>,
    store: Mutex<Store>,
    calls: AtomicU64,
    mended: AtomicBool,
    /// Rung when the server dies in a call.
    pub(crate) death: Notify,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let store = Store {
            dice: Dice::new(plan.seed ^ 0x5709e),
            mood: Mood::Calm,
            calls: 0,
            dies_in: None,
            second: Duration::ZERO,
            counts: Vec::new(),
        };
        Self {
            plan,
            clock: Clock::default(),
            log: Log::default(),
            inputs: Mutex::default(),
            tasks: Mutex::default(),
            store: Mutex::new(store),
            calls: AtomicU64::new(0),
            mended: AtomicBool::new(false),
            death: Notify::new(),
        }
    }

    /// What happens to the remains of a server that is gone is no part of the history: nobody sees it.
    pub(crate) fn note(&self, what: What) {
        if !self.clock.runs() {
            return;
        }
        self.log.note(&self.clock, what);
    }

    pub(crate) fn next_call(&self) -> CallId {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn new_input(&self, kind: Kind) -> Serial {
        let mut inputs = lock(&self.inputs);
        inputs.push(Input {
            kind,
            tries: 0,
            killed: 0,
        });
        inputs.len() as Serial - 1
    }

    pub(crate) fn with_input<T>(&self, serial: Serial, look: impl FnOnce(&mut Input) -> T) -> T {
        let mut inputs = lock(&self.inputs);
        look(&mut inputs[serial as usize])
    }

    /// A caller knows of this task.
    pub(crate) fn know(&self, id: TaskId) {
        lock(&self.tasks).push(id);
    }

    /// One of the tasks that callers know of, a late one more often.
    pub(crate) fn some_task(&self, dice: &mut Dice) -> Option<TaskId> {
        let tasks = lock(&self.tasks);
        let from = if dice.chance(60) {
            tasks.len().saturating_sub(4)
        } else {
            0
        };
        dice.pick(&tasks[from..])
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        lock(&self.store).mood = mood;
    }

    /// The server dies in this call from now on, if in any.
    pub(crate) fn dies_in(&self, call: Option<(u64, bool)>) {
        let mut store = lock(&self.store);
        store.calls = 0;
        store.dies_in = call;
    }

    /// Sets the wall clock by so many microseconds.
    pub(crate) fn jump(&self, by: i64) {
        // What it showed last is part of the history too.
        self.note(What::Jumps(0));
        self.clock.jump(by);
        self.note(What::Jumps(by));
    }

    /// From now on nothing goes wrong.
    pub(crate) fn mend(&self) {
        self.set_mood(Mood::Calm);
        self.mended.store(true, Ordering::Relaxed);
        self.jump(self.clock.behind());
        self.note(What::Mended);
    }

    pub(crate) fn is_mended(&self) -> bool {
        self.mended.load(Ordering::Relaxed)
    }
}

impl Store {
    fn pause(&mut self) -> Pause {
        let yields = if self.dice.chance(50) {
            self.dice.below(4) as u32
        } else {
            0
        };
        let longest = PAUSE_MAX.as_millis() as usize;
        let sleep = match self.mood {
            Mood::Slow if self.dice.chance(40) => millis(&mut self.dice, 0, longest),
            _ if self.dice.chance(15) => millis(&mut self.dice, 1, 15),
            _ => Duration::ZERO,
        };
        Pause { yields, sleep }
    }

    fn effect(&mut self, operation: &'static str) -> Effect {
        if self.dies_in.is_some_and(|(call, _)| call <= self.calls) {
            let done = self.dies_in.take().is_some_and(|(_, done)| done);
            return Effect::Dies { done };
        }
        match self.mood {
            Mood::Failing(percent) if self.dice.chance(percent) => match operation {
                "submit" if self.dice.chance(50) => Effect::Doubtful,
                // What was refused is not there, say the ports of a submit, and a decision of all that callers ask for. Of what
                // the engine says for itself it must not matter.
                "lease" | "finish" | "retry" | "release" if self.dice.chance(40) => Effect::Lost,
                _ => Effect::Refused,
            },
            _ => Effect::Done,
        }
    }

    /// Whether this call is one too many.
    fn spins(&mut self, operation: &'static str, now: Duration) -> bool {
        if now >= self.second + Duration::from_secs(1) {
            self.second = now;
            self.counts.clear();
        }
        let found = self.counts.iter_mut().find(|(name, _)| *name == operation);
        match found {
            Some((_, count)) => {
                *count += 1;
                *count == CALLS_MAX
            }
            None => {
                self.counts.push((operation, 1));
                false
            }
        }
    }
}

impl Fates for World {
    fn fate(&self, operation: &'static str) -> Fate {
        let mut store = lock(&self.store);
        store.calls += 1;
        if store.spins(operation, self.clock.elapsed()) {
            drop(store);
            self.note(What::Spins(operation));
            return Fate {
                effect: Effect::Dies { done: false },
                ..Fate::default()
            };
        }
        let fate = Fate {
            before: store.pause(),
            effect: store.effect(operation),
            after: store.pause(),
        };
        drop(store);
        if !matches!(fate.effect, Effect::Done | Effect::Dies { .. }) {
            self.note(What::Fault(operation));
        }
        fate
    }

    fn changed(&self, record: &TaskRecord) {
        self.note(What::Changed(Box::new(record.clone())));
    }

    fn died(&self) {
        self.death.notify_one();
    }
}
