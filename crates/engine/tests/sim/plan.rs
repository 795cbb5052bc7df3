//! What a run is to be, drawn from its seed: the models, the callers, the lives of servers and how they end.

use std::sync::Arc;
use std::time::Duration;

use cresset_config::{
    Admission, Batching, ClientBounds, Entry, Environment, HealthCheck, Instances, LatePredictions,
    ModelConfig, ModelLimits, ResultCache, Retry,
};
use cresset_queue::conformance::Dice;
use cresset_runner::DownReason;

use crate::history::May;

/// How a server's life ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// At this time.
    Crash(Duration),
    /// In this call of the store, before or after its effect.
    CrashInCall { call: u64, done: bool },
    /// It is told to stop then, and has so long.
    Stop { after: Duration, deadline: Duration },
    /// When all is done.
    Last,
}

#[derive(Debug)]
pub(crate) struct ModelPlan {
    pub(crate) config: Arc<ModelConfig>,
    pub(crate) instances: u32,
    pub(crate) slots: usize,
    /// A batch takes at least this.
    pub(crate) quickest: Duration,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) models: Vec<ModelPlan>,
    pub(crate) admission: Admission,
    pub(crate) clients: usize,
    /// What each caller does, in all.
    pub(crate) acts: usize,
    pub(crate) lives: Vec<End>,
    /// Which kinds of trouble there are.
    pub(crate) faults: bool,
    pub(crate) jumps: bool,
    pub(crate) deaths: bool,
    /// How long finished tasks are kept, where that is not for ever.
    pub(crate) kept: Option<Duration>,
}

/// What an input does to the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Good,
    /// It takes longer.
    Slow,
    /// It takes longer, and does not look whether it is wanted.
    Dawdles,
    /// The batch that it is in raises.
    Raises,
    /// It fails so often, alone.
    Fails(u32),
    /// It asks to be tried again so often, after this long.
    AsksRetry(u32, Duration),
    Rejects,
    /// The process that runs it ends.
    Kills(DownReason),
    /// The process that runs it does not end.
    Hangs,
}

pub(crate) fn millis(dice: &mut Dice, from: usize, to: usize) -> Duration {
    Duration::from_millis((from + dice.below(to - from + 1)) as u64)
}

impl Kind {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..60 => Self::Good,
            60..68 => Self::Slow,
            68..73 => Self::Dawdles,
            73..77 => Self::Raises,
            77..83 => Self::Fails(1 + dice.below(3) as u32),
            83..89 => Self::AsksRetry(1 + dice.below(3) as u32, millis(dice, 0, 4_000)),
            89..92 => Self::Rejects,
            92..97 => {
                let deaths = [
                    DownReason::Exited(3),
                    DownReason::Signal(11),
                    DownReason::OutOfMemory,
                    DownReason::Protocol("nonsense".into()),
                ];
                Self::Kills(deaths[dice.below(deaths.len())].clone())
            }
            _ => Self::Hangs,
        }
    }

    /// How a task of a model with this policy may end, but for being revoked.
    pub(crate) fn may(&self, policy: &Retry) -> May {
        let listed = !policy.on.is_empty();
        let after = |fails: u32, tries: u32| May {
            succeed: fails <= tries,
            fail: fails > tries,
            die: false,
        };
        match self {
            Self::Good | Self::Slow | Self::Dawdles => after(0, 0),
            Self::Raises | Self::Rejects => after(1, 0),
            // What was computed, and then lost with its server, counts for the model and not for the policy.
            Self::Fails(fails) => May {
                succeed: true,
                ..after(*fails, if listed { policy.max_retries } else { 0 })
            },
            Self::AsksRetry(fails, _) => May {
                succeed: true,
                ..after(*fails, policy.max_retries)
            },
            Self::Kills(_) | Self::Hangs => May {
                die: true,
                ..May::default()
            },
        }
    }

    /// How a prediction may end: it is not tried again.
    pub(crate) fn may_as_prediction(&self) -> May {
        let never = Retry {
            max_retries: 0,
            ..Retry::default()
        };
        self.may(&never)
    }
}

