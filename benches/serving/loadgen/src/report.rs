//! The one JSON object that a run prints.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::options::Common;
use crate::tally::Tally;

/// What the server's processes used in the window.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) memory_begin_mb: f64,
    pub(crate) memory_end_mb: f64,
    pub(crate) memory_most_mb: f64,
    pub(crate) generator_cpu_seconds: f64,
    pub(crate) machine_cpu_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    mode: &'a str,
    url: &'a str,
    connections: usize,
    threads: usize,
    seconds: f64,
    /// Answers a second, of any kind.
    rps: f64,
    /// Good ones a second, that came within the window.
    goodput: f64,
    ok: u64,
    refused: u64,
    errors: u64,
    unsent: u64,
    unanswered: u64,
    statuses: BTreeMap<String, u64>,
    latency_ms: Option<Spread>,
    refused_ms: Option<Spread>,
    submit_ms: Option<Spread>,
    late_ms: Option<Spread>,
    cpu: Option<Cpu>,
    memory_mb: Option<Memory>,
    generator_cpu_us_per_request: f64,
    /// Cores that neither the server nor the generator used, and that were busy: somebody else's.
    other_cores: Option<f64>,
    first_error: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Spread {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Cpu {
    seconds: f64,
    us_per_request: f64,
}

#[derive(Debug, Serialize)]
struct Memory {
    begin: f64,
    end: f64,
    most: f64,
}

/// The object, on one line.
pub(crate) fn json(
    mode: &str,
    common: &Common,
    tally: &Tally,
    usage: &Usage,
) -> Result<String, crate::Failure> {
    let seconds = common.duration.as_secs_f64();
    let answers = tally.ok + tally.refused + tally.errors;
    let measured = !common.pid.is_empty();
    let each = |cpu: f64| {
        if answers == 0 {
            0.0
        } else {
            cpu * 1e6 / answers as f64
        }
    };
    let report = Report {
        mode,
        url: &common.url,
        connections: common.connections,
        threads: common.threads,
        seconds,
        rps: answers as f64 / seconds,
        goodput: tally.ok_in_time as f64 / seconds,
        ok: tally.ok,
        refused: tally.refused,
        errors: tally.errors,
        unsent: tally.unsent,
        unanswered: tally.due.saturating_sub(answers),
        statuses: tally
            .statuses
            .iter()
            .map(|(status, count)| (status.to_string(), *count))
            .collect(),
        latency_ms: spread(&tally.latency),
        refused_ms: spread(&tally.refusal),
        submit_ms: spread(&tally.submit),
        late_ms: spread(&tally.late),
        cpu: measured.then(|| Cpu {
            seconds: usage.cpu_seconds,
            us_per_request: each(usage.cpu_seconds),
        }),
        memory_mb: measured.then_some(Memory {
            begin: usage.memory_begin_mb,
            end: usage.memory_end_mb,
            most: usage.memory_most_mb,
        }),
        other_cores: measured.then(|| {
            (usage.machine_cpu_seconds - usage.cpu_seconds - usage.generator_cpu_seconds).max(0.0) / seconds
        }),
        generator_cpu_us_per_request: each(usage.generator_cpu_seconds),
        first_error: tally.first_error.as_deref(),
    };
    Ok(serde_json::to_string(&report)?)
}

/// Milliseconds; nothing of nothing.
fn spread(histogram: &Histogram<u64>) -> Option<Spread> {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    (!histogram.is_empty()).then(|| Spread {
        mean: histogram.mean() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max() as f64 / 1e3,
    })
}
