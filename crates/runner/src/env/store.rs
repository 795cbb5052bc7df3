//! The environments that are there: what they are, how large, when they were last used; and removing them.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::uv::remove;
use super::{EnvError, EnvKey, EnvManager, lock};

/// What an environment was built from.
const RECIPE: &str = ".cresset-env.json";
/// Its time of modification is when the environment was last used.
const LAST_USED: &str = ".cresset-last-used";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Recipe {
    pub(super) python: String,
    pub(super) requirements: String,
}

/// An environment that is there.
#[derive(Clone, Debug)]
pub struct EnvInfo {
    /// Its key.
    pub key: EnvKey,
    /// Its folder.
    pub path: PathBuf,
    /// The version of its Python.
    pub python: String,
    /// Its requirements, normalised.
    pub requirements: String,
    /// When a model last used it.
    pub last_used: Option<SystemTime>,
    /// Bytes on disk of all its files, wherever else they are linked.
    pub bytes: u64,
    /// Bytes that removing it frees: files that uv's cache or another environment shares with it stay.
    pub bytes_own: u64,
    /// True while a running process uses it.
    pub in_use: bool,
}

/// What a prune did.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// Removed.
    pub removed: Vec<EnvInfo>,
    /// Not asked to be kept, but in use.
    pub in_use: Vec<EnvInfo>,
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> EnvError {
    let path = path.to_owned();
    move |source| EnvError::Io { what, path, source }
}

pub(super) fn write_recipe(env: &Path, recipe: &Recipe) -> Result<(), EnvError> {
    let path = env.join(RECIPE);
    let text = serde_json::to_vec_pretty(recipe).map_err(|e| io("writing", &path)(e.into()))?;
    std::fs::write(&path, text).map_err(io("writing", &path))
}

pub(super) fn touch(env: &Path) -> Result<(), EnvError> {
    let path = env.join(LAST_USED);
    std::fs::write(&path, b"").map_err(io("marking as used", &path))
}

