//! The life of one instance: from the start of its process to the reaping of it.
//!
//! One task owns everything of it: process, channel, slab, the batches in flight. So there is one order of events, and
//! whatever ends the instance, its jobs end first, each once. When to start another is not decided here.

mod flight;
mod hand_over;
mod live;
mod serve;
mod start;
mod wear;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cresset_task::BatchId;
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::board::Board;
use crate::channel::{Channel, ChannelError};
use crate::layout::Regions;
use crate::logs::{Logs, Rate};
use crate::memory::Resident;
use crate::place::{Given, LifeId, Place};
use crate::pool::Shared;
use crate::port::{DownReason, JobEnd, PoolEvent, RecycleReason, Scene, Timing};
use crate::slab::Slab;
use crate::spawn::{End, Process};
use crate::spool::Spool;
use crate::wire::{Kind, Note, Returns, WireError};
use flight::Flights;
use wear::Wear;

/// How long an instance that closed its channel, or said that it failed, may take to exit by itself. Its exit status says
/// more than our kill does.
const EXIT_WAIT: Duration = Duration::from_secs(2);
/// A killed process that is still there after this is stuck in the kernel (a driver, a network file system): its jobs
/// are given up, and it is waited for.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Notes of one instance that reach the log. A note is for something that is said once.
const NOTES_MAX: usize = 100;

/// How a life went.
pub(crate) struct Life {
    pub(crate) reason: DownReason,
    /// How long it had been ready, if it ever was.
    pub(crate) ready_for: Option<Duration>,
    /// The newest lines it printed.
    pub(crate) last_lines: Vec<String>,
}

/// What a life says of itself while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is not ready yet.
    Starting,
    /// It holds its place and takes jobs.
    Up,
    /// It takes jobs, and should be replaced.
    Worn(RecycleReason),
}

/// What ends a life.
#[derive(Debug)]
enum Finish {
    /// The process is dead.
    Died,
    /// It closed its end of the channel.
    Closed,
    /// It is to be killed, for this reason.
    Kill(DownReason),
    /// It said that it cannot start, and exits.
    Failed(DownReason),
    /// It said that this was its last answer, and exits.
    Leaving,
}

impl Finish {
    fn protocol(what: impl std::fmt::Display) -> Self {
        Self::Kill(DownReason::Protocol(what.to_string()))
    }
}

impl From<ChannelError> for Finish {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Closed => Self::Closed,
            ChannelError::Io(_) | ChannelError::Wire(_) => Self::protocol(error),
        }
    }
}

impl From<WireError> for Finish {
    fn from(error: WireError) -> Self {
        Self::protocol(error)
    }
}

/// Where an instance is between being ready and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It takes jobs.
    Serving,
    /// A stop was ordered, there is no work, or another has taken its place: it finishes the jobs it holds, is told to shut down, and exits.
    Draining,
    /// It did not do so in time and was sent SIGTERM; at this time it is killed.
    Terminating(Instant),
}

/// An instance whose process runs.
struct Instance<'a> {
    shared: &'a Shared,
    place: &'a Place,
    id: LifeId,
    tell: watch::Sender<News>,
    process: Process,
    channel: Channel,
    logs: Logs,
    /// `None` for an object model.
    slab: Option<Arc<Slab>>,
    regions: Regions,
    board: Arc<Board>,
    /// Files given to a model as paths; gone with the instance, after its process.
    spool: Option<Spool>,
    returns: Returns,
    /// It wants to know of the traces of its callers.
    takes_traces: bool,
    /// The inside of the door; `None` before it is ready and after the last job has come through.
    jobs: Option<mpsc::Receiver<Given>>,
    flights: Flights,
    ready_since: Option<Instant>,
    wear: Wear,
    /// When it must have exited, once it has been told to shut down.
    leave_by: Option<Instant>,
    phase: Phase,
    /// It has said that it begins nothing more.
    is_leaving: bool,
    notes: usize,
    /// When what it said of its progress was last passed on.
    reported: Option<Instant>,
    /// Of lines about its work; one of ours keeps to a lower rate.
    line_rate: Rate,
    resident: Resident,
}

/// Runs one instance from beginning to end.
pub(crate) async fn live(
    shared: &Shared,
    place: &Place,
    id: LifeId,
    tell: watch::Sender<News>,
    interpreter: PathBuf,
) -> Life {
    let mut instance = match start::start(shared, place, id, tell, interpreter).await {
        Ok(instance) => instance,
        Err(why) => {
            return Life {
                reason: DownReason::Spawn(why),
                ready_for: None,
                last_lines: Vec::new(),
            };
        }
    };
    let finish = match instance.await_ready().await {
        Ok(()) => instance.serve().await,
        Err(finish) => finish,
    };
    instance.end(finish).await
}

