//! What an instance says of a batch before it answers it: PROGRESS, CHUNKS and LOGS.

use bytes::Bytes;
use serde::Deserialize;

use super::header::Header;
use super::{Kind, Reader, WireError, message};
use crate::port::LogLevel;

/// The longest piece of a result.
pub(crate) const CHUNK_MAX: usize = 1 << 20;
/// Bytes of a report's message; an instance keeps it, and what it does not keep is cut here.
const MESSAGE_MAX: usize = 4096;
/// Bytes of a log line: the 4,000 characters that an instance keeps to, in UTF-8.
const LINE_MAX: usize = 16 * 1024;
/// Lines in one frame; an instance of ours sends them one by one.
const LINES_MAX: usize = 256;

/// Body of PROGRESS.
#[derive(Debug, Deserialize)]
struct Reports {
    reports: Vec<Report>,
}

/// How far some items of a batch have come.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Report {
    /// Which; `None` is all of them.
    pub(crate) items: Option<Vec<u32>>,
    /// 0 to 1.
    pub(crate) fraction: f64,
    pub(crate) message: Option<String>,
}

/// A piece of one item's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireChunk {
    pub(crate) item: u32,
    /// Counted from 0 for each item of the batch.
    pub(crate) number: u32,
    /// Should be a JSON value.
    pub(crate) text: Bytes,
}

/// Reads the body of a PROGRESS whose header is `header`.
pub(crate) fn decode_progress(header: &Header, body: &[u8]) -> Result<Vec<Report>, WireError> {
    debug_assert_eq!(header.kind, Kind::Progress);
    let Reports { mut reports } = message::decode(header.kind, body)?;
    for report in &mut reports {
        if !(0.0..=1.0).contains(&report.fraction) {
            return Err(WireError::Fraction(report.fraction.to_string()));
        }
        if let Some(item) = report.items.iter().flatten().find(|item| **item >= header.batch) {
            return Err(WireError::Item(header.kind.name(), *item, header.batch));
        }
        report.message = report
            .message
            .take()
            .map(|text| message::cut_middle(text, MESSAGE_MAX));
    }
    Ok(reports)
}

/// Body of LOGS.
#[derive(Debug, Deserialize)]
struct Lines {
    lines: Vec<WireLine>,
}

/// A line about some items of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct WireLine {
    /// Which; `None` is all of them.
    pub(crate) items: Option<Vec<u32>>,
    pub(crate) level: LogLevel,
    pub(crate) text: String,
}

/// Reads the body of a LOGS whose header is `header`.
pub(crate) fn decode_lines(header: &Header, body: &[u8]) -> Result<Vec<WireLine>, WireError> {
    debug_assert_eq!(header.kind, Kind::Logs);
    let name = header.kind.name();
    let Lines { mut lines } = message::decode(header.kind, body)?;
    if lines.len() > LINES_MAX {
        let many = format!("{} lines, at most {LINES_MAX} in a frame", lines.len());
        return Err(WireError::Json(name, many));
    }
    for line in &mut lines {
        if let Some(item) = line.items.iter().flatten().find(|item| **item >= header.batch) {
            return Err(WireError::Item(name, *item, header.batch));
        }
        line.text = message::cut_middle(std::mem::take(&mut line.text), LINE_MAX);
    }
    Ok(lines)
}

