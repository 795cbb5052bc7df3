//! What is stored, as a disk may give it back, held to what the readers promise: for fuzz/targets. Not compiled into a server.

use bytes::Bytes;
use cresset_task::State;

use crate::care::read_foreign;
use crate::files::FileName;
use cresset_queue::kit::{Content, Stored, state_of};
use cresset_queue::kit::{client_of, model_of};

/// The columns of a row: a letter for what it is, then its bytes. What is read is written as it was, or as what reads the same.
pub fn row(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    let text = std::str::from_utf8(rest).ok();
    match (what, text) {
        (b'n', Some(text)) => {
            if let Ok(name) = text.parse::<FileName>() {
                assert_eq!(name.to_string(), text);
                let path = name.path();
                assert!(
                    path.is_relative() && path.components().count() == 2,
                    "{}",
                    path.display()
                );
            }
        }
        (b'm', Some(text)) => {
            assert!(model_of(text).is_ok_and(|name| name.as_str() == text) || model_of(text).is_err())
        }
        (b'c', Some(text)) => {
            if let Ok(Some(client)) = client_of(Some(text)) {
                assert_eq!(client.as_str(), text);
            }
        }
        (b'j', _) => read_foreign(rest),
        (b'p', _) => stored(rest, None),
        (number, _) => stored(rest, state_of(i64::from(*number % 8)).ok()),
    }
}

/// A payload, or the outcome of a task in a state; the first byte is its kind.
fn stored(data: &[u8], state: Option<State>) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let stored = Stored {
        kind: *kind,
        bytes: Bytes::copy_from_slice(bytes),
    };
    let content = match state {
        None => stored.as_payload().map(Content::Payload).ok(),
        Some(state) => {
            let outcome = stored.as_outcome(state);
            assert!(state.is_terminal() || matches!(outcome, Ok(None)));
            outcome.ok().flatten().map(Content::Outcome)
        }
    };
    let Some(content) = content else { return };
    let again = content.encode().expect("what was read can be written");
    let reread = match state {
        None => again.as_payload().map(Content::Payload).ok(),
        Some(state) => again.as_outcome(state).ok().flatten().map(Content::Outcome),
    };
    assert_eq!(
        format!("{content:?}"),
        format!("{reread:?}")
            .trim_start_matches("Some(")
            .strip_suffix(')')
            .unwrap_or_default()
    );
}
