//! How the engine sees the processes of one model.
//!
//! The engine gives an instance a [`Job`] only while it holds a credit for it: [`PoolEvent::Up`] grants `slots` credits,
//! each job takes one, each [`PoolEvent::Ended`] gives it back, [`PoolEvent::Down`] takes all away. There is no second
//! queue behind the credits.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cresset_task::{BatchId, Failure, InstanceId, Payload};

pub use self::job::{Job, Name};
pub use self::live::{Chunk, LogLevel, LogLine, PROGRESS_EVERY, Report};

mod job;
mod live;

/// What became of one item.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemEnd {
    /// Its result, checked against the declared outputs.
    Done(Payload),
    /// It failed alone.
    Failed(Failure),
    /// It was not wanted any more, and not run to its end: see [`Executor::cancel`].
    Skipped,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEnd {
    /// One end for each item, in order.
    Items(Vec<ItemEnd>),
    /// The batch as a whole raised: which item is to blame is not known (unless there is only one).
    Raised(Failure),
    /// The model gave the batch up because items of it are not wanted any more; what it raised to say so. Of the others
    /// that says nothing.
    GivenUp(Failure),
    /// The instance died or was killed before it answered.
    Lost {
        /// How it died.
        reason: DownReason,
        /// True for the batch that was running; false for one that waited behind it and is not to blame.
        suspect: bool,
        /// What is known of the death; only of the suspect.
        scene: Option<Box<Scene>>,
    },
}

/// Why nobody waits for the end of an item any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// Its task was cancelled.
    Cancelled,
    /// Its caller has gone.
    HungUp,
}

/// What an instance left when it died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// Its resident memory in bytes, when it was last looked at.
    pub resident_bytes: Option<u64>,
    /// The newest lines that it printed, oldest first. They are of whatever it ran, not only of its last batch.
    pub last_lines: Vec<String>,
}

impl JobEnd {
    /// Why items of such a job run once more, in words for their history. Payloads and messages of other callers' inputs
    /// are no part of it.
    #[must_use]
    pub fn redelivery(&self) -> String {
        match self {
            Self::Items(_) => "the runner gave results that do not fit its batch".into(),
            Self::Raised(failure) => format!("its batch raised {} and is run again in parts", failure.type_),
            Self::GivenUp(_) => "others of its batch were cancelled, and the model gave the batch up".into(),
            Self::Lost {
                reason: reason @ DownReason::Cancelled(_),
                ..
            } => format!("the model process {reason}"),
            Self::Lost {
                reason,
                suspect: true,
                ..
            } => format!("the model process {reason} while running it"),
            Self::Lost {
                reason,
                suspect: false,
                ..
            } => format!("the model process {reason} before running it"),
        }
    }
}

/// Where the time of a job went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// From being sent to the answer being read, less the time it waited behind another batch of the same instance.
    pub compute: Duration,
}

/// Why an instance is not there any more, or did not come up.
#[derive(Clone, Debug, PartialEq)]
pub enum DownReason {
    /// It could not be started at all (interpreter missing, environment not built).
    Spawn(String),
    /// Import, `load` or `warmup` raised.
    Start(Failure),
    /// It was not ready within `limits.start_timeout`; killed.
    StartTimeout(Duration),
    /// It exited by itself.
    Exited(i32),
    /// A signal ended it.
    Signal(i32),
    /// The kernel killed it for memory.
    OutOfMemory,
    /// A batch ran past `limits.timeout`; killed.
    Hung(Duration),
    /// It did not let go of a cancelled task within `limits.cancel_grace`; killed. That says nothing against it, or against
    /// anything that it had.
    Cancelled(Duration),
    /// It broke the runner protocol; killed.
    Protocol(String),
    /// What runs the items is another service, and that cannot be reached.
    Away(String),
    /// Its model had no work: it was stopped, and is started again when there is some. See [`Executor::unload`].
    Unloaded,
    /// We stopped it.
    Stopped,
}

impl DownReason {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Spawn(_) => "spawn",
            Self::Start(_) => "start",
            Self::StartTimeout(_) => "start_timeout",
            Self::Exited(_) => "exit",
            Self::Signal(_) => "signal",
            Self::OutOfMemory => "out_of_memory",
            Self::Hung(_) => "hung",
            Self::Cancelled(_) => "cancelled",
            Self::Protocol(_) => "protocol",
            Self::Away(_) => "away",
            Self::Unloaded => "unloaded",
            Self::Stopped => "stopped",
        }
    }
}

