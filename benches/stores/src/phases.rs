//! What is measured, on any store: one group with one task and with many, at several lengths of the queue; then everything at once.
//!
//! Knows no backend. A store is asked through its ports alone, so all are measured alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cresset_queue::{
    Broker, Completion, Finished, Lease, LeaseRequest, NewTask, QueueError, ResultStore, Submitted,
};
use cresset_task::{ModelName, Outcome, Payload, Timestamp};
use serde::Serialize;
use tokio::task::JoinSet;

/// Bytes of an input: 64 float32 as JSON, in round numbers.
pub(crate) const INPUT_BYTES: usize = 1024;
/// Bytes of a result.
pub(crate) const RESULT_BYTES: usize = 200;
/// Tasks of a large lease. What it takes more than one task does, divided by their number, is what a task takes.
const MANY: usize = 256;
/// Submits that are under way at a time while a queue is filled.
const FILLERS: usize = 512;
/// Callers and workers of the last phase.
const SUBMITTERS: usize = 256;
const WORKERS: usize = 4;
const BATCH: usize = 32;

/// A store as this needs it.
pub(crate) trait Store: Broker + ResultStore {}
impl<S: Broker + ResultStore> Store for S {}

/// What went wrong, for whoever reads the terminal.
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What a group takes at one length of the queue. Milliseconds and microseconds, medians.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Costs {
    /// Tasks in the queue.
    pub(crate) queued: usize,
    /// A submit alone.
    pub(crate) submit_ms: f64,
    /// A lease and an end of one task, each alone.
    pub(crate) lease_ms: f64,
    pub(crate) finish_ms: f64,
    /// What each further task of the same group adds.
    pub(crate) lease_us: f64,
    pub(crate) finish_us: f64,
}

/// What the store does when it is asked for all it can.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rates {
    /// Accepted tasks a second, and how long a caller waited for the word.
    pub(crate) submits: f64,
    pub(crate) submit_p50_ms: f64,
    pub(crate) submit_p99_ms: f64,
    /// Whole lives a second: submit, lease, end.
    pub(crate) lives: f64,
    /// Accepted megabytes a second, in inputs of a megabyte.
    pub(crate) megabytes: f64,
}

fn model(name: &str) -> Result<ModelName, Failed> {
    Ok(name.parse()?)
}

/// Digits that do not repeat.
fn input(bytes: usize, seed: u64) -> Payload {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let digits = (0..bytes).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'1' + (state % 9) as u8
    });
    Payload::Json(digits.collect::<Vec<u8>>().into())
}

fn task(model: &ModelName, bytes: usize, seed: u64) -> NewTask {
    let now = Timestamp::now();
    NewTask::new(model.clone(), input(bytes, seed), now)
}

async fn submit<S: Store>(store: &S, task: NewTask) -> Result<(), Failed> {
    match store.submit(task).await? {
        Submitted::New => Ok(()),
        other => Err(format!("a submit was answered {other:?}").into()),
    }
}

async fn lease<S: Store>(store: &S, model: &ModelName, tasks: usize) -> Result<Vec<Lease>, QueueError> {
    let request = LeaseRequest {
        model: model.clone(),
        max_tasks: tasks,
        max_bytes: usize::MAX,
        now: Timestamp::now(),
    };
    store.lease(request).await
}

async fn finish<S: Store>(store: &S, leases: &[Lease]) -> Result<(), Failed> {
    let ends = leases.iter().map(|lease| Completion {
        id: lease.id,
        attempt: lease.attempt,
        redeliveries: 0,
        history: Vec::new(),
        outcome: Outcome::Success(Payload::Json(Bytes::from_static(&[b'1'; RESULT_BYTES]))),
        version: Some("1".into()),
        finished_at: Timestamp::now(),
        evidence: None,
        cached: false,
    });
    let answers = store.finish(ends.collect()).await?;
    match answers.iter().find(|answer| **answer != Finished::Recorded) {
        None => Ok(()),
        Some(other) => Err(format!("an end was answered {other:?}").into()),
    }
}

