//! `[send]` of a `model.toml`: held against the rest of the file, which is about a model that runs here.

use std::time::Duration;

use crate::celery::{CeleryCall, name};
use crate::field::Refusal;
use crate::model_keys::Draft;
use crate::report::Report;
use crate::walk::Seen;

const TASK: &str = "send.task";
/// A result sooner than that cannot be counted on from another machine.
pub(crate) const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Results are not kept for longer.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What is said of a process, or of what it is given: of no effect where there is none. A trailing dot is a table.
const OF_A_PROCESS: &[&str] = &[
    "entry",
    "allow_pickle",
    "copy_inputs",
    "files",
    "content_types",
    "inputs",
    "outputs",
    "batching.max_batch_size",
    "batching.max_delay",
    "batching.max_batch_bytes",
    "batching.max_batch_cost",
    "batching.cost",
    "batching.max_padding",
    "batching.group_by_size",
    "instances.",
    "limits.start_timeout",
    "limits.cancel_grace",
    "limits.max_attempts",
    "stream.",
    "environment.",
];

pub(crate) fn set_task(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    draft.send.task = name(text)?;
    Ok(())
}

pub(crate) fn set_queue(draft: &mut Draft, text: &str) -> Result<(), Refusal> {
    draft.send.queue = Some(name(text)?);
    Ok(())
}

/// The call that the file describes, if it is one of a model that runs elsewhere; and what then makes no sense in it.
pub(crate) fn call(draft: &mut Draft, seen: &Seen, report: &mut Report<'_>) -> Option<CeleryCall> {
    let Some(task) = seen.get(TASK) else {
        for (key, sight) in seen.iter().filter(|(key, _)| key.starts_with("send.")) {
            let refusal = Refusal::new(
                "is for a model that Celery workers run, and `send.task` does not say which task",
            );
            report.add(
                sight.span.clone(),
                *key,
                refusal.hint("write `task = \"proj.tasks.NAME\"` under [send]"),
            );
        }
        return None;
    };
    let is_of_a_process = |key: &str| {
        let mut all = OF_A_PROCESS.iter();
        all.any(|of| *of == key || (of.ends_with('.') && key.starts_with(of)))
    };
    for (key, sight) in seen.iter().filter(|(key, _)| is_of_a_process(key)) {
        let refusal = Refusal::new("is for a model that runs here; with `send.task` Celery workers run it");
        report.add(
            sight.span.clone(),
            *key,
            refusal.hint("remove it, or remove [send]"),
        );
    }
    // Each item is a message of its own.
    draft.batching.max_batch_size = 1;
    draft.batching.max_delay = Duration::ZERO;
    draft.send.hard_limit = seen.get("limits.timeout").map(|_| draft.limits.timeout);
    draft.send.soft_limit = draft.limits.soft_timeout;
    task.taken.then(|| draft.send.clone())
}
