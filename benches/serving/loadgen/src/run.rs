//! One run: threads that load, and this one, which sleeps, and reads what the server used when the window begins and ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::http::Target;
use crate::options::Common;
use crate::report::{self, Usage};
use crate::tally::{Tally, Window};
use crate::{Failure, body, process};

/// The pause between two looks at the server's memory.
const LOOK: Duration = Duration::from_millis(200);
/// From the start of the program to that of the warm-up: threads start and connections open.
const HEAD_START: Duration = Duration::from_millis(20);
/// Open files asked for: a socket for each connection. What the machine allows is taken.
const FILES: u64 = 65_536;

/// What a mode is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) target: Target,
    pub(crate) requests: Arc<Vec<Vec<u8>>>,
    /// The first request of all, warm-up included.
    pub(crate) first: Instant,
    pub(crate) window: Window,
}

/// The load of one thread: connections that run until they are dropped, or until they are done.
pub(crate) type Load = Box<dyn FnOnce(&mut JoinSet<()>, &Arc<Mutex<Tally>>) -> Result<(), Failure> + Send>;

/// A mode's share for each thread, and when the last of them must be over.
#[derive(Default)]
pub(crate) struct Loads {
    pub(crate) loads: Vec<Load>,
    pub(crate) drain: Duration,
}

/// Runs a mode and gives the report.
pub(crate) fn measure(
    mode: &str,
    common: &Common,
    start: impl FnOnce(Start) -> Result<Loads, Failure>,
) -> Result<Option<String>, Failure> {
    if common.connections == 0 || common.threads == 0 || common.duration.is_zero() {
        return Err("connections, threads and duration must not be 0".into());
    }
    more_files();
    let target = Target::parse(&common.url)?;
    let requests = Arc::new(body::requests(common, &target)?);
    let first = Instant::now() + HEAD_START;
    let begin = first + common.warmup;
    let window = Window {
        begin,
        end: begin + common.duration,
    };
    let Loads { loads, drain } = start(Start {
        target,
        requests,
        first,
        window,
    })?;
    let threads: Vec<_> = loads
        .into_iter()
        .map(|load| thread::spawn(move || one_thread(load, window, window.end + drain)))
        .collect();
    let usage = watch(&common.pid, window);
    let mut all = Tally::new(window)?;
    for thread in threads {
        let tally = thread
            .join()
            .map_err(|_| "a thread of the generator panicked")??;
        all.merge(&lock(&tally))?;
    }
    report::json(mode, common, &all, &usage).map(Some)
}

/// Runs connections until the run is over.
fn one_thread(load: Load, window: Window, over: Instant) -> Result<Arc<Mutex<Tally>>, Failure> {
    let tally = Arc::new(Mutex::new(Tally::new(window)?));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connections = JoinSet::new();
        load(&mut connections, &tally)?;
        let ended = async { while connections.join_next().await.is_some() {} };
        // Those that are still waiting for an answer then are dropped.
        let _ = tokio::time::timeout_at(over.into(), ended).await;
        Ok::<(), Failure>(())
    })?;
    Ok(tally)
}

/// Sleeps through the run; what was used between the window's begin and end.
fn watch(pids: &[u32], window: Window) -> Usage {
    let own = [std::process::id()];
    let mut usage = Usage::default();
    sleep_until(window.begin);
    let cpu = (
        process::cpu_seconds(pids),
        process::cpu_seconds(&own),
        process::machine_seconds(),
    );
    usage.memory_begin_mb = process::memory_mb(pids);
    while Instant::now() < window.end {
        usage.memory_most_mb = usage.memory_most_mb.max(process::memory_mb(pids));
        sleep_until(window.end.min(Instant::now() + LOOK));
    }
    usage.cpu_seconds = process::cpu_seconds(pids) - cpu.0;
    usage.generator_cpu_seconds = process::cpu_seconds(&own) - cpu.1;
    usage.machine_cpu_seconds = process::machine_seconds() - cpu.2;
    usage.memory_end_mb = process::memory_mb(pids);
    usage.memory_most_mb = usage.memory_most_mb.max(usage.memory_end_mb);
    usage
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// The part of `whole` that thread `index` of `threads` takes.
pub(crate) fn share(whole: usize, threads: usize, index: usize) -> usize {
    whole / threads + usize::from(index < whole % threads)
}

/// The tally. A panic elsewhere ends the run anyway.
pub(crate) fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        // With fewer, connecting fails and the report says so.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            },
        );
    }
}
