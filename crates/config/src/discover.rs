//! Finds model folders on disk and reads them. The only I/O of this crate.
//!
//! A folder with a `model.toml` or a `model.py` is a model. Any other folder is a folder of them: its subfolders that
//! are models count; those whose name starts with `.` or `_` do not, nor does anything deeper. A folder that cannot be
//! read is a mistake, never silently left out.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use cresset_task::ModelName;

use crate::mistake::{Mistake, sort};
use crate::model::{Entry, ModelConfig};
use crate::model_toml::{Folder, MODEL_TOML, parse_model};

/// The largest `model.toml` that is read: a thousand times the usual one.
const MODEL_TOML_MAX: u64 = 1 << 20;
/// Models in one folder at most; each is at least one process.
const MODELS_MAX: usize = 1024;

/// Reads the model folder, or folder of model folders, at `path`. Sorted by name. All mistakes of all of them at once.
pub fn discover(path: &Path) -> Result<Vec<ModelConfig>, Vec<Mistake>> {
    let shown = path.display().to_string();
    let root = match path.canonicalize() {
        Ok(root) if root.is_dir() => root,
        Ok(_) => {
            let mistake = Mistake::in_file(&shown, "is a file; a model is a folder");
            let parent = path
                .parent()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            return Err(vec![
                mistake.hint(format!("give the folder: {}", parent.display())),
            ]);
        }
        Err(e) => return Err(vec![cannot_read(&shown, &e)]),
    };
    if is_model(&root) {
        return read_model(path, root).map(|model| vec![model]);
    }
    let mut mistakes = Vec::new();
    let mut models = Vec::new();
    for (shown, dir) in subfolders(path, &root, &mut mistakes) {
        match read_model(&shown, dir) {
            Ok(model) => models.push((shown.join(MODEL_TOML).display().to_string(), model)),
            Err(found) => mistakes.extend(found),
        }
    }
    if models.is_empty() && mistakes.is_empty() {
        let message = format!("has no model: neither a {MODEL_TOML} or model.py, nor a folder with one");
        mistakes.push(Mistake::in_file(shown, message).hint("`cresset init DIR` writes one to start from"));
    }
    mistakes.extend(same_names(&models));
    if mistakes.is_empty() {
        let mut models: Vec<_> = models.into_iter().map(|(_, model)| model).collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    } else {
        sort(&mut mistakes);
        Err(mistakes)
    }
}

fn is_model(dir: &Path) -> bool {
    dir.join(MODEL_TOML).exists() || dir.join(Entry::default().file).is_file()
}

/// The model folders inside, as shown and as found, sorted.
fn subfolders(shown: &Path, root: &Path, mistakes: &mut Vec<Mistake>) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    let entries = match root.read_dir() {
        Ok(entries) => entries,
        Err(e) => {
            mistakes.push(cannot_read(&shown.display().to_string(), &e));
            return found;
        }
    };
    for entry in entries {
        match entry {
            Ok(entry) => {
                let hidden = entry
                    .file_name()
                    .as_encoded_bytes()
                    .first()
                    .is_some_and(|b| matches!(b, b'.' | b'_'));
                if !hidden && is_model(&entry.path()) {
                    found.push((shown.join(entry.file_name()), entry.path()));
                }
            }
            Err(e) => mistakes.push(cannot_read(&shown.display().to_string(), &e)),
        }
    }
    found.sort();
    if found.len() > MODELS_MAX {
        let message = format!("must have at most {MODELS_MAX} models, has {}", found.len());
        mistakes.push(Mistake::in_file(shown.display().to_string(), message));
        found.clear();
    }
    found
}

fn read_model(shown: &Path, dir: PathBuf) -> Result<ModelConfig, Vec<Mistake>> {
    let path = shown.join(MODEL_TOML).display().to_string();
    let text = read_text(&path, &dir.join(MODEL_TOML)).map_err(|mistake| vec![*mistake])?;
    parse_model(&path, text.as_deref(), &OnDisk(dir))
}

fn read_text(shown: &str, path: &Path) -> Result<Option<String>, Box<Mistake>> {
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(MODEL_TOML_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(cannot_read(shown, &e).into()),
        Ok(_) if bytes.len() as u64 > MODEL_TOML_MAX => {
            return Err(Mistake::in_file(shown, format!("is larger than {MODEL_TOML_MAX} bytes")).into());
        }
        Ok(_) => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(e) => {
            let line = e.as_bytes()[..e.utf8_error().valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            Err(Mistake::in_file(shown, format!("must be UTF-8 text, line {line} is not")).into())
        }
    }
}

fn cannot_read(shown: &str, error: &std::io::Error) -> Mistake {
    match error.kind() {
        ErrorKind::NotFound => Mistake::in_file(shown, "no such file or folder"),
        _ => Mistake::in_file(shown, format!("cannot be read: {error}")),
    }
}

/// A mistake for each model whose name an earlier one has.
fn same_names(models: &[(String, ModelConfig)]) -> Vec<Mistake> {
    let mut first: BTreeMap<&ModelName, &str> = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (path, model) in models {
        match first.get(&model.name) {
            Some(other) => {
                let mut mistake =
                    Mistake::in_file(path, format!("the name \"{}\" is taken by {other}", model.name));
                mistake.key = "name".into();
                mistakes.push(mistake.hint(format!("give one of them another `name` in its {MODEL_TOML}")));
            }
            None => {
                first.insert(&model.name, path);
            }
        }
    }
    mistakes
}

struct OnDisk(PathBuf);

impl Folder for OnDisk {
    fn dir(&self) -> &Path {
        &self.0
    }

    fn is_file(&self, path: &Path) -> bool {
        self.0.join(path).is_file()
    }
}