impl EnvManager {
    /// All environments, by key. Walks their files: call it where blocking is allowed.
    pub fn list(&self) -> Result<Vec<EnvInfo>, EnvError> {
        let envs = self.envs_dir();
        let entries = match std::fs::read_dir(&envs) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io("listing", &envs))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io("listing", &envs))?;
            let Some(key) = entry.file_name().to_str().and_then(EnvKey::from_name) else {
                continue;
            };
            all.push(self.info(key)?);
        }
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }

    fn info(&self, key: EnvKey) -> Result<EnvInfo, EnvError> {
        let path = self.path_of(&key);
        let recipe = std::fs::read(path.join(RECIPE)).map_err(io("reading", &path.join(RECIPE)))?;
        let recipe: Recipe =
            serde_json::from_slice(&recipe).map_err(|e| io("reading", &path.join(RECIPE))(e.into()))?;
        let mut sizes = Sizes::default();
        sizes.add(&path).map_err(io("measuring", &path))?;
        let last_used = std::fs::metadata(path.join(LAST_USED))
            .and_then(|m| m.modified())
            .ok();
        let in_use = lock::try_exclusive(&self.use_lock(&key))?.is_none();
        Ok(EnvInfo {
            python: recipe.python,
            requirements: recipe.requirements,
            last_used,
            bytes: sizes.all,
            bytes_own: sizes.own,
            in_use,
            key,
            path,
        })
    }

    fn use_lock(&self, key: &EnvKey) -> PathBuf {
        self.envs_dir().join(format!("{key}.use"))
    }

    /// Removes every environment that is neither to be kept nor in use, and what cut-off builds have left. uv's cache
    /// stays: see [`EnvManager::clear_downloads`]. Blocks.
    pub fn prune(&self, keep: &HashSet<EnvKey>) -> Result<Pruned, EnvError> {
        let mut pruned = Pruned::default();
        for info in self.list()? {
            if keep.contains(&info.key) {
                continue;
            }
            match lock::try_exclusive(&self.use_lock(&info.key))? {
                None => pruned.in_use.push(info),
                Some(_held) => {
                    // Out of the way first, in one step: half an environment never has a whole one's name.
                    let aside = self.envs_dir().join(format!(".tmp-{}", info.key));
                    remove(&aside).map_err(io("removing", &aside))?;
                    std::fs::rename(&info.path, &aside).map_err(io("renaming", &info.path))?;
                    remove(&aside).map_err(io("removing", &aside))?;
                    pruned.removed.push(info);
                }
            }
        }
        self.remove_leftovers()?;
        Ok(pruned)
    }

    fn remove_leftovers(&self) -> Result<(), EnvError> {
        let envs = self.envs_dir();
        let entries = match std::fs::read_dir(&envs) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(io("listing", &envs))?,
        };
        for entry in entries {
            let entry = entry.map_err(io("listing", &envs))?;
            let name = entry.file_name();
            let Some(key) = name
                .to_str()
                .and_then(|n| n.strip_prefix(".tmp-"))
                .and_then(EnvKey::from_name)
            else {
                continue;
            };
            if let Some(_nobody_builds) = lock::try_exclusive(&envs.join(format!("{key}.build")))? {
                remove(&entry.path()).map_err(io("removing", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Removes uv's cache (the one inside our cache folder; not one that `UV_CACHE_DIR` names) and gives the bytes that
    /// this freed. Environments keep working: their files are links of their own. The next build fetches anew. Blocks.
    pub fn clear_downloads(&self) -> Result<u64, EnvError> {
        let cache = self.uv_cache();
        let mut sizes = Sizes::default();
        match sizes.add(&cache) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            added => added.map_err(io("measuring", &cache))?,
        }
        remove(&cache).map_err(io("removing", &cache))?;
        Ok(sizes.own)
    }
}

/// Sizes on disk of a folder's files.
#[derive(Debug, Default)]
struct Sizes {
    all: u64,
    /// Of files with no further link outside of the folder.
    own: u64,
    /// Links seen inside, for files that have several.
    links: std::collections::HashMap<(u64, u64), u64>,
}

impl Sizes {
    fn add(&mut self, path: &Path) -> std::io::Result<()> {
        /// What `st_blocks` counts in, whatever the file system's own blocks are.
        const BLOCK: u64 = 512;
        let meta = std::fs::symlink_metadata(path)?;
        let bytes = meta.blocks() * BLOCK;
        if meta.is_dir() {
            self.all += bytes;
            self.own += bytes;
            for entry in std::fs::read_dir(path)? {
                match self.add(&entry?.path()) {
                    // Somebody removed it meanwhile (a `__pycache__` that was renewed).
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    added => added?,
                }
            }
            return Ok(());
        }
        let seen = self.links.entry((meta.dev(), meta.ino())).or_default();
        *seen += 1;
        if *seen == 1 {
            self.all += bytes;
        }
        if *seen == meta.nlink() {
            self.own += bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_linked_elsewhere_are_not_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let (env, cache) = (dir.path().join("env"), dir.path().join("cache"));
        std::fs::create_dir(&env).unwrap();
        std::fs::create_dir(&cache).unwrap();
        let size_of = |env: &Path| {
            let mut sizes = Sizes::default();
            sizes.add(env).unwrap();
            (sizes.all, sizes.own)
        };
        let (empty, _) = size_of(&env);
        std::fs::write(cache.join("shared"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(cache.join("shared"), env.join("a")).unwrap();
        std::fs::hard_link(cache.join("shared"), env.join("b")).unwrap();
        std::fs::write(env.join("own"), vec![1; 10_000]).unwrap();
        std::fs::hard_link(env.join("own"), env.join("own2")).unwrap();
        let (all, own) = size_of(&env);
        assert!((110_000..130_000).contains(&(all - empty)), "{all}");
        assert!((10_000..20_000).contains(&(own - empty)), "{own}");
        std::fs::remove_dir_all(&cache).unwrap();
        assert_eq!(size_of(&env), (all, all), "now all of it is its own");
    }
}
