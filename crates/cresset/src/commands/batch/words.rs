//! What is said of a batch in several commands.

use cresset_task::BulkId;

use crate::client::Batch;
use crate::exit::{Exit, Trouble};
use crate::out;

/// The lines in their places, those places that have any: `3 success, 1 invalid`.
pub(super) fn counts(batch: &Batch) -> String {
    let counts = &batch.counts;
    let places = [
        ("pending", counts.pending),
        ("started", counts.started),
        ("retry", counts.retry),
        ("success", counts.success),
        ("failure", counts.failure),
        ("revoked", counts.revoked),
        ("invalid", counts.invalid),
        ("expired", counts.expired),
    ];
    let taken: Vec<_> = places
        .iter()
        .filter(|(_, lines)| *lines > 0)
        .map(|(place, lines)| format!("{lines} {place}"))
        .collect();
    match taken.is_empty() {
        true => "none".to_owned(),
        false => taken.join(", "),
    }
}

/// The batch for a person.
pub(super) fn overview(batch: &Batch) -> String {
    let mut items = vec![
        ("batch", batch.batch_id.to_string()),
        ("model", batch.model.clone()),
        ("status", batch.status.clone()),
    ];
    items.push(match batch.total {
        Some(total) if total == batch.accepted => ("lines", total.to_string()),
        Some(total) => ("lines", format!("{} of {total} accepted", batch.accepted)),
        None => ("lines", format!("{} accepted so far", batch.accepted)),
    });
    items.push(("of them", counts(batch)));
    let mut push = |name, value: Option<&str>| items.extend(value.map(|value| (name, value.to_owned())));
    push("created", batch.created_at.as_deref());
    push("finished", batch.finished_at.as_deref());
    push("cancelled", batch.cancelled_at.as_deref());
    let metadata = batch.metadata.as_deref().map(|raw| raw.get());
    push("metadata", metadata.filter(|text| *text != "null"));
    out::pairs(items)
}

/// What the end of a batch means to a script: whether every line has a result.
pub(super) fn exit(batch: &Batch) -> Exit {
    let counts = &batch.counts;
    match counts.failure + counts.revoked + counts.invalid + counts.expired {
        0 if batch.status == "completed" => Exit::OK,
        _ => Exit::TASK_FAILED,
    }
}

/// `--wait=TIMEOUT` ran out.
pub(super) fn timed_out(batch: &Batch) -> Trouble {
    let id = batch.batch_id;
    Trouble::new(
        Exit::WAIT_TIMEOUT,
        format!(
            "batch {id} did not end in the time given; of its lines are {}",
            counts(batch)
        ),
    )
    .hint(format!(
        "it goes on; wait for its results with `cresset batch results {id} --wait`"
    ))
}

/// A call that went wrong after the batch was accepted: its id must not be lost.
pub(super) fn goes_on(trouble: Trouble, id: BulkId) -> Trouble {
    trouble.hint(format!(
        "the batch was accepted; read its results with `cresset batch results {id} --wait`"
    ))
}
