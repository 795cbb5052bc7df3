//! Bulks as a writer meets them: what a line is, and what becomes of those that are sent.

use super::{Stored, Submission};
use crate::BulkAdded;

/// A line of a bulk, its task's input already in stored form.
#[derive(Debug)]
pub enum Line<I> {
    /// A task.
    Task(Box<Submission<I>>),
    /// None, and why.
    Wrong(String),
}

impl Line<Stored> {
    /// Bytes that it brings into a transaction.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Task(task) => task.input.bytes.len(),
            Self::Wrong(error) => error.len(),
        }
    }
}

/// A bulk, as far as a writer asks.
#[derive(Clone, Copy, Debug)]
pub struct BulkPlace {
    /// The number of its row.
    pub seq: i64,
    /// Lines that it has.
    pub accepted: u64,
    /// How many they are in all, once that is known.
    pub total: Option<u64>,
    /// It takes no more.
    pub is_cancelled: bool,
}

impl BulkPlace {
    /// Of lines that begin at `first` those that are to be added, behind `accepted`; or the answer, where there are none.
    pub fn fresh<'a, L>(&self, first: u64, lines: &'a [L]) -> Result<&'a [L], BulkAdded> {
        if first > self.accepted {
            return Err(BulkAdded::Gap(self.accepted));
        }
        let known = usize::try_from(self.accepted - first).unwrap_or(usize::MAX);
        let fresh = lines.get(known..).unwrap_or_default();
        if fresh.is_empty() {
            return Err(BulkAdded::Added(0));
        }
        if let Some(total) = self.total {
            return Err(BulkAdded::Sealed(total));
        }
        if self.is_cancelled {
            return Err(BulkAdded::Cancelled);
        }
        Ok(fresh)
    }
}