impl DownReason {
    /// It ended because we wanted it to, and nothing is wrong with it.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Stopped | Self::Unloaded | Self::Cancelled(_))
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(why) => write!(f, "could not be started: {why}"),
            Self::Start(failure) => {
                let stage = failure.stage.map_or("start", |s| s.name());
                write!(f, "failed in {stage}: {}: {}", failure.type_, failure.message)
            }
            Self::StartTimeout(limit) => write!(f, "was not ready within {limit:?}"),
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Signal(number) => write!(f, "was ended by signal {number}"),
            Self::OutOfMemory => f.write_str("was killed for lack of memory"),
            Self::Hung(limit) => write!(f, "did not finish a batch within {limit:?} and was killed"),
            Self::Cancelled(grace) => {
                write!(
                    f,
                    "did not let go of a cancelled task within {grace:?} and was killed"
                )
            }
            Self::Protocol(what) => write!(f, "broke the runner protocol: {what}"),
            Self::Away(why) => write!(f, "cannot be reached: {why}"),
            Self::Unloaded => f.write_str("was unloaded, as there was no work"),
            Self::Stopped => f.write_str("was stopped"),
        }
    }
}

/// Why an instance that works is replaced by a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecycleReason {
    /// It has served so many items, `instances.max_tasks` or more.
    Tasks(u64),
    /// It holds so many bytes of memory, `instances.max_memory` or more.
    Memory(u64),
}

impl RecycleReason {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tasks(_) => "max_tasks",
            Self::Memory(_) => "max_memory",
        }
    }
}

impl fmt::Display for RecycleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tasks(items) => write!(f, "has served {items} items"),
            Self::Memory(bytes) => write!(f, "holds {} MiB of memory", bytes >> 20),
        }
    }
}

/// What happens to the processes of a model.
#[derive(Debug)]
pub enum PoolEvent {
    /// An instance is warm and takes `slots` jobs at once.
    Up {
        /// Which.
        instance: InstanceId,
        /// Jobs it may hold.
        slots: usize,
    },
    /// How far items of a running job have come; at most one event in [`PROGRESS_EVERY`] for each instance. Comes before the
    /// job's end, or not at all.
    Progress {
        /// Which instance has it.
        instance: InstanceId,
        /// The job's batch.
        batch: BatchId,
        /// The newest of what was said.
        reports: Vec<Report>,
    },
    /// Pieces of the results of a running job of a streaming model, in order, none left out. All come before the job's end.
    Chunks {
        /// Which instance has it.
        instance: InstanceId,
        /// The job's batch.
        batch: BatchId,
        /// For each of its items in the order in which the model gave them.
        chunks: Vec<Chunk>,
    },
    /// Lines that the model's code wrote about items of a running job. All come before the job's end.
    Logs {
        /// Which instance has it.
        instance: InstanceId,
        /// The job's batch.
        batch: BatchId,
        /// In the order in which they were written.
        lines: Vec<LogLine>,
    },
    /// A job ended. Sent exactly once for every job that `run` took.
    Ended {
        /// Which instance had it.
        instance: InstanceId,
        /// The job's batch.
        batch: BatchId,
        /// How.
        end: JobEnd,
        /// How long it took.
        timing: Timing,
    },
    /// An instance is gone, or did not come up; all its jobs have ended before this.
    Down {
        /// Which.
        instance: InstanceId,
        /// Why.
        reason: DownReason,
    },
    /// A fresh process has taken over this instance's place: jobs go to it from now on. The old one finishes what it has;
    /// [`PoolEvent::Recycled`] follows.
    TakenOver {
        /// Which.
        instance: InstanceId,
    },
    /// A fresh process has taken over this instance's place and the old one has ended. It was up all the time: jobs
    /// went to the one or the other, and the credits are as they were.
    Recycled {
        /// Which.
        instance: InstanceId,
        /// Why it was replaced.
        reason: RecycleReason,
        /// How the old process ended: [`DownReason::Stopped`] when all went well.
        end: DownReason,
    },
    /// A process that was to take over did not come up. The old one serves on, and another will be tried.
    NotReplaced {
        /// Which.
        instance: InstanceId,
        /// Why the fresh process did not come up.
        reason: DownReason,
    },
}

