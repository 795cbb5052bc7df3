//! What the end of a job means for each of its items. Pure: one function, tested case by case.
//!
//! A batch that raises, or takes its instance down, is run again in halves, until the item to blame stands alone and
//! the others have succeeded. That costs about log2(n) extra runs for one bad item.
//!
//! Of an item that nobody wants any more nothing is to be recorded: it is dropped instead of run again. What others do
//! because of it (a batch that is given up, a process that is killed) is not held against their batch mates.

use cresset_batch::Entry;
use cresset_runner::{DownReason, ItemEnd, JobEnd, Scene};
use cresset_task::{Again, Code, Evidence, Failure, Payload};

use crate::item::Item;

/// The end of one item.
#[derive(Debug)]
pub(crate) enum Resolution {
    Done(Payload),
    /// This is the result of an equal input; no instance had this one.
    Kept(Payload),
    Failed(Failure),
    /// It fails, and is known to take its process down.
    Dead(Failure, Box<Evidence>),
}

/// What to do with the items of a job that ended.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Items that are done with.
    pub(crate) resolved: Vec<(Item, Resolution)>,
    /// Groups to be run again, each by itself.
    pub(crate) again: Vec<Vec<Entry<Item>>>,
}

/// SIGKILL comes from outside: from an operator, or from a kernel whose out-of-memory counters we cannot see. It says
/// little of the input, so it is forgiven this many times as often as other deaths; not for ever, because of the kernel.
const KILLS_FORGIVEN: u32 = 5;
const SIGKILL: i32 = 9;

/// Judges a job that held `entries`. An item that was alone in taking an instance down, and has been in
/// `max_attempts` such batches, fails.
pub(crate) fn judge(entries: Vec<Entry<Item>>, end: JobEnd, max_attempts: u32) -> Verdict {
    let mut verdict = of_end(entries, end, max_attempts);
    for group in &mut verdict.again {
        group.retain(|entry| !entry.item.unwanted);
    }
    verdict.again.retain(|group| !group.is_empty());
    verdict
}

fn of_end(entries: Vec<Entry<Item>>, end: JobEnd, max_attempts: u32) -> Verdict {
    match end {
        JobEnd::Items(ends) if ends.len() == entries.len() => match skips_a_wanted_one(&entries, &ends) {
            false => each(entries, ends),
            true => raised(
                entries,
                &internal("the runner skipped an item that nobody had cancelled".into()),
            ),
        },
        JobEnd::Items(ends) => {
            let message = format!(
                "the runner gave {} results for {} items",
                ends.len(),
                entries.len()
            );
            raised(entries, &internal(message))
        }
        JobEnd::Raised(failure) => raised(entries, &failure),
        JobEnd::GivenUp(failure) if entries.iter().all(|e| !e.item.unwanted) => raised(entries, &failure),
        JobEnd::GivenUp(_) | JobEnd::Lost { suspect: false, .. } => Verdict {
            resolved: Vec::new(),
            again: vec![entries],
        },
        JobEnd::Lost {
            reason,
            suspect: true,
            scene,
        } => lost(entries, &reason, scene, max_attempts),
    }
}

fn skips_a_wanted_one(entries: &[Entry<Item>], ends: &[ItemEnd]) -> bool {
    let mut both = entries.iter().zip(ends);
    both.any(|(entry, end)| *end == ItemEnd::Skipped && !entry.item.unwanted)
}

fn each(entries: Vec<Entry<Item>>, ends: Vec<ItemEnd>) -> Verdict {
    let resolved = entries
        .into_iter()
        .zip(ends)
        .filter_map(|(entry, end)| match end {
            ItemEnd::Done(output) => Some((entry.item, Resolution::Done(output))),
            ItemEnd::Failed(failure) => Some((entry.item, failed(failure))),
            ItemEnd::Skipped => None,
        })
        .collect();
    Verdict {
        resolved,
        again: Vec::new(),
    }
}

/// A failure, which another server of ours may have found to be more than that.
fn failed(failure: Failure) -> Resolution {
    match failure.again {
        Again::Dead(evidence) => {
            let again = Again::default();
            Resolution::Dead(Failure { again, ..failure }, evidence)
        }
        _ => Resolution::Failed(failure),
    }
}

fn raised(entries: Vec<Entry<Item>>, failure: &Failure) -> Verdict {
    if entries.len() == 1 {
        let resolved = entries
            .into_iter()
            .map(|e| (e.item, Resolution::Failed(failure.clone())))
            .collect();
        return Verdict {
            resolved,
            again: Vec::new(),
        };
    }
    Verdict {
        resolved: Vec::new(),
        again: halves(entries),
    }
}

fn lost(
    mut entries: Vec<Entry<Item>>,
    reason: &DownReason,
    scene: Option<Box<Scene>>,
    max_attempts: u32,
) -> Verdict {
    let from_outside = *reason == DownReason::Signal(SIGKILL);
    for Entry { item, .. } in &mut entries {
        let count = if from_outside {
            &mut item.killed
        } else {
            &mut item.blame
        };
        *count += 1;
    }
    match entries.as_slice() {
        [Entry { item, .. }] if is_guilty(item, from_outside, max_attempts) => {
            let tried = item.blame + item.killed;
            let evidence = Box::new(evidence(reason, scene, tried));
            let failure = died(reason, tried);
            let dead = |entry: Entry<Item>| (entry.item, Resolution::Dead(failure.clone(), evidence.clone()));
            Verdict {
                resolved: entries.into_iter().map(dead).collect(),
                again: Vec::new(),
            }
        }
        [_] => Verdict {
            resolved: Vec::new(),
            again: vec![entries],
        },
        _ => Verdict {
            resolved: Vec::new(),
            again: halves(entries),
        },
    }
}

/// Whether this death was one too many of its kind. That an item has been in batches which died of another is nothing against
/// it when its process is killed from outside.
fn is_guilty(item: &Item, from_outside: bool, max_attempts: u32) -> bool {
    if from_outside {
        item.killed >= max_attempts.saturating_mul(KILLS_FORGIVEN)
    } else {
        item.blame >= max_attempts
    }
}

fn halves(mut entries: Vec<Entry<Item>>) -> Vec<Vec<Entry<Item>>> {
    let second = entries.split_off(entries.len() / 2);
    vec![entries, second]
}

fn died(reason: &DownReason, times: u32) -> Failure {
    let (code, type_) = match reason {
        DownReason::Hung(_) => (Code::TimeLimit, "TimeLimit"),
        _ => (Code::InstanceDied, "InstanceDied"),
    };
    let message = format!("the model process {reason} while running this task; it was tried {times} times");
    Failure::new(code, type_, message)
}

fn evidence(reason: &DownReason, scene: Option<Box<Scene>>, tried: u32) -> Evidence {
    let scene = scene.map(|scene| *scene).unwrap_or_default();
    let evidence = Evidence {
        cause: reason.label().into(),
        reason: reason.to_string(),
        tried,
        resident_bytes: scene.resident_bytes,
        log: scene.last_lines,
    };
    evidence.bounded()
}

fn internal(message: String) -> Failure {
    Failure::new(Code::Internal, "Internal", message)
}

#[cfg(test)]
mod tests;
