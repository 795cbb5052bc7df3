//! A store as a whole: is it sound ([`check`]), a copy of it ([`backup`]), and back from one ([`restore`]).
//!
//! ```text
//!                       check: reads, says what is wrong and what to do about it
//!   data folder  ----   backup:  one snapshot of the database + the files it names  ---->  a folder with a manifest
//!                <----  restore: a copy, verified whole, then moved into place      ----
//! ```
//!
//! All of it works on files, beside a running server or without one, and none of it goes through the store's threads: whoever
//! needs this may have a store that does not open. `check` and `backup` only read. `restore` never deletes: what was in the
//! place is moved aside, and an interrupted move is finished by the next one.
//!
//! What must not happen here: repair. What is damaged is named; what becomes of it is decided by whoever reads that.

mod backup;
mod check;
mod draft;
mod error;
mod gather;
mod look;
mod manifest;
mod payloads;
mod report;
mod restore;
mod rules;
mod swap;

pub use self::backup::{Backup, backup};
pub use self::check::{Thoroughness, check};
pub use self::error::{CareError, CareErrorKind};
pub use self::manifest::{Manifest, TaskCounts};
pub use self::report::{Finding, Report, Severity};
pub use self::restore::{Permissions, Restored, restore};
pub(crate) use self::swap::refuse_half_restored;

/// The documents that a restore reads, as a disk may give them back: for `fuzzing`.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_foreign(text: &[u8]) {
    let read: Result<Manifest, _> = serde_json::from_slice(text);
    if let Ok(manifest) = read {
        let again = serde_json::to_vec(&manifest).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<Manifest>(&again).ok(), Some(manifest));
    }
    drop(serde_json::from_slice::<swap::Swap>(text));
}
