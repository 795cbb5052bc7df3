//! Payload files whose fate is not settled, or is settled and not carried out. Each sees to it by being dropped: whoever
//! holds one may fail, be refused or be cancelled at any point without leaving a file behind.

use std::sync::Arc;
use std::thread;

use super::{FileName, FileRef, Files};

/// A file that no committed row names yet. Removed when dropped, unless [kept](Self::keep).
#[derive(Debug)]
pub(crate) struct NewFile {
    reference: FileRef,
    // None once a row names it.
    files: Option<Arc<Files>>,
}

impl NewFile {
    pub(super) fn new(reference: FileRef, files: Arc<Files>) -> Self {
        Self {
            reference,
            files: Some(files),
        }
    }

    pub(crate) fn reference(&self) -> &FileRef {
        &self.reference
    }

    /// The row that names it is committed.
    pub(crate) fn keep(mut self) {
        self.files = None;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // In a panic nobody knows what was committed. The sweep of the next start does.
        if let Some(files) = self.files.take()
            && !thread::panicking()
        {
            files.discard(vec![self.reference.name]);
        }
    }
}

/// What a purge removed, and the files that the purged rows named.
#[derive(Debug)]
pub(crate) struct Doomed {
    count: usize,
    names: Vec<FileName>,
    files: Arc<Files>,
}

impl Doomed {
    pub(crate) fn new(count: usize, names: Vec<FileName>, files: &Arc<Files>) -> Self {
        Self {
            count,
            names,
            files: Arc::clone(files),
        }
    }

    /// Waits until the files are gone, so that a purge never runs far ahead of them; says how many records went.
    pub(crate) async fn remove(mut self) -> usize {
        if !self.names.is_empty() {
            let names = std::mem::take(&mut self.names);
            self.files.remove(names).await;
        }
        self.count
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        if !self.names.is_empty() {
            self.files.discard(std::mem::take(&mut self.names));
        }
    }
}
