//! Where the log is cut, and what else is on the disk then.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::life::Recording;
use cresset_queue::conformance::Dice;

const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// What is found after a death.
pub(crate) struct Cut {
    pub(crate) name: String,
    pub(crate) log: Vec<u8>,
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    /// The last step that had been answered.
    pub(crate) answered: usize,
    /// The step after it had begun, and may be found done, or some of it.
    pub(crate) is_under_way: bool,
}

/// Every frame's end, and places torn between them; each with the payload files as they may be then.
pub(crate) fn all(recording: &Recording, seed: u64) -> Vec<Cut> {
    let mut dice = Dice::new(seed ^ 0x5eed);
    let log = &recording.log;
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let frame = FRAME_HEADER + page;
    let mut cuts = Vec::new();
    let frames = (log.len() - LOG_HEADER) / frame;
    for done in 0..=frames {
        let end = LOG_HEADER + done * frame;
        let whole = log[..end].to_vec();
        add(recording, &mut cuts, frame, done, "cut", whole.clone());
        if done == frames {
            continue;
        }
        // In a frame's header; in its page; at the end of a page that is not what was written.
        let torn = match done % 3 {
            0 => ("torn header", log[..end + 12].to_vec()),
            1 => ("torn page", log[..end + FRAME_HEADER + page / 2].to_vec()),
            _ => ("garbage", [whole.clone(), dice.bytes(frame + 7)].concat()),
        };
        add(recording, &mut cuts, frame, done, torn.0, torn.1);
        // Later frames are there, this one is not: nothing says in which order a disk writes what is not flushed. Only within
        // a step, as one that was answered has been flushed, or needs not survive.
        let later = recording
            .steps
            .iter()
            .map(|step| step.log_bytes)
            .find(|bytes| *bytes > end)
            .unwrap();
        if later > end + frame {
            let mut hole = log[..later].to_vec();
            hole[end..end + frame].fill(0);
            add(recording, &mut cuts, frame, done, "hole", hole);
        }
    }
    cuts
}

/// The log says how many whole frames there are; the rest of it is not to be believed.
fn add(recording: &Recording, cuts: &mut Vec<Cut>, frame: usize, done: usize, what: &str, log: Vec<u8>) {
    let end = LOG_HEADER + done * frame;
    let steps = &recording.steps;
    // Steps that write nothing to the log (nothing to lease, say) are answered with the one before them.
    let answered = steps.iter().rposition(|step| step.log_bytes <= end).unwrap_or(0);
    let next = steps.get(answered + 1);
    let begins = steps[answered].log_bytes.max(LOG_HEADER);
    let is_committed = |at: usize| recording.log[at + 4..at + 8] != [0; 4];
    let some_committed = (begins..end).step_by(frame).any(is_committed);
    let before = &steps[answered].files;
    let mut push = |files: BTreeMap<PathBuf, Vec<u8>>, with: &str| {
        cuts.push(Cut {
            name: format!(
                "seed {}, {what} after {done} frames, {} ({answered}) answered, {} under way, files: {with}",
                recording.seed,
                steps[answered].what,
                next.map_or("nothing", |step| step.what)
            ),
            log: log.clone(),
            files,
            answered,
            is_under_way: next.is_some(),
        });
    };
    let Some(next) = next else {
        return push(before.clone(), "as answered");
    };
    // Files are written before their rows, and removed after them.
    let mut both = before.clone();
    both.extend(next.files.clone());
    let brings = next.files.keys().any(|name| !before.contains_key(name));
    let takes = before.keys().any(|name| !next.files.contains_key(name));
    push(both.clone(), "those under way");
    if brings && !some_committed {
        push(before.clone(), "none under way");
        let halved = |(name, bytes): (PathBuf, Vec<u8>)| {
            let kept = if before.contains_key(&name) {
                bytes.len()
            } else {
                bytes.len() / 2
            };
            (name, bytes[..kept].to_vec())
        };
        push(both.into_iter().map(halved).collect(), "half written");
    }
    if takes && some_committed {
        push(next.files.clone(), "removed");
    }
}
