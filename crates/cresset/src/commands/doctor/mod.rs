//! `cresset doctor`: everything around a server that can be looked at without starting one, and what to do about what is wrong.
//!
//! Each part of it looks at one thing and adds lines to a list; none changes anything, and none stops the others. Taking the
//! lock of a store for the moment of the check is the one thing that others could notice.

mod broker;
mod database;
mod inbox;
mod line;
mod machine;
mod models;
mod port;
mod store;

use clap::Args;
use cresset_config::Severity;

use self::line::Lines;
use crate::args::settings::SettingsArgs;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Looks at everything a server needs and says what is wrong, with what to do about it. Changes nothing.
///
/// Settings and models, each model's Python (does it run, which torch, does it see CUDA), the address (who has it), the data
/// folder (file system, space), the task store (lock, schema, a quick check), the broker if there is one, the limits of the process and its cgroup, uv, versions.
/// Takes the arguments that `cresset serve` takes. Exits 1 when something fails; a warning is no failure.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset doctor\n  \
    cresset doctor models --data-dir /var/lib/cresset\n  \
    cresset doctor --config /etc/cresset.toml --json")]
pub(crate) struct DoctorArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<Exit, Trouble> {
    let mut lines = Lines::default();
    machine::versions(&mut lines);
    let look = args.settings.look();
    for mistake in &look.mistakes {
        match mistake.severity {
            Severity::Error => lines.fail(
                "config",
                mistake.to_string(),
                "mend it; `cresset check` shows the line",
            ),
            Severity::Warning => lines.warn("config", mistake.to_string(), "mend it, or leave it"),
        }
    }
    if look.errors() == 0 {
        let names: Vec<&str> = look.models.iter().map(|model| model.name.as_str()).collect();
        lines.ok(
            "config",
            format!("the settings are valid; models: {}", names.join(", ")),
        );
    }
    if let Some(effective) = &look.effective {
        let config = &effective.config;
        let server = store::look(config, &mut lines)?;
        broker::look_at(config, &mut lines)?;
        port::look(config, server.as_deref(), &mut lines);
        models::look(config, &look.models, &mut lines)?;
        machine::limits(config, &look.models, &mut lines);
    }
    if args.json {
        out::json(&lines.document())?;
    } else {
        out::raw(lines.render().as_bytes())?;
        out::note(&lines.summary());
    }
    Ok(if lines.failures() == 0 {
        Exit::OK
    } else {
        Exit::FOUND_WRONG
    })
}
