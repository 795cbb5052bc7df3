//! A batch as its callers read it. `schema::Batch` describes it.

use cresset_engine::{Bulk, BulkCounts, BulkPage};

use crate::json_out::{self, ObjectOut};

/// What a batch weighs without its metadata.
const BULK_BYTES: usize = 640;

/// Where it is in its life.
fn status(bulk: &Bulk) -> &'static str {
    match (bulk.cancelled_at, bulk.total) {
        (Some(_), _) if bulk.is_over() => "cancelled",
        (Some(_), _) => "cancelling",
        (None, None) => "accepting",
        (None, Some(_)) if bulk.is_over() => "completed",
        (None, Some(_)) => "in_progress",
    }
}

fn counts(counts: &BulkCounts) -> Vec<u8> {
    let mut out = ObjectOut::new(BULK_BYTES / 3);
    for (name, lines) in [
        ("pending", counts.pending),
        ("started", counts.started),
        ("retry", counts.retry),
        ("success", counts.success),
        ("failure", counts.failure),
        ("revoked", counts.revoked),
        ("invalid", counts.wrong),
        ("expired", counts.forgotten),
    ] {
        out.value(name, &lines);
    }
    out.end()
}

/// The batch.
pub(super) fn bulk(bulk: &Bulk) -> Vec<u8> {
    let metadata = bulk.metadata.as_deref();
    let mut out = ObjectOut::new(BULK_BYTES + metadata.map_or(0, <[u8]>::len));
    out.plain("batch_id", bulk.id);
    out.plain("model", &bulk.model);
    out.plain("status", status(bulk));
    out.value("accepted", &bulk.accepted);
    out.value("total", &bulk.total);
    out.raw("counts").extend_from_slice(&counts(&bulk.counts));
    out.plain("created_at", bulk.created_at);
    out.plain_or_null("finished_at", bulk.finished_at.filter(|_| bulk.total.is_some()));
    out.plain_or_null("cancelled_at", bulk.cancelled_at);
    out.raw("metadata").extend_from_slice(metadata.unwrap_or(b"null"));
    out.plain("results_url", format_args!("/v1/batches/{}/results", bulk.id));
    out.plain("cancel_url", format_args!("/v1/batches/{}/cancel", bulk.id));
    out.end()
}

/// A page of batches.
pub(super) fn page(page: &BulkPage) -> Vec<u8> {
    let entries = page.bulks.iter().map(bulk);
    json_out::page(
        "batches",
        BULK_BYTES * page.bulks.len(),
        entries,
        page.next.map(|cursor| cursor.0),
    )
}
