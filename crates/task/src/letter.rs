//! Dead letters: inputs that were found to take their model's process down, kept with what is known of how.
//!
//! The task itself has ended as a failure like any other; its letter outlives it, so that the input can be looked at, and
//! run again once the model is mended.

use bytes::Bytes;

use crate::id::TaskId;
use crate::name::ModelName;
use crate::retry::RetryTerms;
use crate::tenant::Tenant;
use crate::time::Timestamp;

/// Lines of a process's output that a letter keeps: enough for a traceback and what led to it.
pub const EVIDENCE_LINES_MAX: usize = 40;
/// Bytes of output that a letter keeps, all lines together.
pub const EVIDENCE_BYTES_MAX: usize = 16 * 1024;

/// What is known of how an input took its process down.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Evidence {
    /// The kind of death, as metrics name it: `exit`, `signal`, `out_of_memory`, `hung`, `protocol`.
    pub cause: String,
    /// The same in words: what the process did.
    pub reason: String,
    /// How often the input was in a batch whose process died.
    pub tried: u32,
    /// Memory of the process, in bytes, when it was last looked at before its death.
    pub resident_bytes: Option<u64>,
    /// The newest lines that the process printed, oldest first. They may be of other inputs too.
    pub log: Vec<String>,
}

impl Evidence {
    /// With no more of the log than is kept.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.log = newest(std::mem::take(&mut self.log));
        self
    }
}

/// The newest lines within the bounds, oldest first; of a line that alone passes them, the end.
fn newest(lines: Vec<String>) -> Vec<String> {
    let mut room = EVIDENCE_BYTES_MAX;
    let mut kept = Vec::new();
    for line in lines.into_iter().rev().take(EVIDENCE_LINES_MAX) {
        if line.len() <= room {
            room -= line.len();
            kept.push(line);
            continue;
        }
        if kept.is_empty() {
            let cut = line.len() - room;
            let at = (cut..=line.len()).find(|at| line.is_char_boundary(*at));
            kept.extend(at.and_then(|at| line.get(at..)).map(str::to_owned));
        }
        break;
    }
    kept.reverse();
    kept
}

/// Everything known of a dead letter except its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id: that of the task whose input it keeps. A task leaves one letter at most.
    pub id: TaskId,
    /// The model that the input was for.
    pub model: ModelName,
    /// The model version that died of it.
    pub version: Option<String>,
    /// When the task was accepted.
    pub created_at: Timestamp,
    /// When the input was found guilty.
    pub died_at: Timestamp,
    /// How.
    pub evidence: Evidence,
    /// The task's priority, which a replay keeps.
    pub priority: i8,
    /// The caller's own small JSON object, which a replay keeps.
    pub metadata: Option<Bytes>,
    /// How its submitter had the task tried again, which a replay keeps; `None` leaves that to its model.
    pub retry: Option<Box<RetryTerms>>,
    /// Bytes of the input in stored form.
    pub input_bytes: u64,
    /// The task that was made of it, once it has been replayed.
    pub replayed_as: Option<TaskId>,
    /// Whose the task was; a replay is theirs too.
    pub tenant: Option<Tenant>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_lines_are_kept_in_their_order() {
        let lines: Vec<String> = (0..EVIDENCE_LINES_MAX + 2).map(|n| n.to_string()).collect();
        assert_eq!(newest(lines.clone()), lines[2..]);
    }

    #[test]
    fn of_a_line_that_is_too_long_the_end_is_kept() {
        let long = format!("{}the end", "\u{e9}".repeat(EVIDENCE_BYTES_MAX));
        let kept = newest(vec!["before".into(), long]);
        assert_eq!(kept.len(), 1);
        assert!(kept[0].len() <= EVIDENCE_BYTES_MAX && kept[0].ends_with("\u{e9}the end"));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_a_bounded_tail(sizes in proptest::collection::vec(0_usize..4_000, 0..80)) {
            let lines: Vec<String> = sizes.iter().map(|n| "x".repeat(*n)).collect();
            let kept = newest(lines.clone());
            prop_assert!(kept.len() <= EVIDENCE_LINES_MAX);
            prop_assert!(kept.iter().map(String::len).sum::<usize>() <= EVIDENCE_BYTES_MAX);
            prop_assert_eq!(&lines[lines.len() - kept.len()..], kept.as_slice());
        }
    }
}
