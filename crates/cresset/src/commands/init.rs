//! `cresset init`: a model folder that serves as it is, to be changed into one's own.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use cresset_config::{MODEL_TOML, ModelKind, default_model_toml};
use cresset_task::ModelName;

use crate::exit::{Exit, Trouble};
use crate::out;

const OBJECT_MODEL: &str = include_str!("init_templates/object_model.py");
const OBJECT_REQUIREMENTS: &str = include_str!("init_templates/object_requirements.txt");
const TENSOR_MODEL: &str = include_str!("init_templates/tensor_model.py");
const TENSOR_REQUIREMENTS: &str = include_str!("init_templates/tensor_requirements.txt");

/// Writes a new model folder that can be served at once: model.toml, model.py, requirements.txt.
///
/// An object model gets a list of JSON payloads; a tensor model declares its inputs and gets them stacked as torch
/// tensors. Never writes over a file that is there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset init sentiment && cresset serve sentiment\n  \
    cresset init models/digits --tensor")]
pub(crate) struct InitArgs {
    /// The folder; its name becomes the model's name
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// An object model: any JSON in, any JSON out; needs no packages (the default)
    #[arg(long, conflicts_with = "tensor")]
    object: bool,
    /// A tensor model: declared tensors in and out; needs torch
    #[arg(long)]
    tensor: bool,
}

pub(crate) fn run(args: &InitArgs) -> Result<Exit, Trouble> {
    let name = name_of(&args.dir)?;
    let kind = if args.tensor {
        ModelKind::Tensor
    } else {
        ModelKind::Object
    };
    let files = files(kind);
    for (file, _) in &files {
        let path = args.dir.join(file);
        if path.symlink_metadata().is_ok() {
            return Err(in_the_way(&path));
        }
    }
    std::fs::create_dir_all(&args.dir).map_err(|error| {
        Trouble::new(
            Exit::CANNOT_CREATE,
            format!("cannot make the folder {}: {error}", args.dir.display()),
        )
    })?;
    for (file, text) in &files {
        write_new(&args.dir.join(file), text)?;
    }
    out::note(&next_steps(&args.dir, &name, kind));
    Ok(Exit::OK)
}

fn files(kind: ModelKind) -> [(&'static str, String); 3] {
    let (model, requirements) = match kind {
        ModelKind::Object => (OBJECT_MODEL, OBJECT_REQUIREMENTS),
        ModelKind::Tensor => (TENSOR_MODEL, TENSOR_REQUIREMENTS),
    };
    [
        (MODEL_TOML, default_model_toml(kind)),
        ("model.py", model.to_owned()),
        ("requirements.txt", requirements.to_owned()),
    ]
}

/// Writes a file that must not be there yet.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), Trouble> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => in_the_way(path),
        _ => Trouble::new(
            Exit::CANNOT_CREATE,
            format!("cannot write {}: {error}", path.display()),
        ),
    })
}

fn in_the_way(path: &Path) -> Trouble {
    Trouble::new(
        Exit::CANNOT_CREATE,
        format!("{} is there already; nothing was written", path.display()),
    )
    .hint("name another place, or move that file away")
}

/// The model's name is the folder's.
fn name_of(dir: &Path) -> Result<ModelName, Trouble> {
    let absolute = std::path::absolute(dir).map_err(|error| Trouble::file("find", dir, &error))?;
    let name = absolute
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    name.parse().map_err(|rule| {
        let trouble = Trouble::new(
            Exit::USAGE,
            format!("the folder's name becomes the model's, and `{name}` cannot: {rule}"),
        );
        let better: String = name
            .to_lowercase()
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        match better.trim_start_matches(['-', '_', '.']).parse::<ModelName>() {
            Ok(better) => trouble.hint(format!(
                "cresset init {}",
                dir.with_file_name(better.as_str()).display()
            )),
            Err(_) => trouble.hint("such as `cresset init my-model`"),
        }
    })
}

fn next_steps(dir: &Path, name: &ModelName, kind: ModelKind) -> String {
    let (input, size) = match kind {
        ModelKind::Object => (r#"{"text": "a good day"}"#, ""),
        ModelKind::Tensor => ("[1, 2, 3, 4]", "   # the first time fetches torch: several GB"),
    };
    format!(
        "wrote {MODEL_TOML}, model.py and requirements.txt in {dir}; now\n  cresset serve {dir}{size}\n  cresset submit \
         {name} --json '{input}' --wait",
        dir = dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_name_must_be_a_models_name_and_a_better_one_is_offered() {
        assert_eq!(
            name_of(Path::new("models/digits-2/")).unwrap().as_str(),
            "digits-2"
        );
        assert!(name_of(Path::new(".")).is_ok());
        let text = name_of(Path::new("models/My Model")).unwrap_err().to_string();
        assert!(text.ends_with("hint: cresset init models/my-model"), "{text}");
        let text = name_of(Path::new("/")).unwrap_err().to_string();
        assert!(text.ends_with("hint: such as `cresset init my-model`"), "{text}");
    }
}