/// Reads the body of a CHUNKS whose header is `header`. The texts are copies: a small one that is kept for a while does not
/// keep the whole frame.
pub(crate) fn decode_chunks(header: &Header, body: &[u8]) -> Result<Vec<WireChunk>, WireError> {
    const HEAD: usize = 12;
    let name = header.kind.name();
    let mut reader = Reader::new(header.kind, body);
    let count = reader.u32()? as usize;
    // As with the items of an answer.
    let heads_len = count.checked_mul(HEAD).ok_or(WireError::Cut(name))?;
    let mut heads = Reader::new(header.kind, reader.take(heads_len)?);
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        let (item, number, len) = (heads.u32()?, heads.u32()?, heads.u32()? as usize);
        if item >= header.batch {
            return Err(WireError::Item(name, item, header.batch));
        }
        if len > CHUNK_MAX {
            return Err(WireError::ChunkTooLong(len));
        }
        let text = Bytes::copy_from_slice(reader.take(len)?);
        chunks.push(WireChunk { item, number, text });
    }
    reader.end()?;
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(kind: Kind, batch: u32, len: usize) -> Header {
        Header {
            batch,
            ..Header::plain(kind, len as u32)
        }
    }

    proptest! {
        #[test]
        fn foreign_chunks_are_refused_without_a_panic(
            mut body in proptest::collection::vec(any::<u8>(), 0..100), batch in prop_oneof![1_u32..9, any::<u32>()], tame: bool,
        ) {
            if tame {
                for (at, byte) in body.iter_mut().enumerate() {
                    *byte = if at % 4 == 0 { *byte & 3 } else { 0 };
                }
            }
            if let Ok(chunks) = decode_chunks(&header(Kind::Chunks, batch, body.len()), &body) {
                let bytes: usize = chunks.iter().map(|chunk| chunk.text.len() + 12).sum();
                prop_assert_eq!(bytes + 4, body.len());
                prop_assert!(chunks.iter().all(|chunk| chunk.item < batch));
            }
        }
    }

    #[test]
    fn a_line_is_of_items_that_are_there_and_has_a_level_and_a_length() {
        let read = |body: &str| decode_lines(&header(Kind::Logs, 2, body.len()), body.as_bytes());
        let one = |items: &str, level: &str, text: &str| {
            let line = format!(r#"{{"items":{items},"level":"{level}","text":"{text}"}}"#);
            read(&format!(r#"{{"lines":[{line}]}}"#))
        };
        let wanted = WireLine {
            items: Some(vec![1]),
            level: LogLevel::Warning,
            text: "é".into(),
        };
        assert_eq!(one("[1]", "warning", "é"), Ok(vec![wanted]));
        assert!(matches!(
            one("[2]", "info", ""),
            Err(WireError::Item("LOGS", 2, 2))
        ));
        assert!(matches!(one("null", "loud", ""), Err(WireError::Json(..))));
        let long = one("null", "debug", &"x".repeat(LINE_MAX * 2)).unwrap();
        assert!(long[0].text.len() <= LINE_MAX);
        let many = vec![r#"{"items":null,"level":"info","text":""}"#; LINES_MAX + 1].join(",");
        assert!(matches!(
            read(&format!(r#"{{"lines":[{many}]}}"#)),
            Err(WireError::Json(..))
        ));
    }

    #[test]
    fn progress_is_between_nothing_and_all_of_an_item_that_is_there() {
        let read = |body: &str| decode_progress(&header(Kind::Progress, 2, body.len()), body.as_bytes());
        let one = |items: &str, fraction: &str| {
            read(&format!(
                r#"{{"reports":[{{"items":{items},"fraction":{fraction},"message":"m"}}]}}"#
            ))
        };
        let wanted = Report {
            items: Some(vec![0, 1]),
            fraction: 0.5,
            message: Some("m".into()),
        };
        assert_eq!(one("[0,1]", "0.5"), Ok(vec![wanted]));
        assert!(one("null", "0").is_ok_and(|reports| reports[0].items.is_none()));
        for fraction in ["-0.1", "1.1", "1e300"] {
            assert!(
                matches!(one("[0]", fraction), Err(WireError::Fraction(_))),
                "{fraction}"
            );
        }
        for fraction in ["NaN", "\"x\"", "null"] {
            assert!(
                matches!(one("[0]", fraction), Err(WireError::Json(..))),
                "{fraction}"
            );
        }
        assert_eq!(one("[2]", "0"), Err(WireError::Item("PROGRESS", 2, 2)));
        let long = "x".repeat(MESSAGE_MAX * 3);
        let cut = read(&format!(
            r#"{{"reports":[{{"items":null,"fraction":1,"message":"{long}"}}]}}"#
        ));
        assert!(cut.is_ok_and(|reports| {
            reports[0]
                .message
                .as_ref()
                .is_some_and(|m| m.len() <= MESSAGE_MAX)
        }));
    }
}
