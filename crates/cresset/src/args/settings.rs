//! The settings of a server as flags: one for each entry of the table in `cresset-config`, so that none can be
//! forgotten, and where `cresset.toml` is looked for.
//!
//! Values are handed on as text: the settings check them all at once, those of the file and the environment too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, builder::ValueParser};
use cresset_config::{
    Effective, GivenFlag, Mistake, ModelConfig, Origin, SETTINGS, Setting, SettingsFile, Severity, discover,
};

/// Read when no other file is named and it is there.
const DEFAULT_FILE: &str = "cresset.toml";
/// The largest settings file that is read: a thousand times the usual one.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The positional argument among the settings.
const MODELS: &str = "models";
/// Its key.
const MODELS_KEY: &str = "server.models";

/// Which settings file to read.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FileArgs {
    /// The settings file; ./cresset.toml if it is there and no other is named
    #[arg(long, value_name = "FILE", env = "CRESSET_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

/// Every setting as a flag, and the models' folder as argument.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingsArgs {
    file: FileArgs,
    given: Vec<GivenFlag>,
}

/// What looking at settings and models has found.
pub(crate) struct Look {
    /// Errors and warnings of both.
    pub(crate) mistakes: Vec<Mistake>,
    /// The settings, when they have no error.
    pub(crate) effective: Option<Effective>,
    /// The models, when they have no error.
    pub(crate) models: Vec<ModelConfig>,
}

impl Look {
    /// How many of the mistakes stop us.
    pub(crate) fn errors(&self) -> usize {
        self.mistakes
            .iter()
            .filter(|mistake| mistake.severity == Severity::Error)
            .count()
    }
}

impl SettingsArgs {
    /// Only a settings file and, perhaps, the models' folder.
    pub(crate) fn of(file: FileArgs, models: Option<&Path>) -> Self {
        Self {
            file,
            given: Vec::new(),
        }
        .with("DIR", MODELS_KEY, models)
    }

    /// One setting more: the one with this key, from the flag of this name, if it was given.
    pub(crate) fn with(mut self, name: &str, key: &str, value: Option<&Path>) -> Self {
        self.given.extend(value.map(|value| GivenFlag {
            name: name.to_owned(),
            key: key.to_owned(),
            value: value.to_string_lossy().into_owned(),
        }));
        self
    }

    /// The models' folder, when the command line names it.
    fn models(&self) -> Option<PathBuf> {
        self.given(MODELS_KEY).map(PathBuf::from)
    }

    /// What a flag sets this to, if one does.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        let flag = self.given.iter().find(|flag| flag.key == key)?;
        Some(&flag.value)
    }

    /// What was given for the one setting is meant for the other.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let given = self.given.iter_mut().filter(|flag| flag.key == from);
        given.for_each(|flag| to.clone_into(&mut flag.key));
    }

    /// The settings and the models they name; every mistake in both.
    pub(crate) fn look(&self) -> Look {
        self.look_at(true)
    }

    /// The same where models need not be named: those in the default folder are not looked for.
    pub(crate) fn look_without_models(&self) -> Look {
        self.look_at(false)
    }

    fn look_at(&self, needs_models: bool) -> Look {
        let (mut mistakes, effective) = match self.resolve() {
            Ok(mut effective) => (std::mem::take(&mut effective.warnings), Some(effective)),
            Err(mistakes) => (mistakes, None),
        };
        // Which folder wrong settings mean is not known; one that the command line names is looked at all the same.
        let dir = effective
            .as_ref()
            .filter(|effective| needs_models || effective.origins.get(MODELS_KEY) != Some(&Origin::Default))
            .map(|effective| effective.config.models.clone())
            .or_else(|| self.models());
        let models = match dir.as_deref().map(discover) {
            Some(Ok(models)) => models,
            Some(Err(found)) => {
                mistakes.extend(found);
                Vec::new()
            }
            None => Vec::new(),
        };
        if let Some(effective) = effective.as_ref().filter(|_| !models.is_empty()) {
            let celery = &effective.config.celery;
            mistakes.extend(celery.routes(&models).err().unwrap_or_default());
            mistakes.extend(celery.check_calls(&models));
        }
        Look {
            mistakes,
            effective,
            models,
        }
    }

    /// Defaults, file, environment and flags, the later over the earlier; or every mistake in all of them.
    pub(crate) fn resolve(&self) -> Result<Effective, Vec<Mistake>> {
        let (path, named) = match &self.file.config {
            Some(path) => (path.as_path(), true),
            None => (Path::new(DEFAULT_FILE), false),
        };
        let mut unread = Vec::new();
        let text = match read(path, named) {
            Ok(text) => text,
            Err(mistake) => {
                unread.push(*mistake);
                None
            }
        };
        let file = text.as_deref().map(|text| SettingsFile { path, text });
        match Effective::resolve(
            file,
            std::env::vars_os().collect::<Vec<(OsString, OsString)>>(),
            &self.given,
        ) {
            Ok(effective) if unread.is_empty() => Ok(effective),
            Ok(effective) => Err(unread.into_iter().chain(effective.warnings).collect()),
            Err(mistakes) => Err(unread.into_iter().chain(mistakes).collect()),
        }
    }
}

/// The text of a settings file; `None` when it is not there and was not named.
fn read(path: &Path, named: bool) -> Result<Option<String>, Box<Mistake>> {
    use std::io::{ErrorKind, Read as _};
    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
            return Err(Mistake::in_file(shown, format!("is larger than {FILE_BYTES_MAX} bytes")).into());
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && !named => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Mistake::in_file(shown, "no such file")
                .hint("`cresset config init FILE` writes one")
                .into());
        }
        Err(error) => return Err(Mistake::in_file(shown, format!("cannot be read: {error}")).into()),
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Box::new(Mistake::in_file(shown, "must be UTF-8 text")))?;
    Ok(Some(text))
}

fn argument(setting: &'static Setting) -> Arg {
    let id = setting.flag;
    let default = setting.default_text().replace('`', "");
    let origin = format!("[default: {}] [env: {}]", default.trim_matches('"'), setting.env);
    // Bytes that are not UTF-8 are refused by clap, which names the flag.
    let argument = Arg::new(id).value_parser(ValueParser::string());
    if id == MODELS {
        return argument
            .value_name("DIR")
            .help(format!("A model folder, or a folder of them {origin}"));
    }
    let argument = argument
        .long(id)
        .help(format!("{} {origin}", setting.doc()))
        .help_heading("Settings")
        .allow_negative_numbers(true);
    if setting.is_switch() {
        argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
    } else {
        argument.value_name("VALUE")
    }
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = SETTINGS.iter().filter_map(|setting| {
            let value = matches.get_one::<String>(setting.flag)?.clone();
            let name = if setting.flag == MODELS {
                "DIR".to_owned()
            } else {
                format!("--{}", setting.flag)
            };
            Some(GivenFlag {
                name,
                key: setting.path().to_owned(),
                value,
            })
        });
        Ok(Self {
            file: FileArgs::from_arg_matches(matches)?,
            given: given.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        FileArgs::augment_args(command).args(SETTINGS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
