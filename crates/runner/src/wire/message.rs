//! The JSON bodies.

use std::time::Duration;

use cresset_task::{Again, Code, Failure, Stage, TensorSpec, Trace, TraceState};
use serde::{Deserialize, Serialize};

use super::{Kind, WireError};

/// Bounds of a failure's texts, in bytes; an instance keeps them, and what it does not keep is cut here.
const TYPE_MAX: usize = 256;
const MESSAGE_MAX: usize = 8 * 1024;
const TRACEBACK_MAX: usize = 32 * 1024;

/// Body of HELLO.
#[derive(Debug, Serialize)]
pub(crate) struct Hello<'a> {
    pub(crate) protocol: u32,
    pub(crate) model: ModelInfo<'a>,
    pub(crate) instance: InstanceInfo<'a>,
    pub(crate) slab: Option<SlabInfo>,
    pub(crate) board: BoardInfo,
}

#[derive(Debug, Serialize)]
pub(crate) struct ModelInfo<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) dir: &'a str,
    pub(crate) entry: String,
    pub(crate) kind: &'static str,
    pub(crate) inputs: &'a [TensorSpec],
    pub(crate) outputs: &'a [TensorSpec],
    pub(crate) max_batch_size: usize,
    pub(crate) allow_pickle: bool,
    pub(crate) copy_inputs: bool,
    pub(crate) soft_timeout_ms: Option<u64>,
    pub(crate) stream: bool,
    pub(crate) files: bool,
    pub(crate) content_types: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct InstanceInfo<'a> {
    pub(crate) id: u32,
    pub(crate) device: &'a str,
    pub(crate) threads: usize,
    pub(crate) progress_ms: u64,
    pub(crate) logs: bool,
    /// The folder that files of its inputs are put into; `null` where it gets bytes.
    pub(crate) spool: Option<&'a str>,
}

/// The slab as HELLO and RESIZE describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SlabInfo {
    pub(crate) size: u64,
    pub(crate) slots: Vec<SlotInfo>,
}

/// One slot. Offsets count from the start of the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SlotInfo {
    pub(crate) input_offset: u64,
    pub(crate) input_len: u64,
    pub(crate) output_offset: u64,
    pub(crate) output_len: u64,
}

/// The board as HELLO describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BoardInfo {
    pub(crate) size: u64,
    pub(crate) slots: Vec<BoardSlot>,
}

/// One batch's place on the board: a byte for each item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BoardSlot {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Body of RESIZE.
#[derive(Debug, Serialize)]
pub(crate) struct Resize<'a> {
    pub(crate) slab: &'a SlabInfo,
}

/// Body of TRACES.
#[derive(Debug, Serialize)]
pub(crate) struct Traces {
    /// For each item of the batch that comes next.
    traces: Vec<Option<TraceInfo>>,
}

#[derive(Debug, Serialize)]
struct TraceInfo {
    traceparent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<TraceState>,
}

impl Traces {
    pub(crate) fn of(traces: Vec<Option<Trace>>) -> Self {
        let info = |trace: Trace| TraceInfo {
            traceparent: trace.traceparent(),
            tracestate: trace.state,
        };
        Self {
            traces: traces.into_iter().map(|trace| trace.map(info)).collect(),
        }
    }
}

/// Body of READY.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Ready {
    pub(crate) protocol: u32,
    pub(crate) pid: u32,
    pub(crate) runtime: String,
    pub(crate) device: String,
    pub(crate) load_ms: f64,
    pub(crate) warmup_ms: f64,
    pub(crate) returns: Returns,
    /// It takes TRACES.
    #[serde(default)]
    pub(crate) traces: bool,
}

/// What answers a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Returns {
    /// DONE.
    Tensor,
    /// DONE_OBJECTS.
    Object,
}

/// Body of NOTE.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Note {
    pub(crate) level: String,
    pub(crate) message: String,
}

/// Body of FAILED and ERROR, and a failed item of DONE_OBJECTS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct WireFailure {
    stage: Stage,
    #[serde(rename = "type")]
    type_: String,
    message: String,
    traceback: Option<String>,
    #[serde(default)]
    code: FailureCode,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    retry: Option<WireRetry>,
}

/// What the model's code says of another try: nothing, `false`, or when.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum WireRetry {
    Said(bool),
    After { after_ms: Option<u64> },
}

/// The codes an instance may give; the others are ours to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FailureCode {
    #[default]
    ModelError,
    BadOutput,
    NonFiniteOutput,
    SoftTimeout,
}

