//! What lies beside a database.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The payload files of a database, by their path below its folder for them.
pub(crate) fn payload_files(database: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = beside(database, ".payloads");
    let mut found = BTreeMap::new();
    for shard in fs::read_dir(&folder).into_iter().flatten() {
        for file in fs::read_dir(shard.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            // One that was removed since it was listed is not there.
            if let Ok(bytes) = fs::read(&path) {
                found.insert(path.strip_prefix(&folder).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}
