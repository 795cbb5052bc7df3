//! Starting, signalling and reaping processes.
//!
//! Instances ask the kernel to be killed when their parent dies, and to the kernel the parent is the *thread* that
//! forked. Were that one of the runtime's blocking threads, which end when idle, healthy instances would die with it. So
//! one thread of ours forks for all, and lives as long as the program.
//!
//! A process is watched through a pidfd (Linux 5.3 or newer) and always reaped, after its whole group has been killed:
//! while the leader is unreaped its group's number cannot be given to others.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{mpsc, oneshot};

use crate::watched::watched;

/// Where an instance finds its end of the control channel.
const CONTROL_FD: i32 = 3;
/// Starts waiting for the thread. It only forks, so they do not wait long; past this the senders wait.
const QUEUE: usize = 64;

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// The whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) dir: PathBuf,
    /// The instance's end of the control channel.
    pub(crate) control: OwnedFd,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("starting {program} in {dir}: {source}")]
    Exec {
        program: PathBuf,
        dir: PathBuf,
        source: io::Error,
    },
    #[error("preparing the process: {0}")]
    Prepare(#[from] io::Error),
    #[error("the thread that starts processes could not be made: {0}")]
    Thread(io::Error),
}

struct Request {
    launch: Launch,
    reply: oneshot::Sender<Result<Guarded, SpawnError>>,
}

/// A running process, its output, and the promise that it ends and is reaped, even if nobody takes it.
pub(crate) struct Started {
    pub(crate) process: Process,
    pub(crate) stdout: Receiver,
    pub(crate) stderr: Receiver,
}

/// Starts a process in a process group of its own.
pub(crate) async fn spawn(launch: Launch) -> Result<Started, SpawnError> {
    static SPAWNER: OnceLock<Result<mpsc::Sender<Request>, io::ErrorKind>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| start_thread().map_err(|e| e.kind()));
    let spawner = spawner
        .as_ref()
        .map_err(|kind| SpawnError::Thread((*kind).into()))?;
    let (reply, answer) = oneshot::channel();
    let gone = |_| SpawnError::Thread(io::Error::other("it has ended"));
    spawner
        .send(Request { launch, reply })
        .await
        .map_err(|_| gone(()))?;
    let mut guarded = answer.await.map_err(|_| gone(()))??;
    let pipe = |fd: Option<OwnedFd>| {
        fd.map_or_else(|| Err(io::ErrorKind::BrokenPipe.into()), Receiver::from_owned_fd)
    };
    let stdout = pipe(guarded.child.stdout.take().map(OwnedFd::from))?;
    let stderr = pipe(guarded.child.stderr.take().map(OwnedFd::from))?;
    let pidfd = pidfd_open(guarded.pid(), PidfdFlags::NONBLOCK).map_err(io::Error::from)?;
    let pidfd = watched(pidfd, Interest::READABLE)?;
    Ok(Started {
        process: Process { guarded, pidfd },
        stdout,
        stderr,
    })
}

fn start_thread() -> io::Result<mpsc::Sender<Request>> {
    let (sender, mut requests) = mpsc::channel::<Request>(QUEUE);
    std::thread::Builder::new()
        .name("cresset-spawner".into())
        .spawn(move || {
            while let Some(Request { launch, reply }) = requests.blocking_recv() {
                // If whoever asked has gone, the process comes back and is dropped, which kills and reaps it.
                drop(reply.send(fork(launch)));
            }
        })?;
    Ok(sender)
}

fn fork(launch: Launch) -> Result<Guarded, SpawnError> {
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .env_clear()
        .envs(launch.env)
        .current_dir(&launch.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .fd_mappings(vec![FdMapping {
            parent_fd: launch.control,
            child_fd: CONTROL_FD,
        }])
        .map_err(|e| SpawnError::Prepare(io::Error::other(e)))?;
    // `command` holds our copy of the instance's end; it goes with it, so that the channel ends when the instance does.
    match command.spawn() {
        Ok(child) => Ok(Guarded { child, reaped: false }),
        Err(source) => Err(SpawnError::Exec {
            program: launch.program,
            dir: launch.dir,
            source,
        }),
    }
}

/// A child that is killed, with its group, and reaped when dropped.
struct Guarded {
    child: Child,
    reaped: bool,
}

impl Guarded {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal_group(&self, signal: Signal) {
        if self.reaped {
            return;
        }
        match kill_process_group(self.pid(), signal) {
            // No such group: everybody in it is gone, the leader being a zombie.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => {
                tracing::warn!(pid = self.child.id(), ?signal, error = %e, "a process group could not be signalled")
            }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // The last resort, when the runtime is torn down around us: a killed process ends at once, so waiting is short.
        self.signal_group(Signal::KILL);
        if let Err(e) = self.child.wait() {
            tracing::warn!(pid = self.child.id(), error = %e, "a process could not be reaped");
        }
    }
}

/// A process group of ours, and its leader.
pub(crate) struct Process {
    guarded: Guarded,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.guarded.child.id()
    }

    /// Signals the whole group.
    pub(crate) fn signal(&self, signal: Signal) {
        self.guarded.signal_group(signal);
    }

    /// Waits until the leader is dead; it is not reaped yet. Cancel-safe.
    pub(crate) async fn died(&self) {
        if let Err(e) = self.pidfd.readable().await {
            // The runtime is shutting down; it drops us next.
            tracing::debug!(error = %e, "a process cannot be watched any more");
            std::future::pending::<()>().await;
        }
    }

    /// Kills what is left of the group of a dead leader, and reaps the leader.
    pub(crate) fn reap(&mut self) -> io::Result<End> {
        self.signal(Signal::KILL);
        let status = self.guarded.child.wait()?;
        self.guarded.reaped = true;
        Ok(End::of(status))
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    Signal(i32),
}

impl End {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}
