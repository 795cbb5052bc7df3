//! The output and its journal, opened together: new, or as an earlier run left them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Options;
use super::journal::{Entry, Journal};
use super::output::{self, Target, Written};
use crate::exit::Trouble;

/// What a run writes to, and what an earlier one left.
pub(super) struct Store {
    pub(super) target: Target,
    pub(super) written: Written,
    pub(super) journal: Journal,
    /// Lines that an earlier run has submitted and not written.
    pub(super) known: HashMap<u64, Entry>,
    /// The output file, when it was not there before.
    pub(super) made: Option<PathBuf>,
}

impl Store {
    /// Opens what `options` name.
    pub(super) fn open(options: &Options) -> Result<Self, Trouble> {
        let (written, known) = (Written::default(), HashMap::new());
        let Some(path) = &options.output else {
            return Ok(Self {
                target: Target::Stdout,
                written,
                journal: Journal::nowhere(),
                known,
                made: None,
            });
        };
        let journal = journal_path(path);
        if options.resume {
            let (target, written) = output::resume(path)?;
            let (journal, known) = Journal::resume(&journal, &options.model, written.last_line)?;
            return Ok(Self {
                target,
                written,
                journal,
                known,
                made: None,
            });
        }
        let target = output::create(path)?;
        match Journal::create(&journal, &options.model) {
            Ok(journal) => Ok(Self {
                target,
                written,
                journal,
                known,
                made: Some(path.clone()),
            }),
            Err(trouble) => {
                // What was just made is empty and would be in the way of the next try; if it cannot be removed, the
                // next try says so.
                let _ = std::fs::remove_file(path);
                Err(trouble)
            }
        }
    }
}

/// Where the journal of a run that writes to `output` is.
fn journal_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}