/// Where an instance is in its life.
#[derive(Clone, Debug, PartialEq)]
pub enum InstanceState {
    /// The environment is being built, or the process imports, loads, warms up.
    Starting,
    /// It takes batches.
    Ready,
    /// It is down and will be started again.
    Waiting {
        /// Why it is down.
        reason: DownReason,
        /// How long the wait is, counted from when it went down.
        delay: Duration,
    },
    /// It was stopped, or is just being stopped, as its model has no work; it is started again when there is some.
    Unloaded,
    /// It has been stopped for good.
    Stopped,
}

/// The replacing of an instance that still serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// Why.
    pub reason: RecycleReason,
    /// The fresh process, while there is one.
    pub pid: Option<u32>,
    /// How many did not come up.
    pub failures: u32,
    /// Why the newest of these did not.
    pub last_failure: Option<DownReason>,
}

/// One instance, for people and probes.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceStatus {
    /// Its place.
    pub id: InstanceId,
    /// Its device.
    pub device: String,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Since when.
    pub since: SystemTime,
    /// Starts after a death.
    pub restarts: u64,
    /// Times it was replaced by a fresh process.
    pub recycled: u64,
    /// Why it is about to be replaced, while it is.
    pub replacement: Option<Replacement>,
    /// `python 3.11.7, torch 2.15.0`, once it said so.
    pub runtime: Option<String>,
}

/// Where a model as a whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolState {
    /// No instance has been ready yet, and none has failed often enough to worry.
    Starting,
    /// No instance is up, as there was no work for them; they are started when there is some.
    Unloaded,
    /// The same after that: there is work, and none is ready yet.
    Loading,
    /// At least one instance takes batches and the crash-loop breaker is closed.
    Ready,
    /// An instance is up, but the crash-loop breaker is open: too many deaths in a short time.
    Degraded,
    /// No instance is up, though one was before.
    Down,
    /// No instance has ever been ready, or none since the model was unloaded, and starting failed at least once.
    Failed,
    /// Stopped for good.
    Stopped,
}

impl PoolState {
    /// The name in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Unloaded => "unloaded",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// All instances of a model, for people and probes.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolStatus {
    /// The model as a whole.
    pub state: PoolState,
    /// Its instances, by id.
    pub instances: Vec<InstanceStatus>,
    /// The newest reason an instance went down, if any has.
    pub last_failure: Option<DownReason>,
}

/// An instance has no free slot, or is gone; the job comes back.
#[derive(Debug)]
pub struct NotTaken(pub Job);

/// The processes of one model.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Hands a job to an instance. Never blocks. The end comes as [`PoolEvent::Ended`]; if the instance has gone in the
    /// meantime, that is `Lost` and not to blame.
    fn run(&self, instance: InstanceId, job: Job) -> Result<(), NotTaken>;

    /// Nobody waits for this item of a batch any more; `item` counts from 0, in the order of [`Job::items`]. Never blocks, and
    /// does nothing if the batch has ended. The model can see it, and the item's end may be [`ItemEnd::Skipped`] from now on.
    ///
    /// After a cancelled task, or when no item of the batch is wanted, the instance has `limits.cancel_grace` to be done with
    /// the batch, counted from when it runs; then it is killed, and its jobs are `Lost` for [`DownReason::Cancelled`] with
    /// none of them to blame.
    fn cancel(&self, instance: InstanceId, batch: BatchId, item: usize, why: Unwanted);

    /// There is no work: all instances finish what they hold, and are stopped. Their [`PoolEvent::Down`] says
    /// [`DownReason::Unloaded`]. Never blocks. Idempotent; after a stop it does nothing.
    fn unload(&self);

    /// There is work again: undoes [`Executor::unload`], also while that is under way. What has been stopped is started again.
    /// Never blocks. Idempotent.
    fn load(&self);

    /// How things stand. Cheap.
    fn status(&self) -> PoolStatus;

    /// Stops all instances: they finish the jobs they hold if they can within `grace`, then they are killed. Returns
    /// when no process is left. Idempotent.
    async fn stop(&self, grace: Duration);
}
