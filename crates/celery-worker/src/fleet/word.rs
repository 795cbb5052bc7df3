//! What servers of a fleet say to each other: who they are, and who has which tasks. Text that is read and written, and no I/O.

use cresset_engine::About;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longer words are none of ours.
const WORDS_MAX: usize = 8 << 20;

/// What one server tells all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Word {
    /// Since when it is there, in microseconds: its number, and a part of its name.
    pub(super) since: i64,
    /// What it says of itself. `None`: it has only asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) about: Option<About>,
    /// It has just come, and wants to know who is there.
    #[serde(default)]
    pub(super) asks: bool,
    /// It goes.
    #[serde(default)]
    pub(super) ended: bool,
    /// It wants to know who has some tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seeks: Option<Seeks>,
    /// It answers whoever has asked that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) has: Option<Has>,
}

impl Word {
    /// Reads one; or says why it is none.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > WORDS_MAX {
            return Err(format!("it has more than {WORDS_MAX} bytes"));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// A server: no two have all three.
pub(super) type Who = (i64, String, u32);

/// A question: who has these?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Seeks {
    pub(super) question: Uuid,
    pub(super) ids: Vec<String>,
}

/// An answer: this server has these of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Has {
    pub(super) question: Uuid,
    pub(super) who: Who,
    pub(super) ids: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_written_and_garbage_is_none() {
        let asks = Word {
            since: 1,
            asks: true,
            ..Word::default()
        };
        let about = Some(About {
            host: "a".into(),
            ..About::default()
        });
        let told = Word {
            since: 3,
            about,
            ..Word::default()
        };
        let ids = vec!["1".to_owned()];
        let seeks = Word {
            seeks: Some(Seeks {
                question: Uuid::max(),
                ids: ids.clone(),
            }),
            ..Word::default()
        };
        let has = Word {
            has: Some(Has {
                question: Uuid::max(),
                who: (1, "a".into(), 2),
                ids,
            }),
            ..Word::default()
        };
        for word in [told, asks, seeks, has] {
            let text = serde_json::to_vec(&word).unwrap();
            assert_eq!(Word::read(&text), Ok(word));
        }
        for garbage in [&b""[..], b"[]", b"{\"since\": \"now\"}", b"\xff"] {
            assert!(Word::read(garbage).is_err());
        }
        assert!(
            Word::read(&vec![b' '; WORDS_MAX + 1])
                .unwrap_err()
                .contains("bytes")
        );
    }
}
