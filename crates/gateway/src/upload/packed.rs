//! A body in a coding, as far as it has come.

use bytes::Bytes;
use cresset_task::Code;

use super::Held;
use crate::app::App;
use crate::coding::{Coding, Unpacker};
use crate::problem::Problem;

/// See the module.
pub(super) struct Packed {
    coding: Coding,
    unpacker: Unpacker,
    /// Come, and not unpacked yet.
    rest: Bytes,
    /// All that has come.
    pub(super) came: usize,
    /// No more comes.
    pub(super) ended: bool,
    told: bool,
    /// For the memory of the unpacker, which a caller decides on (the window of zstd).
    held: Held,
    counted: usize,
}

impl Packed {
    pub(super) fn begin(app: &App, coding: Coding) -> Result<Self, Problem> {
        // Where whole bodies are not waited for, if there is such a place.
        let memory = if app.spool.is_some() {
            &app.buffers
        } else {
            &app.budget
        };
        let mut packed = Self {
            coding,
            unpacker: Unpacker::new(coding).map_err(|error| unsound(coding, &error))?,
            rest: Bytes::new(),
            came: 0,
            ended: false,
            told: false,
            held: memory.share(),
            counted: 0,
        };
        packed.count()?;
        Ok(packed)
    }

    /// More has come.
    pub(super) fn take(&mut self, piece: Bytes) {
        self.came += piece.len();
        self.rest = piece;
    }

    /// What is in the next of it, perhaps nothing yet; `None` when more has to come first.
    pub(super) fn step(&mut self) -> Result<Option<Bytes>, Problem> {
        let step = if !self.rest.is_empty() || self.unpacker.has_more() {
            self.unpacker.step(&mut self.rest)
        } else if self.ended && !self.told {
            self.told = true;
            self.unpacker.end()
        } else {
            return Ok(None);
        };
        let step = step.map_err(|error| unsound(self.coding, &error))?;
        self.count()?;
        Ok(Some(step.into()))
    }

    /// It may have grown.
    fn count(&mut self) -> Result<(), Problem> {
        let memory = self.unpacker.memory();
        let more = memory.saturating_sub(self.counted);
        self.counted += more;
        self.held.grow(more)
    }
}

fn unsound(coding: Coding, error: &std::io::Error) -> Problem {
    let name = coding.name();
    Problem::new(
        Code::MalformedBody,
        format!("the body is said to be {name} (`Content-Encoding`) and is not sound: {error}"),
    )
}