impl WireFailure {
    /// The failure as the rest of the house knows it. The hint goes where the reader looks: behind the message.
    pub(crate) fn into_failure(self) -> Failure {
        let mut message = cut_middle(self.message, MESSAGE_MAX);
        if let Some(hint) = self.hint.filter(|h| !h.is_empty()) {
            message = format!("{message} ({})", cut_middle(hint, MESSAGE_MAX));
        }
        Failure {
            code: match self.code {
                FailureCode::ModelError => Code::ModelError,
                FailureCode::BadOutput => Code::BadOutput,
                FailureCode::NonFiniteOutput => Code::NonFiniteOutput,
                FailureCode::SoftTimeout => Code::SoftTimeout,
            },
            type_: cut_middle(self.type_, TYPE_MAX),
            message,
            traceback: self.traceback.map(|t| cut_middle(t, TRACEBACK_MAX)),
            stage: Some(self.stage),
            again: match self.retry {
                None => Again::Policy,
                Some(WireRetry::Said(false)) => Again::Never,
                Some(WireRetry::Said(true)) => Again::Wanted(None),
                Some(WireRetry::After { after_ms }) => Again::Wanted(after_ms.map(Duration::from_millis)),
            },
        }
    }
}

/// Reads a JSON body.
pub(crate) fn decode<'a, T: Deserialize<'a>>(kind: Kind, body: &'a [u8]) -> Result<T, WireError> {
    let text = std::str::from_utf8(body).map_err(|_| WireError::Utf8(kind.name()))?;
    serde_json::from_str(text).map_err(|e| WireError::Json(kind.name(), e.to_string()))
}

macro_rules! decodes {
    ($($type:ty = $($kind:path)|+;)*) => {$(
        impl $type {
            /// Reads the body of a frame of this kind.
            pub(crate) fn decode(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
                debug_assert!(matches!(kind, $($kind)|+));
                decode(kind, body)
            }
        }
    )*};
}

decodes! {
    Ready = Kind::Ready;
    Note = Kind::Note;
    WireFailure = Kind::Failed | Kind::Error | Kind::DoneObjects;
}

/// `text`, or its beginning and end with a mark between them, within `max` bytes.
pub(super) fn cut_middle(text: String, max: usize) -> String {
    const MARK: &str = "\n[...]\n";
    if text.len() <= max {
        return text;
    }
    let keep = max.saturating_sub(MARK.len()) / 2;
    let mut head = keep;
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = text.len() - keep;
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}{MARK}{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cut_text_is_within_its_bound_and_keeps_both_ends(text in "\\PC{0,80}", max in 20_usize..60) {
            let cut = cut_middle(text.clone(), max);
            prop_assert!(cut.len() <= max);
            prop_assert!(cut.chars().next() == text.chars().next());
            prop_assert!(cut.chars().last() == text.chars().last());
        }

        #[test]
        fn foreign_json_is_refused_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(WireFailure::decode(Kind::Error, &body).is_err());
            prop_assert!(Ready::decode(Kind::Ready, &body).is_err());
        }
    }

    #[test]
    fn a_hint_stands_behind_the_message() {
        let body = br#"{"stage":"import","type":"E","message":"m","traceback":null,"hint":"do this"}"#;
        let failure = WireFailure::decode(Kind::Failed, body).unwrap().into_failure();
        assert_eq!(
            (failure.message.as_str(), failure.code),
            ("m (do this)", Code::ModelError)
        );
    }

    #[test]
    fn a_failure_says_whether_and_when_to_try_again() {
        let again = |retry: &str| {
            let body = format!(r#"{{"stage":"predict","type":"E","message":"m","traceback":null{retry}}}"#);
            WireFailure::decode(Kind::Error, body.as_bytes()).map(|failure| failure.into_failure().again)
        };
        assert_eq!(again(""), Ok(Again::Policy));
        assert_eq!(again(r#","retry":null"#), Ok(Again::Policy));
        assert_eq!(again(r#","retry":false"#), Ok(Again::Never));
        assert_eq!(again(r#","retry":{"after_ms":null}"#), Ok(Again::Wanted(None)));
        let soon = Again::Wanted(Some(Duration::from_millis(1500)));
        assert_eq!(again(r#","retry":{"after_ms":1500}"#), Ok(soon));
        assert!(again(r#","retry":"soon""#).is_err());
        assert!(again(r#","retry":{"after_ms":-1}"#).is_err());
    }

    #[test]
    fn an_instance_cannot_give_codes_that_are_ours() {
        let body = br#"{"stage":"import","type":"E","message":"m","traceback":null,"code":"instance_died"}"#;
        assert!(matches!(
            WireFailure::decode(Kind::Failed, body),
            Err(WireError::Json("FAILED", _))
        ));
    }
}
