//! While it is ready: jobs in, answers out, and the reasons to end it.

use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::flight::Flights;
use super::hand_over::off_thread;
use super::{Finish, Instance, News, Phase};
use crate::batch::frame;
use crate::channel::{ChannelError, Frame};
use crate::check::{self, Slot};
use crate::layout::SLOTS;
use crate::place::Given;
use crate::port::{DownReason, JobEnd, RecycleReason, Timing};
use crate::wire::{Header, Kind, Returns, WireFailure, decode_answer, decode_answers};

/// How long an instance that was told to shut down has for it, where no stop of the whole pool says so: it may write
/// caches or close connections.
const LEAVE_WAIT: Duration = Duration::from_secs(10);
/// How long an instance has for its end after SIGTERM.
const TERM_WAIT: Duration = Duration::from_secs(1);

/// What happened next.
enum Step {
    Frame(Result<Frame, ChannelError>),
    Job(Option<Given>),
    Died,
    BatchLate,
    GraceOver,
    StopLate,
    LookAtMemory,
    StopOrder,
    Loaded,
    MustEnd,
    Look,
    Kill,
}

impl Instance<'_> {
    /// Runs batches until something ends it.
    pub(super) async fn serve(&mut self) -> Finish {
        match self.serve_on().await {
            Ok(never) => match never {},
            Err(finish) => finish,
        }
    }

    async fn serve_on(&mut self) -> Result<std::convert::Infallible, Finish> {
        let limit = self.shared.config.limits.timeout;
        let grace = self.shared.config.limits.cancel_grace;
        let mut must_end = self.place.must_end();
        let mut stop = self.shared.stop.subscribe();
        let mut loaded = self.shared.loaded.subscribe();
        // From here on it is seen when the model is loaded anew, which forgets that somebody was ready.
        self.shared.note_ready();
        let mut told = false;
        loop {
            let order = *stop.borrow_and_update();
            let unload = !*loaded.borrow_and_update();
            if (order.is_some() || unload) && self.phase == Phase::Serving {
                self.phase = Phase::Draining;
                self.place.close(self.id);
                if unload {
                    self.place.unloading(self.id);
                }
            }
            self.send_waiting().await;
            let drained = self.phase != Phase::Serving && self.jobs.is_none() && self.flights.is_empty();
            if drained && !std::mem::replace(&mut told, true) {
                self.channel
                    .push(frame(&Header::plain(Kind::Shutdown, 0), &[]), Vec::new());
                self.leave_by = Some(Instant::now() + LEAVE_WAIT);
            }
            let batch_late = self.flights.deadline(limit);
            let grace_over = grace.and_then(|grace| self.flights.grace_ends(grace));
            let stop_late = match self.phase {
                Phase::Serving => None,
                Phase::Draining => [order, self.leave_by].into_iter().flatten().min(),
                Phase::Terminating(until) => Some(until),
            };
            let look = (!self.flights.none_sent()).then(|| self.resident.next_look());
            let takes_jobs = self.flights.waiting.len() < SLOTS;
            let step = tokio::select! {
                frame = self.channel.next() => Step::Frame(frame),
                given = next_job(&mut self.jobs), if takes_jobs => Step::Job(given),
                () = self.process.died() => Step::Died,
                () = at(batch_late) => Step::BatchLate,
                () = at(grace_over) => Step::GraceOver,
                // As `stop`; `place` holds the sender.
                _ = must_end.changed() => Step::MustEnd,
                () = at(stop_late) => Step::StopLate,
                () = at(look) => Step::LookAtMemory,
                // Fails only without a sender, and `shared` holds it.
                _ = stop.changed() => Step::StopOrder,
                // As `stop`.
                _ = loaded.changed() => Step::Loaded,
                () = at(self.wear.look_at()) => Step::Look,
                () = self.shared.kill.cancelled() => Step::Kill,
            };
            match step {
                Step::Frame(frame) => self.on_frame(frame?).await?,
                Step::Job(Some(given)) => self.flights.waiting.push_back(given),
                Step::Job(None) => {
                    // The door was closed by us, or another has taken the place over.
                    self.jobs = None;
                    if self.phase == Phase::Serving {
                        self.phase = Phase::Draining;
                    }
                }
                Step::Look => {
                    let worn = self.wear.look(self.process.pid());
                    self.tell_worn(worn);
                }
                Step::Died => return Err(Finish::Died),
                Step::BatchLate => {
                    let ends = |flights: &Flights| flights.deadline(limit);
                    self.on_late(ends, DownReason::Hung(limit)).await?;
                }
                Step::GraceOver => {
                    let grace = grace.unwrap_or(Duration::MAX);
                    let ends = |flights: &Flights| flights.grace_ends(grace);
                    self.on_late(ends, DownReason::Cancelled(grace)).await?;
                }
                Step::StopLate => self.on_stop_late()?,
                Step::LookAtMemory => self.resident.look(),
                // It was unloaded and loaded again before it saw that, and is up as before.
                Step::Loaded if *loaded.borrow() && self.phase == Phase::Serving => self.shared.note_ready(),
                Step::StopOrder | Step::Loaded | Step::MustEnd => {}
                Step::Kill => return Err(Finish::Kill(DownReason::Stopped)),
            }
        }
    }

    /// The first batch is past a time that it had, unless its answer is here and only unread.
    async fn on_late(
        &mut self,
        ends: impl Fn(&Flights) -> Option<Instant>,
        reason: DownReason,
    ) -> Result<(), Finish> {
        while let Some(frame) = self.channel.next_now()? {
            self.on_frame(frame).await?;
        }
        match ends(&self.flights) {
            Some(end) if end <= Instant::now() => Err(Finish::Kill(reason)),
            _ => Ok(()),
        }
    }

    fn on_stop_late(&mut self) -> Result<(), Finish> {
        if let Phase::Terminating(_) = self.phase {
            return Err(Finish::Kill(DownReason::Stopped));
        }
        self.process.signal(Signal::TERM);
        self.phase = Phase::Terminating(Instant::now() + TERM_WAIT);
        Ok(())
    }

    fn tell_worn(&self, worn: Option<RecycleReason>) {
        if let (Some(why), Phase::Serving) = (worn, self.phase) {
            self.tell.send_replace(News::Worn(why));
        }
    }

    /// A frame of an instance that is ready.
    pub(super) async fn on_frame(&mut self, frame: Frame) -> Result<(), Finish> {
        let Frame { header, body } = frame;
        let end = match (header.kind, self.returns) {
            (Kind::Note, _) => return self.on_note(&body),
            (Kind::Progress, _) => return self.on_progress(&header, &body).await,
            (Kind::Chunks, _) => return self.on_chunks(&header, body).await,
            (Kind::Logs, _) => return self.on_logs(&header, &body).await,
            (Kind::Error, _) => {
                self.flights.answered_by(&header).map_err(Finish::protocol)?;
                let failure = WireFailure::decode(header.kind, &body)?.into_failure();
                if header.is_cancelled() {
                    JobEnd::GivenUp(failure)
                } else {
                    JobEnd::Raised(failure)
                }
            }
            (Kind::Done, Returns::Tensor) => self.tensors(&header, body).await?,
            (Kind::DoneObjects, Returns::Object) => {
                self.flights.answered_by(&header).map_err(Finish::protocol)?;
                let work = move || check::objects(decode_answers(&header, &body)?);
                off_thread(header.body_len.into(), work)
                    .await
                    .map_err(Finish::protocol)?
            }
            (kind, returns) => {
                return Err(Finish::protocol(format_args!(
                    "a {} frame from a ready instance that returns {returns:?}",
                    kind.name()
                )));
            }
        };
        let Some(flight) = self.flights.pop() else {
            return Ok(());
        };
        let timing = Timing {
            compute: flight.ran_for(),
        };
        drop(flight.credit);
        let worn = self.wear.answered(flight.items);
        self.tell_worn(worn);
        self.announce(flight.batch, end, timing).await;
        if header.is_last() {
            self.is_leaving = true;
            return Err(Finish::Leaving);
        }
        Ok(())
    }

    async fn tensors(&self, header: &Header, body: bytes::Bytes) -> Result<JobEnd, Finish> {
        let flight = self.flights.answered_by(header).map_err(Finish::protocol)?;
        let answer = decode_answer(header, &body)?;
        let Some(slab) = &self.slab else {
            return Err(Finish::protocol("tensors from an object model"));
        };
        let Some(info) = slab.info().slots.get(flight.slot as usize).copied() else {
            return Err(Finish::protocol(format_args!(
                "an answer in slot {}",
                flight.slot
            )));
        };
        let slot = Slot {
            number: flight.slot,
            info,
            slab: slab.clone(),
        };
        let batch = flight.items as usize;
        let config = self.shared.config.clone();
        let bytes = answer
            .tensors
            .iter()
            .fold(0_u64, |sum, t| sum.saturating_add(t.nbytes));
        let work = move || check::tensors(&config.outputs, answer, &slot, batch);
        off_thread(bytes, work).await.map_err(Finish::protocol)
    }
}

/// The next job through the door; never resolves without one. Cancel-safe.
async fn next_job(jobs: &mut Option<mpsc::Receiver<Given>>) -> Option<Given> {
    match jobs {
        Some(jobs) => jobs.recv().await,
        None => std::future::pending().await,
    }
}

/// Resolves at a time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
