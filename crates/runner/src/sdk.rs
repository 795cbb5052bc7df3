//! The Python package that runs inside instances, carried in this binary and unpacked into the cache once.
//!
//! It depends on nothing but the standard library, and reaches the model's Python through `PYTHONPATH`: nothing is
//! installed into anybody's environment. Its folder is named by a hash of its contents, so servers of different versions
//! share a cache without meeting.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Path inside the package folder, and contents. Made by build.rs.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));

/// Hex digits of the hash in the folder's name.
const HASH_LEN: usize = 16;

/// The package could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[error("unpacking the Python package to {path}: {source}")]
pub struct SdkError {
    path: PathBuf,
    source: io::Error,
}

/// Unpacks the package under the cache folder, unless it is there already, and gives the folder for `PYTHONPATH`
/// (absolute). Blocks for a few milliseconds the first time.
pub fn unpack(cache_dir: &Path) -> Result<PathBuf, SdkError> {
    unpack_files(FILES, cache_dir)
}

fn unpack_files(files: &[(&str, &[u8])], cache_dir: &Path) -> Result<PathBuf, SdkError> {
    let home = std::path::absolute(cache_dir)
        .unwrap_or_else(|_| cache_dir.to_owned())
        .join("sdk");
    let place = home.join(hash(files));
    if is_whole(files, &place) {
        return Ok(place);
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| SdkError { path, source }
    };
    std::fs::create_dir_all(&home).map_err(at(&home))?;
    let lock = home.join(".lock");
    let held = std::fs::File::create(&lock).map_err(at(&lock))?;
    held.lock().map_err(at(&lock))?; // until `held` is closed
    if is_whole(files, &place) {
        return Ok(place); // another process was faster
    }
    // Left by a process that was killed here; and a package that a cleaner of old files has been at.
    let aside = home.join(".tmp");
    for old in [&aside, &place] {
        match std::fs::remove_dir_all(old) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at(old)(e)),
            _ => {}
        }
    }
    for (name, contents) in files {
        let path = aside.join(name);
        let folder = path.parent().unwrap_or(&aside);
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        std::fs::write(&path, contents).map_err(at(&path))?;
    }
    std::fs::rename(&aside, &place).map_err(at(&place))?;
    Ok(place)
}

fn hash(files: &[(&str, &[u8])]) -> String {
    let mut hash = Sha256::new();
    for (name, contents) in files {
        for part in [name.as_bytes(), contents] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let mut hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(HASH_LEN);
    hex
}

fn is_whole(files: &[(&str, &[u8])], place: &Path) -> bool {
    files
        .iter()
        .all(|(name, contents)| std::fs::read(place.join(name)).is_ok_and(|there| there == *contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_carried_without_its_by_products() {
        let names: Vec<_> = FILES.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"cresset/__init__.py"), "{names:?}");
        assert!(names.contains(&"cresset/runner/__main__.py"), "{names:?}");
        assert!(
            !names
                .iter()
                .any(|n| n.contains("__pycache__") || n.ends_with(".pyc")),
            "{names:?}"
        );
    }

    #[test]
    fn it_is_unpacked_once_and_mended_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let place = unpack(dir.path()).unwrap();
        assert!(place.starts_with(dir.path().join("sdk")));
        let file = place.join("cresset/__init__.py");
        let time = std::fs::metadata(&file).unwrap().modified().unwrap();
        assert_eq!(unpack(dir.path()).unwrap(), place);
        assert_eq!(
            std::fs::metadata(&file).unwrap().modified().unwrap(),
            time,
            "it was left alone"
        );
        std::fs::remove_file(&file).unwrap();
        assert_eq!(unpack(dir.path()).unwrap(), place);
        assert!(file.exists());
        assert!(!dir.path().join("sdk/.tmp").exists(), "nothing is left aside");
    }

    #[test]
    fn many_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let places: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| unpack(dir.path()).unwrap()))
                .collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(places.iter().all(|p| *p == places[0] && is_whole(FILES, p)));
    }

    #[test]
    fn another_version_gets_another_folder() {
        let dir = tempfile::tempdir().unwrap();
        let one = unpack_files(&[("cresset/a.py", b"1")], dir.path()).unwrap();
        let two = unpack_files(&[("cresset/a.py", b"2")], dir.path()).unwrap();
        assert_ne!(one, two);
        assert_eq!(std::fs::read(one.join("cresset/a.py")).unwrap(), b"1");
    }
}