fn model(name: &str, dice: &mut Dice) -> ModelPlan {
    let on = match dice.below(3) {
        0 => vec![],
        1 => vec!["ValueError".to_owned()],
        _ => vec!["*".to_owned()],
    };
    let cancel_grace = dice.chance(70).then(|| millis(dice, 50, 3_000));
    let config = ModelConfig {
        name: name.parse().unwrap(),
        version: "1".into(),
        description: None,
        dir: "/".into(),
        entry: Entry {
            file: "model.py".into(),
            attribute: None,
        },
        inputs: Vec::new(),
        outputs: Vec::new(),
        batching: Batching {
            max_batch_size: 1 + dice.below(8),
            max_delay: millis(dice, 0, 20),
            max_batch_bytes: if dice.chance(30) { 40 } else { 1 << 20 },
            ..Batching::default()
        },
        instances: Instances {
            idle_unload: dice.chance(35).then(|| millis(dice, 1, 4_000)),
            ..Instances::default()
        },
        limits: ModelLimits {
            timeout: millis(dice, 2_000, 6_000),
            soft_timeout: None,
            start_timeout: Duration::from_secs(60),
            predict_timeout: millis(dice, 1_000, 12_000),
            late_predictions: LatePredictions::Task,
            cancel_grace,
            max_queue: if dice.chance(25) { 3 } else { 1_000 },
            max_queue_bytes: if dice.chance(10) { 60 } else { 1 << 20 },
            max_waiting: if dice.chance(20) { 2 } else { 100 },
            max_waiting_bytes: dice.chance(30).then_some(60),
            max_attempts: 1 + dice.below(3) as u32,
        },
        logs: Default::default(),
        cache: ResultCache {
            enabled: dice.chance(30),
            ..ResultCache::default()
        },
        celery: Default::default(),
        stream: Default::default(),
        webhook: None,
        retry: Retry {
            max_retries: dice.below(4) as u32,
            delay: millis(dice, 10, 2_000),
            max_delay: Duration::from_secs(5),
            on,
        },
        health: HealthCheck::default(),
        environment: Environment::default(),
        allow_pickle: false,
        copy_inputs: false,
        files: cresset_config::Files::default(),
        settings: String::new(),
    };
    ModelPlan {
        config: Arc::new(config),
        instances: 1 + dice.below(3) as u32,
        slots: 1 + usize::from(dice.chance(80)),
        quickest: millis(dice, 1, 200),
    }
}

fn admission(dice: &mut Dice) -> Admission {
    if dice.chance(60) {
        return Admission::default();
    }
    Admission {
        max_queue: dice.chance(50).then_some(8),
        max_queue_bytes: dice.chance(20).then_some(150),
        max_waiting: dice.chance(50).then_some(4),
        client: ClientBounds {
            max_queue: dice.chance(50).then_some(5),
            max_queue_bytes: dice.chance(20).then_some(100),
            max_waiting: dice.chance(50).then_some(2),
            max_requests: dice.chance(50).then_some(4),
        },
    }
}

fn end(dice: &mut Dice) -> End {
    match dice.below(10) {
        0..4 => End::Crash(millis(dice, 0, 12_000)),
        4..7 => End::CrashInCall {
            call: 1 + dice.below(120) as u64,
            done: dice.chance(50),
        },
        _ => End::Stop {
            after: millis(dice, 0, 12_000),
            deadline: millis(dice, 0, 4_000),
        },
    }
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let models = ["a", "b", "c"];
        let models = models[..1 + dice.below(3)].iter();
        let models = models.map(|name| model(name, &mut dice)).collect();
        let mut lives: Vec<End> = (0..dice.below(4)).map(|_| end(&mut dice)).collect();
        lives.push(End::Last);
        Self {
            seed,
            models,
            admission: admission(&mut dice),
            clients: 1 + dice.below(5),
            acts: 6 + dice.below(14),
            lives,
            faults: dice.chance(50),
            jumps: dice.chance(40),
            deaths: dice.chance(60),
            kept: dice.chance(25).then(|| millis(&mut dice, 500, 15_000)),
        }
    }
}
