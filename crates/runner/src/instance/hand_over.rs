//! From a job to what the instance is sent: looked through, put in line, copied into its slot, framed.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cresset_config::ModelKind;
use cresset_task::{BatchId, Code, Failure, Trace};
use tokio::sync::OwnedSemaphorePermit;

use super::Instance;
use super::flight::{Load, Planned};
use crate::batch::{Stack, frame, json_frame, object_frame, seal};
use crate::layout::Regions;
use crate::place::Given;
use crate::port::{JobEnd, Timing};
use crate::slab::Slab;
use crate::wire::{Header, Kind, Resize, Traces};

/// More bytes than this are copied off the runtime's threads, which have other things to do; handing work over costs
/// about as much as copying this much.
const COPY_HERE_MAX: u64 = 1 << 20;

impl Instance<'_> {
    /// Sends what can be sent, in order.
    pub(super) async fn send_waiting(&mut self) {
        loop {
            if self.flights.head.is_none() {
                let Some(given) = self.flights.waiting.pop_front() else {
                    return;
                };
                self.plan(given).await;
                continue;
            }
            let Some((slot, seq)) = self.flights.next_slot() else {
                return;
            };
            let room = self.regions.input;
            let Some(planned) = self.flights.head.take() else {
                return;
            };
            match &planned.load {
                Load::Tensors(stack) if stack.needed > room && !self.flights.none_sent() => {
                    // A larger slab is needed, and the instance still works in this one.
                    self.flights.head = Some(planned);
                    return;
                }
                Load::Tensors(stack) if stack.needed > room => {
                    if let Err(e) = self.grow(stack.needed).await {
                        let why = format!("{} bytes of shared memory could not be made: {e}", stack.needed);
                        self.end_early(planned.batch, planned.credit, internal(why)).await;
                        continue;
                    }
                }
                _ => {}
            }
            self.send(planned, slot, seq).await;
        }
    }

    /// Looks a job through and puts it at the head of the line, or refuses it.
    async fn plan(&mut self, given: Given) {
        let Given { job, credit, wanted } = given;
        let config = &self.shared.config;
        if job.items.is_empty() {
            return self.end_early(job.batch, credit, JobEnd::Items(Vec::new())).await;
        }
        let items = job.items.len() as u32;
        let traces = job.traces;
        let load = match config.kind() {
            ModelKind::Tensor => Stack::plan(&config.inputs, job.items).map(Load::Tensors),
            ModelKind::Object => {
                let bytes = job.items.iter().map(|item| item.weight() as u64).sum();
                off_thread(bytes, move || object_frame(&job.items))
                    .await
                    .map(Load::Objects)
            }
        };
        match load {
            Ok(load) => {
                self.flights.head = Some(Planned {
                    batch: job.batch,
                    items,
                    load,
                    traces,
                    credit,
                    wanted,
                })
            }
            Err(unfit) => {
                self.end_early(job.batch, credit, JobEnd::Raised(unfit.failure()))
                    .await
            }
        }
    }

    /// Ends a job that was never sent.
    async fn end_early(&self, batch: BatchId, credit: OwnedSemaphorePermit, end: JobEnd) {
        drop(credit);
        self.announce(batch, end, Timing::default()).await;
    }

    async fn send(&mut self, planned: Planned, slot: u32, seq: u64) {
        let Planned {
            batch,
            items,
            load,
            traces,
            credit,
            wanted,
        } = planned;
        let config = self.shared.config.clone();
        let deadline_ms = u32::try_from(config.limits.timeout.as_millis()).unwrap_or(0);
        let header = Header {
            seq,
            slot,
            batch: items,
            deadline_ms,
            ..Header::plain(Kind::RunObjects, 0)
        };
        let run = match (load, self.slab.clone()) {
            (Load::Objects(frame), _) => Ok(seal(frame, header)),
            (Load::Tensors(_), None) => Err("tensors for an object model".to_owned()),
            (Load::Tensors(stack), Some(slab)) => {
                let (n_tensors, bytes) = (stack.tensors(), stack.needed);
                let fill = move || match slab.info().slots.get(slot as usize) {
                    Some(info) => stack
                        .fill(&config.inputs, &slab, *info)
                        .map_err(|e| e.to_string()),
                    None => Err(format!("there is no slot {slot}")),
                };
                off_thread(bytes, fill).await.map(|body| {
                    let body_len = body.len() as u32;
                    frame(
                        &Header {
                            kind: Kind::Run,
                            n_tensors,
                            body_len,
                            ..header
                        },
                        &body,
                    )
                })
            }
        };
        match run {
            Ok(run) => {
                // Who cancels from here on is seen on the board.
                wanted.seat(&self.board, slot);
                self.flights.sent(batch, items, credit, wanted);
                self.tell_traces(traces, header);
                self.channel.push(run, Vec::new());
            }
            Err(why) => self.end_early(batch, credit, internal(why)).await,
        }
    }

    /// Says where in the traces of their callers the items of the batch that comes next run, if the instance cares.
    fn tell_traces(&mut self, traces: Vec<Option<Trace>>, run: Header) {
        if traces.is_empty() || !self.takes_traces {
            return;
        }
        let body = match serde_json::to_vec(&Traces::of(traces)) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(model = %self.shared.config.name, %error, "traces cannot be written as JSON");
                return;
            }
        };
        let header = Header {
            kind: Kind::Traces,
            body_len: body.len() as u32,
            deadline_ms: 0,
            ..run
        };
        self.channel.push(frame(&header, &body), Vec::new());
    }

    /// Makes a larger slab and tells the instance. Only while no batch is sent.
    async fn grow(&mut self, needed: u64) -> io::Result<()> {
        let regions = self.regions.grown_for(needed).ok_or(io::ErrorKind::OutOfMemory)?;
        let (slab, memfd) = make_slab(regions).await?;
        let resize = json_frame(Kind::Resize, &Resize { slab: slab.info() })?;
        self.channel.push(resize, vec![memfd]);
        tracing::debug!(model = %self.shared.config.name, instance = %self.place.id, bytes = slab.info().size,
            "an instance got a larger slab");
        self.regions = regions;
        self.slab = Some(Arc::new(slab));
        Ok(())
    }
}

/// A failure that is our own fault.
fn internal(message: String) -> JobEnd {
    JobEnd::Raised(Failure::new(Code::Internal, "Internal", message))
}

/// Makes a slab off the runtime's threads: the kernel clears and maps its pages.
pub(super) async fn make_slab(regions: Regions) -> io::Result<(Slab, OwnedFd)> {
    let slab = regions.slab();
    off_thread(u64::MAX, move || Slab::create(slab)).await
}

/// Does work that touches so many bytes, elsewhere if they are many.
pub(super) async fn off_thread<T: Send + 'static>(
    bytes: u64,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if bytes <= COPY_HERE_MAX {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and drops us next.
            Err(_) => std::future::pending().await,
        },
    }
}
