//! Open loop: requests are due at moments fixed beforehand, and latency counts from those, sent in time or not.
//!
//! A thread keeps a queue of due requests; idle connections take from it, the one that was used last first. When all
//! are busy requests wait in the queue, and their waiting is latency: it would be for their callers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use crate::Failure;
use crate::client::Client;
use crate::options::{Arrivals, Open};
use crate::run::{Loads, Start, lock, share};
use crate::tally::{Kind, Tally, micros};

/// Requests that are due and not sent.
#[derive(Debug)]
struct Due {
    queue: Mutex<VecDeque<Instant>>,
    news: Notify,
    most: usize,
}

impl Due {
    /// False when the queue is full.
    fn push(&self, moment: Instant) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= self.most {
            return false;
        }
        queue.push_back(moment);
        drop(queue);
        self.news.notify_last();
        true
    }

    async fn pop(&self) -> Instant {
        loop {
            let first = self
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            match first {
                Some(moment) => return moment,
                None => self.news.notified().await,
            }
        }
    }
}

/// Connections and a schedule for each thread.
pub(crate) fn start(options: &Open, start: Start) -> Result<Loads, Failure> {
    let common = &options.common;
    if !(options.rate > 0.0 && options.rate <= 1e6) {
        return Err("--rate must be above 0 and at most 1000000".into());
    }
    let start = Arc::new(start);
    let mut loads = Loads {
        drain: options.drain,
        ..Loads::default()
    };
    for index in 0..common.threads {
        let start = Arc::clone(&start);
        let connections = share(common.connections, common.threads, index);
        let backlog = share(options.backlog, common.threads, index);
        let gaps = Gaps {
            mean: common.threads as f64 / options.rate,
            arrivals: options.arrivals,
            random: StdRng::seed_from_u64(options.seed.wrapping_add(index as u64)),
        };
        loads.loads.push(Box::new(move |set, tally| {
            let due = Arc::new(Due {
                queue: Mutex::default(),
                news: Notify::new(),
                most: backlog,
            });
            for number in 0..connections {
                set.spawn(connection(
                    Arc::clone(&start),
                    number,
                    Arc::clone(&due),
                    Arc::clone(tally),
                ));
            }
            let timer = Timer::new()?;
            set.spawn(schedule(Arc::clone(&start), gaps, timer, due, Arc::clone(tally)));
            Ok(())
        }));
    }
    Ok(loads)
}

/// The times between requests.
#[derive(Debug)]
struct Gaps {
    mean: f64,
    arrivals: Arrivals,
    random: StdRng,
}

impl Gaps {
    fn next(&mut self) -> Duration {
        Duration::from_secs_f64(match self.arrivals {
            Arrivals::Uniform => self.mean,
            Arrivals::Poisson => -(1.0 - self.random.random::<f64>()).ln() * self.mean,
        })
    }
}

/// Puts each request into the queue at its moment, until the window is over.
async fn schedule(
    start: Arc<Start>,
    mut gaps: Gaps,
    mut timer: Timer,
    due: Arc<Due>,
    tally: Arc<Mutex<Tally>>,
) {
    let mut moment = start.first + gaps.next();
    while moment < start.window.end {
        if let Err(error) = timer.until(moment).await {
            lock(&tally).failed(&error);
            return;
        }
        let now = Instant::now();
        while moment <= now && moment < start.window.end {
            let sent = due.push(moment);
            if start.window.holds(moment) {
                let mut tally = lock(&tally);
                tally.due += u64::from(sent);
                tally.unsent += u64::from(!sent);
            }
            moment += gaps.next();
        }
    }
}

/// One connection. Requests that were due within the window count, whenever they are answered.
async fn connection(start: Arc<Start>, number: usize, due: Arc<Due>, tally: Arc<Mutex<Tally>>) {
    let mut client = Client::new(start.target.address);
    let requests = start.requests.iter().cycle().skip(number % start.requests.len());
    // A connection that cannot be made now says so when it is used.
    let _ = client.connect().await;
    for request in requests {
        let moment = due.pop().await;
        let sent = Instant::now();
        let result = client.exchange(request).await;
        if !start.window.holds(moment) {
            continue;
        }
        let now = Instant::now();
        let mut tally = lock(&tally);
        tally.late.saturating_record(micros(sent - moment));
        match result {
            Ok(answer) => {
                let kind = Kind::of(answer.status);
                tally.answered(kind, answer.status, now - moment, now);
                if kind == Kind::Error {
                    tally.show(answer.status, answer.body);
                }
            }
            Err(error) => tally.failed(&error),
        }
    }
}

/// A timer of the kernel's: tokio's own goes in steps of a millisecond, which at these rates is many requests at once.
///
/// To tokio it is a pipe out of which eight bytes come when the time has passed, which is all that a timer is.
#[derive(Debug)]
struct Timer(pipe::Receiver);

impl Timer {
    fn new() -> std::io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(timer)?))
    }

    /// Sleeps until then.
    async fn until(&mut self, moment: Instant) -> std::io::Result<()> {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Late already; but the connections must get their turn.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let spec = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &spec)?;
        self.0.read_u64_le().await?;
        Ok(())
    }
}