impl Instance<'_> {
    async fn end(mut self, finish: Finish) -> Life {
        self.place.close(self.id);
        // Of one that is still there, to be killed.
        self.resident.look();
        let ready_for = self.ready_since.map(|since| since.elapsed());
        let mut reason = match finish {
            Finish::Died => None,
            Finish::Closed if self.exits_by_itself().await => None,
            Finish::Closed => Some(DownReason::Protocol(
                "it closed its control channel and went on running".into(),
            )),
            Finish::Leaving if self.exits_by_itself().await => None,
            Finish::Leaving => Some(DownReason::Protocol(
                "it gave its last answer and went on running".into(),
            )),
            Finish::Failed(reason) => {
                if !self.exits_by_itself().await {
                    tracing::warn!(model = %self.shared.config.name, instance = %self.place.id,
                        "an instance said that it cannot start and did not exit");
                }
                Some(reason)
            }
            Finish::Kill(reason) => Some(reason),
        };
        if reason.is_none() {
            reason = self.last_frames().await;
        }
        self.process.signal(Signal::KILL);
        if tokio::time::timeout(STUCK_AFTER, self.process.died())
            .await
            .is_err()
        {
            tracing::error!(model = %self.shared.config.name, instance = %self.place.id, pid = self.process.pid(),
                "a killed process does not die, it is stuck in the kernel");
            let reason = reason
                .clone()
                .unwrap_or(DownReason::Signal(Signal::KILL.as_raw()));
            self.lose_jobs(&reason).await;
            self.process.died().await;
        }
        let end = self.process.reap();
        // Nobody writes there any more.
        drop(self.spool.take());
        let reason = match (reason, end) {
            (Some(reason), _) => reason,
            (None, Ok(end)) => self.reason_of(end),
            (None, Err(e)) => DownReason::Spawn(format!("its exit status could not be read: {e}")),
        };
        self.lose_jobs(&reason).await;
        Life {
            reason,
            ready_for,
            last_lines: self.logs.finish().await,
        }
    }

    async fn exits_by_itself(&self) -> bool {
        tokio::time::timeout(EXIT_WAIT, self.process.died()).await.is_ok()
    }

    /// Takes in what a dead instance had written. A reason found there is better than its exit status.
    async fn last_frames(&mut self) -> Option<DownReason> {
        loop {
            let finish = match self.channel.next_now() {
                Ok(Some(frame)) if self.ready_since.is_some() => self.on_frame(frame).await.err(),
                Ok(Some(frame)) if frame.header.kind == Kind::Ready => None,
                Ok(Some(frame)) => self.on_start_frame(&frame).err(),
                Ok(None) | Err(ChannelError::Closed) => return None,
                Err(e) => Some(e.into()),
            };
            match finish {
                None => {}
                Some(Finish::Kill(reason) | Finish::Failed(reason)) => return Some(reason),
                Some(Finish::Died | Finish::Closed | Finish::Leaving) => return None,
            }
        }
    }

    /// Why it died, given how.
    fn reason_of(&self, end: End) -> DownReason {
        let asked_to = match self.phase {
            Phase::Serving => false,
            Phase::Draining => self.flights.is_empty(),
            Phase::Terminating(_) => true,
        };
        match end {
            _ if asked_to => DownReason::Stopped,
            End::Signal(number) if number == Signal::KILL.as_raw() && self.shared.oom.claim() => {
                DownReason::OutOfMemory
            }
            End::Signal(number) => DownReason::Signal(number),
            End::Exited(status) => DownReason::Exited(status),
        }
    }

    /// Ends every job that is left. The one that was running is under suspicion, unless it was we who ended the process, or
    /// it cannot have begun.
    async fn lose_jobs(&mut self, reason: &DownReason) {
        let blame = !reason.is_ours() && !self.is_leaving;
        for (batch, running) in self.flights.lose(self.jobs.take()) {
            let suspect = blame && running;
            let scene = match suspect {
                true => Some(Box::new(Scene {
                    resident_bytes: self.resident.seen(),
                    last_lines: self.logs.newest().await,
                })),
                false => None,
            };
            let end = JobEnd::Lost {
                reason: reason.clone(),
                suspect,
                scene,
            };
            self.announce(batch, end, Timing::default()).await;
        }
    }

    /// Announces a job's end. Its credit must have been given back: the engine may hand over the next job at once.
    async fn announce(&self, batch: BatchId, end: JobEnd, timing: Timing) {
        self.shared
            .emit(PoolEvent::Ended {
                instance: self.place.id,
                batch,
                end,
                timing,
            })
            .await;
    }

    /// Puts a NOTE into the log.
    fn on_note(&mut self, body: &[u8]) -> Result<(), Finish> {
        let note = Note::decode(Kind::Note, body)?;
        self.notes += 1;
        let (model, instance) = (&self.shared.config.name, self.place.id);
        match note.level.as_str() {
            _ if self.notes > NOTES_MAX => {
                tracing::debug!(%model, %instance, "an instance sends more notes than are read");
            }
            "error" => tracing::error!(target: "cresset::model", %model, %instance, "{}", note.message),
            "warning" => tracing::warn!(target: "cresset::model", %model, %instance, "{}", note.message),
            _ => tracing::info!(target: "cresset::model", %model, %instance, "{}", note.message),
        }
        Ok(())
    }
}
