//! What is counted during a run. One for each thread; merged at the end.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Latencies are kept in microseconds, up to this one, with three digits.
const LONGEST_US: u64 = 600_000_000;
const DIGITS: u8 = 3;
/// Bytes of the first bad answer that are shown.
const SHOWN: usize = 300;

/// The part of time that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

impl Window {
    pub(crate) fn holds(&self, moment: Instant) -> bool {
        self.begin <= moment && moment < self.end
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// As it should.
    Ok,
    /// The server has too much to do: 429 or 503.
    Refused,
    /// Any other way.
    Error,
}

impl Kind {
    pub(crate) fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Ok,
            429 | 503 => Self::Refused,
            _ => Self::Error,
        }
    }
}

/// Counts and latencies.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) window: Window,
    /// Of those that ended well.
    pub(crate) latency: Histogram<u64>,
    /// Of the refused.
    pub(crate) refusal: Histogram<u64>,
    /// Of the answers to submits alone, where a run has tasks.
    pub(crate) submit: Histogram<u64>,
    /// How late requests were sent, where a run has a rate: the generator's own fault, or that of too few connections.
    pub(crate) late: Histogram<u64>,
    pub(crate) ok: u64,
    /// Of them, those that had ended when the window did.
    pub(crate) ok_in_time: u64,
    pub(crate) refused: u64,
    pub(crate) errors: u64,
    /// Due, but never sent: the backlog was full.
    pub(crate) unsent: u64,
    /// Due, and without an answer when the run was over.
    pub(crate) due: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) first_error: Option<String>,
}

impl Tally {
    pub(crate) fn new(window: Window) -> Result<Self, crate::Failure> {
        let histogram = || Histogram::new_with_max(LONGEST_US, DIGITS);
        Ok(Self {
            window,
            latency: histogram()?,
            refusal: histogram()?,
            submit: histogram()?,
            late: histogram()?,
            ok: 0,
            ok_in_time: 0,
            refused: 0,
            errors: 0,
            unsent: 0,
            due: 0,
            statuses: BTreeMap::new(),
            first_error: None,
        })
    }

    /// An exchange was answered at `now`. The caller has looked whether it counts.
    pub(crate) fn answered(&mut self, kind: Kind, status: u16, took: Duration, now: Instant) {
        *self.statuses.entry(status).or_default() += 1;
        match kind {
            Kind::Ok => {
                self.ok += 1;
                self.ok_in_time += u64::from(now < self.window.end);
                self.latency.saturating_record(micros(took));
            }
            Kind::Refused => {
                self.refused += 1;
                self.refusal.saturating_record(micros(took));
            }
            Kind::Error => self.errors += 1,
        }
    }

    /// An exchange that came to nothing.
    pub(crate) fn failed(&mut self, error: &io::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    /// Keeps the first bad answer for people to see, whether it counts or not.
    pub(crate) fn show(&mut self, status: u16, body: &[u8]) {
        self.first_error.get_or_insert_with(|| {
            format!(
                "{status}: {}",
                String::from_utf8_lossy(&body[..body.len().min(SHOWN)])
            )
        });
    }

    /// Adds another thread's.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<(), crate::Failure> {
        self.latency.add(&other.latency)?;
        self.refusal.add(&other.refusal)?;
        self.submit.add(&other.submit)?;
        self.late.add(&other.late)?;
        self.ok += other.ok;
        self.ok_in_time += other.ok_in_time;
        self.refused += other.refused;
        self.errors += other.errors;
        self.unsent += other.unsent;
        self.due += other.due;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        Ok(())
    }
}

/// Microseconds, as the histograms count.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
