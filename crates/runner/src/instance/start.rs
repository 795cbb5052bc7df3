//! From nothing to ready: process, HELLO, READY.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::flight::Flights;
use super::wear::Wear;
use super::{Finish, Instance, News, Phase};
use crate::batch::json_frame;
use crate::board::Board;
use crate::channel::{Channel, Frame};
use crate::launch::launch;
use crate::layout::{Regions, SLOTS};
use crate::logs::{Logs, Rate};
use crate::memory::Resident;
use crate::place::{LifeId, Place};
use crate::pool::Shared;
use crate::port::{DownReason, PROGRESS_EVERY, PoolEvent};
use crate::spawn::spawn;
use crate::spool::Spool;
use crate::supervise::leaving;
use crate::wire::{Hello, InstanceInfo, Kind, ModelInfo, PROTOCOL, Ready, Returns, WireFailure};
use cresset_config::{FileForm, MediaRange, ModelKind};

/// Starts the process and greets it. The error is for people.
pub(super) async fn start<'a>(
    shared: &'a Shared,
    place: &'a Place,
    id: LifeId,
    tell: watch::Sender<News>,
    interpreter: PathBuf,
) -> Result<Instance<'a>, String> {
    let config = &shared.config;
    let regions = Regions::of(config);
    let (slab, memfd) = match config.kind() {
        ModelKind::Object => (None, None),
        ModelKind::Tensor => {
            let (slab, memfd) = super::hand_over::make_slab(regions).await.map_err(|e| {
                format!(
                    "{} bytes of shared memory could not be made: {e}",
                    regions.slab().size
                )
            })?;
            (Some(Arc::new(slab)), Some(memfd))
        }
    };
    let (board, board_fd) = Board::create(config.batching.max_batch_size)
        .map_err(|e| format!("the shared memory for cancellations could not be made: {e}"))?;
    let spool = match config.files.form {
        FileForm::Path => {
            let name = format!("{}-{}-{id}", config.name, place.id);
            let dir = shared.options.files.as_ref();
            let dir = dir.ok_or("this server has no folder for files")?;
            let made = Spool::make(dir, &name);
            Some(made.map_err(|e| format!("the folder for files could not be made: {e}"))?)
        }
        FileForm::None | FileForm::Bytes => None,
    };
    let threads = config.instances.threads.unwrap_or(shared.options.threads_default);
    let (mut channel, control) =
        Channel::pair().map_err(|e| format!("the control channel could not be made: {e}"))?;
    let what = launch(
        config,
        place.id,
        threads,
        interpreter,
        &shared.options.sdk_dir,
        control,
    );
    let started = spawn(what).await.map_err(|e| e.to_string())?;
    place.note_pid(id, started.process.pid());
    let hello = Hello {
        protocol: PROTOCOL,
        model: ModelInfo {
            name: config.name.as_str(),
            version: &config.version,
            dir: config
                .dir
                .to_str()
                .ok_or("the path of the model's folder is not UTF-8")?,
            entry: match &config.entry.attribute {
                Some(attribute) => format!("{}:{attribute}", config.entry.file),
                None => config.entry.file.clone(),
            },
            kind: config.kind().name(),
            inputs: &config.inputs,
            outputs: &config.outputs,
            max_batch_size: config.batching.max_batch_size,
            allow_pickle: config.allow_pickle,
            copy_inputs: config.copy_inputs,
            soft_timeout_ms: config.limits.soft_timeout.map(whole_millis),
            stream: config.stream.enabled,
            files: config.files.are_taken(),
            content_types: config.files.types.iter().map(MediaRange::as_str).collect(),
        },
        instance: InstanceInfo {
            id: place.id.0,
            device: &place.device,
            threads,
            progress_ms: whole_millis(PROGRESS_EVERY),
            logs: true,
            spool: spool.as_ref().map(Spool::path),
        },
        slab: slab.as_ref().map(|s| s.info().clone()),
        board: board.info().clone(),
    };
    let fds = memfd.into_iter().chain([board_fd]).collect();
    channel.push(json_frame(Kind::Hello, &hello).map_err(|e| e.to_string())?, fds);
    Ok(Instance {
        shared,
        place,
        id,
        tell,
        logs: Logs::start(&config.name, place.id, started.stdout, started.stderr),
        resident: Resident::of(started.process.pid()),
        process: started.process,
        channel,
        flights: Flights::new(),
        slab,
        regions,
        board: Arc::new(board),
        spool,
        returns: Returns::Tensor,
        takes_traces: false,
        jobs: None,
        ready_since: None,
        wear: Wear::new(&config.instances),
        leave_by: None,
        phase: Phase::Serving,
        is_leaving: false,
        notes: 0,
        reported: None,
        line_rate: Rate::new(Instant::now()),
    })
}