/// The middle one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Submits `tasks`, many at a time; how long each took.
async fn fill<S: Store + Clone + 'static>(
    store: &S,
    model: &ModelName,
    tasks: usize,
    at_a_time: usize,
    bytes: usize,
) -> Result<Vec<Duration>, Failed> {
    let left = Arc::new(AtomicUsize::new(tasks));
    let mut fillers = JoinSet::new();
    for _ in 0..at_a_time {
        let (store, model, left) = (store.clone(), model.clone(), Arc::clone(&left));
        fillers.spawn(async move {
            let mut times = Vec::new();
            while let Ok(now) =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            {
                let task = task(&model, bytes, now as u64);
                let begun = Instant::now();
                submit(&store, task).await?;
                times.push(begun.elapsed());
            }
            Ok::<_, Failed>(times)
        });
    }
    let mut times = Vec::with_capacity(tasks);
    while let Some(done) = fillers.join_next().await {
        times.extend(done??);
    }
    Ok(times)
}

/// What a group takes beside `queued` tasks, which are submitted first; `rounds` of each kind, in turn.
pub(crate) async fn costs<S: Store + Clone + 'static>(
    store: &S,
    queued: usize,
    rounds: usize,
) -> Result<Costs, Failed> {
    let model = model("queue")?;
    let there = usize::try_from(store.depth(&model).tasks)?;
    fill(store, &model, queued.saturating_sub(there), FILLERS, INPUT_BYTES).await?;
    let (mut submits, mut leases, mut finishes) =
        (Vec::new(), [Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..rounds {
        let one = task(&model, INPUT_BYTES, round as u64);
        let begun = Instant::now();
        submit(store, one).await?;
        submits.push(begun.elapsed());
        for (which, tasks) in [1, MANY].into_iter().enumerate() {
            let begun = Instant::now();
            let leased = lease(store, &model, tasks).await?;
            leases[which].push(begun.elapsed());
            if leased.len() != tasks {
                return Err(format!("{} tasks were leased instead of {tasks}", leased.len()).into());
            }
            let begun = Instant::now();
            finish(store, &leased).await?;
            finishes[which].push(begun.elapsed());
        }
        fill(store, &model, MANY, FILLERS, INPUT_BYTES).await?;
    }
    let [lease_one, lease_many] = leases.map(median);
    let [finish_one, finish_many] = finishes.map(median);
    let each =
        |one: Duration, many: Duration| many.saturating_sub(one).as_secs_f64() * 1e6 / (MANY - 1) as f64;
    Ok(Costs {
        queued,
        submit_ms: milliseconds(median(submits)),
        lease_ms: milliseconds(lease_one),
        finish_ms: milliseconds(finish_one),
        lease_us: each(lease_one, lease_many),
        finish_us: each(finish_one, finish_many),
    })
}

/// All that the store can do: `tasks` submitted by many callers, then as many that go through their whole lives.
pub(crate) async fn rates<S: Store + Clone + 'static>(store: &S, tasks: usize) -> Result<Rates, Failed> {
    let accepted = model("accepted")?;
    let begun = Instant::now();
    let mut waits = fill(store, &accepted, tasks, SUBMITTERS, INPUT_BYTES).await?;
    let submits = tasks as f64 / begun.elapsed().as_secs_f64();
    waits.sort_unstable();
    let wait = |percent: usize| {
        let found = waits.get(waits.len() * percent / 100);
        milliseconds(found.copied().unwrap_or_default())
    };

    let lived = model("lived")?;
    let begun = Instant::now();
    let left = Arc::new(AtomicUsize::new(tasks));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(store.clone(), lived.clone(), Arc::clone(&left)));
    }
    fill(store, &lived, tasks, SUBMITTERS, INPUT_BYTES).await?;
    while let Some(done) = workers.join_next().await {
        done??;
    }
    let lives = tasks as f64 / begun.elapsed().as_secs_f64();

    const MEGABYTE: usize = 1_000_000;
    let large = model("large")?;
    let count = (tasks / 200).max(WORKERS);
    let begun = Instant::now();
    fill(store, &large, count, WORKERS, MEGABYTE).await?;
    let megabytes = count as f64 / begun.elapsed().as_secs_f64();
    Ok(Rates {
        submits,
        submit_p50_ms: wait(50),
        submit_p99_ms: wait(99),
        lives,
        megabytes,
    })
}

/// Leases and ends until nothing is left.
async fn work<S: Store>(store: S, model: ModelName, left: Arc<AtomicUsize>) -> Result<(), Failed> {
    while left.load(Ordering::Relaxed) > 0 {
        let leased = lease(&store, &model, BATCH).await?;
        if leased.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        finish(&store, &leased).await?;
        left.fetch_sub(leased.len(), Ordering::Relaxed);
    }
    Ok(())
}
