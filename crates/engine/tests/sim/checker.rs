//! Holds a history to the promises. Pure: from entries to offences, in words.
//!
//! It knows what callers asked and were told, what the store committed, and what instances were given; from the engine itself
//! it takes nothing. Where the store was slow or refused, what depends on it may be late, and no more than that.

mod batches;
mod idle;
mod late;
mod looks;
mod predictions;
mod tale;
mod tasks;
mod tests;
mod times;

use std::time::Duration;

use cresset_engine::Residue;
use cresset_task::{TaskId, Timestamp};

use self::batches::Batches;
use self::idle::Idle;
use self::looks::Looks;
use self::predictions::Predictions;
use self::tasks::Tasks;
use crate::history::{Entry, What};

/// How late something may be of which the engine learns through the store: the pauses of a few calls, and the longest pause
/// before it asks again.
const SLACK: Duration = Duration::from_secs(9);

/// After a call that failed the same is tried again within this. It may have had its effect, unknown to the engine until then.
const AGAIN: Duration = Duration::from_secs(5);
/// A call of the store that is under way when the wall clock is set back goes by what it showed before.
const CALL: Duration = Duration::from_secs(3);

/// What all rules look at.
#[derive(Debug, Default)]
struct Scene {
    at: Duration,
    wall: Timestamp0,
    /// When the wall clock was last set, and the latest that it showed before.
    jumped: Option<(Duration, Timestamp)>,
    /// The last time that a call of the store failed.
    trouble: Duration,
    /// When this server began, whether it has been told to stop, and whether it has.
    life: Duration,
    stops: bool,
    stopped: bool,
    crashes: u32,
}

/// A timestamp that begins at zero.
#[derive(Clone, Copy, Debug)]
struct Timestamp0(Timestamp);

impl Default for Timestamp0 {
    fn default() -> Self {
        Self(Timestamp::from_micros(0))
    }
}

impl Scene {
    /// The latest that a call under way may take for now.
    fn shown(&self) -> Timestamp {
        match self.jumped {
            Some((at, before)) if at + CALL >= self.at => before.max(self.wall.0),
            _ => self.wall.0,
        }
    }
}

/// Offences found, with the number of the entry.
#[derive(Debug, Default)]
struct Found {
    entry: usize,
    offences: Vec<(usize, String)>,
}

impl Found {
    fn add(&mut self, offence: impl Into<String>) {
        self.offences.push((self.entry, offence.into()));
    }

    fn unless(&mut self, holds: bool, offence: impl FnOnce() -> String) {
        if !holds {
            self.add(offence());
        }
    }
}

/// Every offence in a history: the number of its entry, and what is wrong.
pub(crate) fn check(history: &[Entry]) -> Vec<(usize, String)> {
    let (mut scene, mut found) = (Scene::default(), Found::default());
    let mut tasks = Tasks::default();
    let mut looks = Looks::default();
    let mut predictions = Predictions::default();
    let mut held = Batches::default();
    let mut idle = Idle::default();
    for (number, entry) in history.iter().enumerate() {
        found.entry = number;
        scene.at = entry.at;
        if entry.wall < scene.wall.0 {
            let before = scene.shown().max(scene.wall.0);
            scene.jumped = Some((entry.at, before));
        }
        scene.wall = Timestamp0(entry.wall);
        match &entry.what {
            What::Starts => {
                scene.life = entry.at;
                scene.stops = false;
                held.crash();
                idle.crash();
                predictions.gone(&scene, &mut found);
                scene.stopped = false;
                looks.crash();
            }
            What::Crashes => scene.crashes += 1,
            What::Stops(_) => scene.stops = true,
            What::Fault(_) => scene.trouble = entry.at,
            What::Stuck(what) => found.add(*what),
            What::Spins(operation) => found.add(format!("`{operation}` is called again and again")),
            What::Rest {
                residue,
                leased,
                queued,
                unwell,
            } => {
                if let Some(why) = unwell {
                    found.add(format!("at rest it is not ready: {why}"));
                }
                found.unless(*residue == Residue::default(), || {
                    format!("at rest it holds {residue:?}")
                });
                found.unless((*leased, *queued) == (0, 0), || {
                    format!("at rest {leased} tasks are leased and {queued} are queued")
                });
            }
            What::Stopped => scene.stopped = true,
            What::Jumps(_) | What::Mended => {}
            _ => {}
        }
        // What changes now has been as it was until now.
        idle.judge(&scene, &mut tasks, &mut found);
        tasks.see(&scene, entry, &mut found);
        looks.see(&scene, entry, &tasks, &mut found);
        predictions.see(&scene, entry, &tasks, &mut found);
        held.see(&scene, entry, &tasks, &mut found);
        idle.see(&scene, entry);
    }
    tasks.end(&mut found);
    predictions.gone(&scene, &mut found);
    found.offences
}

/// A task's id in few letters.
fn short(id: TaskId) -> String {
    id.to_string().chars().rev().take(6).collect()
}