/// Rounded up: less than a millisecond is not no time.
fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl Instance<'_> {
    /// Waits until it is warm, and opens the door. A stop or an unload meanwhile kills it: it holds nothing that could be lost.
    pub(super) async fn await_ready(&mut self) -> Result<(), Finish> {
        let limit = self.shared.config.limits.start_timeout;
        let late = tokio::time::sleep(limit);
        tokio::pin!(late);
        loop {
            let frame = tokio::select! {
                frame = self.channel.next() => frame?,
                () = self.process.died() => return Err(Finish::Died),
                () = &mut late => return Err(Finish::Kill(DownReason::StartTimeout(limit))),
                () = leaving(self.shared) => return Err(Finish::Kill(DownReason::Stopped)),
            };
            if let Some(ready) = self.on_start_frame(&frame)? {
                return self.come_up(ready).await;
            }
        }
    }

    /// A frame of an instance that was not ready before it.
    pub(super) fn on_start_frame(&mut self, frame: &Frame) -> Result<Option<Ready>, Finish> {
        let kind = frame.header.kind;
        match kind {
            Kind::Ready => Ok(Some(Ready::decode(kind, &frame.body)?)),
            Kind::Failed => {
                let failure = WireFailure::decode(kind, &frame.body)?.into_failure();
                Err(Finish::Failed(DownReason::Start(failure)))
            }
            Kind::Note => self.on_note(&frame.body).map(|()| None),
            other => Err(Finish::protocol(format_args!(
                "a {} frame before it was ready",
                other.name()
            ))),
        }
    }

    async fn come_up(&mut self, ready: Ready) -> Result<(), Finish> {
        if ready.protocol != PROTOCOL {
            return Err(Finish::protocol(format_args!(
                "it speaks version {} of the protocol, we speak {PROTOCOL}",
                ready.protocol
            )));
        }
        let config = &self.shared.config;
        if config.kind() == ModelKind::Object && ready.returns != Returns::Object {
            return Err(Finish::protocol("it says that an object model returns tensors"));
        }
        self.returns = ready.returns;
        self.takes_traces = ready.traces;
        let pid = self.process.pid();
        tracing::info!(model = %config.name, instance = %self.place.id, pid, device = ready.device,
            runtime = ready.runtime, load_ms = ready.load_ms, warmup_ms = ready.warmup_ms, "an instance is ready");
        if let Some(bytes) = self.wear.begin(pid) {
            tracing::warn!(model = %config.name, instance = %self.place.id, pid, resident = bytes,
                max_memory = config.instances.max_memory, "a loaded process holds more memory than \
                `instances.max_memory` already: a fresh one would not hold less, so it is not replaced for that");
        }
        let opened = tokio::select! {
            opened = self.place.open(self.id, pid, &ready.runtime) => opened,
            () = self.process.died() => return Err(Finish::Died),
            () = leaving(self.shared) => return Err(Finish::Kill(DownReason::Stopped)),
        };
        self.ready_since = Some(Instant::now());
        self.resident.look();
        self.jobs = Some(opened.jobs);
        self.tell.send_replace(News::Up);
        let instance = self.place.id;
        let event = match opened.took_over {
            true => PoolEvent::TakenOver { instance },
            false => PoolEvent::Up {
                instance,
                slots: SLOTS,
            },
        };
        self.shared.emit(event).await;
        Ok(())
    }
}
