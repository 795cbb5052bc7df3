//! `cresset check`: every mistake in the settings and the model folders at once, without starting anything.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use cresset_config::{Mistake, ModelConfig, render_all};
use serde::Serialize;

use crate::args::settings::{FileArgs, SettingsArgs};
use crate::exit::{Exit, Trouble};
use crate::out::{self, Table};
use crate::serve::{canary, door};

/// Checks the settings and the model folders, and reports every mistake at once.
///
/// On a terminal each mistake comes with its line and a caret; in a pipe each is one line: FILE:LINE:COLUMN: KEY: what is
/// wrong. Exits 65 when there is a mistake.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset check models\n  \
    cresset check examples/digits --json\n  \
    cresset check && cresset serve")]
pub(crate) struct CheckArgs {
    /// One model folder, or a folder of them; what the settings say if not given
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    mistakes: &'a [Mistake],
    models: Vec<Good<'a>>,
}

#[derive(Serialize)]
struct Good<'a> {
    name: &'a str,
    version: &'a str,
    kind: &'static str,
    dir: String,
}

pub(crate) fn run(args: &CheckArgs) -> Result<Exit, Trouble> {
    let look = SettingsArgs::of(args.file.clone(), args.dir.as_deref()).look();
    let (mistakes, errors) = (&look.mistakes, look.errors());
    if args.json {
        out::json(&Document {
            ok: errors == 0,
            mistakes,
            models: look.models.iter().map(good).collect(),
        })?;
    } else {
        if std::io::stdout().is_terminal() {
            out::raw(render_all(mistakes).as_bytes())?;
        } else {
            out::raw(
                mistakes
                    .iter()
                    .map(|mistake| format!("{mistake}\n"))
                    .collect::<String>()
                    .as_bytes(),
            )?;
        }
        if errors == 0 {
            out::raw(table(&look.models).as_bytes())?;
        }
    }
    if let Some(effective) = &look.effective {
        door::certificate(&effective.config)?;
    }
    if errors == 0 {
        look.models
            .iter()
            .try_for_each(|model| canary::read(model).map(drop))?;
    }
    match errors {
        0 => Ok(Exit::OK),
        1 => Err(Trouble::new(Exit::DATA, "1 mistake")),
        errors => Err(Trouble::new(Exit::DATA, format!("{errors} mistakes"))),
    }
}

fn good(model: &ModelConfig) -> Good<'_> {
    Good {
        name: model.name.as_str(),
        version: &model.version,
        kind: model.kind().name(),
        dir: model.dir.display().to_string(),
    }
}

fn table(models: &[ModelConfig]) -> String {
    let mut table = Table::new(&["MODEL", "VERSION", "KIND", "DIR"]);
    for model in models.iter().map(good) {
        table.row([
            model.name.to_owned(),
            model.version.to_owned(),
            model.kind.to_owned(),
            model.dir,
        ]);
    }
    table.render()
}
