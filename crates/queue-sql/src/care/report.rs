//! What a check has found: for a person one line each, for a program the same as data.

use std::fmt;

use serde::Serialize;

use super::manifest::TaskCounts;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be, and worth knowing.
    Note,
    /// Something is lost, contradicts itself, or keeps the store from opening.
    Problem,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which rule it offends; a stable word for programs.
    pub what: &'static str,
    /// What is so, and where.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            severity,
            text,
            remedy,
            ..
        } = self;
        let word = match severity {
            Severity::Note => "note",
            Severity::Problem => "PROBLEM",
        };
        write!(f, "{word}: {text}; {remedy}")
    }
}

/// A checked store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Who has the store, if it was checked while in use. Then it was seen as it was at one moment, and what only shows at
    /// rest was not looked for.
    pub in_use_by: Option<String>,
    /// The version of its schema, if it could be read.
    pub schema: Option<u32>,
    /// How many tasks there are, if they could be counted.
    pub tasks: Option<TaskCounts>,
    /// Payload files that rows name.
    pub files: u64,
    /// Bytes in them.
    pub file_bytes: u64,
    /// All that was found, in the order of looking.
    pub findings: Vec<Finding>,
}

/// Findings of one kind that are listed; the rest is counted. A page of it says as much as a book.
pub(super) const LISTED_MAX: u64 = 10;

impl Report {
    /// True when there is no problem.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems() == 0
    }

    /// How many problems are listed.
    #[must_use]
    pub fn problems(&self) -> usize {
        let is_problem = |finding: &&Finding| finding.severity == Severity::Problem;
        self.findings.iter().filter(is_problem).count()
    }

    pub(super) fn problem(&mut self, what: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Problem, what, text.into(), remedy.into());
    }

    pub(super) fn note(&mut self, what: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Note, what, text.into(), remedy.into());
    }

    fn add(&mut self, severity: Severity, what: &'static str, text: String, remedy: String) {
        // One line each, whatever a damaged file has in its names.
        let one_line = |text: String| {
            text.chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect()
        };
        self.findings.push(Finding {
            severity,
            what,
            text: one_line(text),
            remedy: one_line(remedy),
        });
    }
}

/// Findings of one rule: the first few are told, the rest is counted.
#[derive(Debug, Default)]
pub(super) struct Listed {
    seen: u64,
}

impl Listed {
    /// True while there is room for one more.
    pub(super) fn next(&mut self) -> bool {
        self.seen += 1;
        self.seen <= LISTED_MAX
    }

    /// How many were not told.
    pub(super) fn untold(&self) -> u64 {
        self.seen.saturating_sub(LISTED_MAX)
    }
}
