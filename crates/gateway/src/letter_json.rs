//! A dead letter as its readers see it. Written by hand because metadata is spliced in as it is stored.
//! `schema::Letter` describes it for the OpenAPI document.

use cresset_engine::LetterPage;
use cresset_task::DeadLetter;

use crate::json_out::{self, ObjectOut};
use crate::schema::RetryTerms;

/// What a letter weighs without its log and metadata.
const FRAME_BYTES: usize = 512;

/// About how many bytes a letter takes as JSON.
pub(crate) fn weight(letter: &DeadLetter) -> usize {
    let log: usize = letter.evidence.log.iter().map(String::len).sum();
    FRAME_BYTES + log + letter.metadata.as_ref().map_or(0, bytes::Bytes::len)
}

/// The whole letter; its log is null unless it may be shown.
pub(crate) fn write(letter: &DeadLetter, logs: bool) -> Vec<u8> {
    let DeadLetter {
        id,
        model,
        version,
        created_at,
        died_at,
        evidence,
        priority,
        metadata,
        retry,
        input_bytes,
        replayed_as,
        tenant: _,
    } = letter;
    let mut out = ObjectOut::new(weight(letter));
    out.plain("task_id", id);
    out.plain("model", model);
    out.value("version", version);
    out.plain("created_at", created_at);
    out.plain("died_at", died_at);
    out.value("cause", &evidence.cause);
    out.value("reason", &evidence.reason);
    out.value("tried", &evidence.tried);
    out.value("resident_bytes", &evidence.resident_bytes);
    out.value("log", &logs.then_some(&evidence.log));
    out.value("priority", priority);
    out.value("retry", &retry.as_deref().map(RetryTerms::of));
    out.value("input_bytes", input_bytes);
    out.plain_or_null("replayed_as", *replayed_as);
    out.raw("metadata")
        .extend_from_slice(metadata.as_deref().unwrap_or(b"null"));
    out.end()
}

/// A page of them.
pub(crate) fn write_page(page: &LetterPage, logs: bool) -> Vec<u8> {
    let weight: usize = page.letters.iter().map(weight).sum();
    let entries = page.letters.iter().map(|letter| write(letter, logs));
    json_out::page("letters", weight, entries, page.next.map(|cursor| cursor.0))
}
