//! Each model's Python: is it there, does it run, which torch has it, does that see CUDA and why not.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cresset_config::{ModelConfig, ServerConfig};
use cresset_runner::EnvManager;
use cresset_runner::env::Present;
use serde::Deserialize;

use super::line::Lines;
use crate::args;
use crate::exit::Trouble;

/// Importing torch takes seconds, from a cold disk a minute; longer is an import that hangs.
const PROBE_LIMIT: Duration = Duration::from_secs(120);
/// Of what a Python says when it fails, the end is shown.
const SAID_MAX: usize = 300;

/// Asks a Python what it has. Imports nothing of the model's.
const PROBE: &str = r#"
import json, os, sys
told = {"python": sys.version.split()[0]}
try:
    import torch
    told["torch"] = torch.__version__
    told["built_for"] = torch.version.cuda
    told["devices"] = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if told["built_for"] and not told["devices"]:
        try:
            torch.cuda.init()
        except Exception as error:
            told["why"] = str(error)
except ModuleNotFoundError as error:
    if error.name != "torch":
        told["broken"] = repr(error)
except Exception as error:
    told["broken"] = repr(error)
told["hidden"] = os.environ.get("CUDA_VISIBLE_DEVICES")
print(json.dumps(told))
"#;

/// What a Python told.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Told {
    python: String,
    torch: Option<String>,
    /// The CUDA that torch was built for.
    built_for: Option<String>,
    devices: Option<u32>,
    why: Option<String>,
    broken: Option<String>,
    /// `CUDA_VISIBLE_DEVICES`.
    hidden: Option<String>,
}

pub(super) fn look(config: &ServerConfig, models: &[ModelConfig], lines: &mut Lines) -> Result<(), Trouble> {
    let manager = EnvManager::new(&config.cache_dir);
    let wants_uv = models
        .iter()
        .any(|model| model.environment.requirements.is_some());
    match (manager.uv_present(), wants_uv) {
        (Some(uv), _) => lines.ok("uv", uv.display().to_string()),
        (None, false) => lines.ok("uv", "not there, and no model has requirements"),
        (None, true) => lines.warn(
            "uv",
            "not there; the first start installs it from the package index",
            "install uv, or see that the index can be reached",
        ),
    }
    args::block_on(async {
        for model in models {
            look_at(&manager, model, lines).await;
        }
        Ok(())
    })
}

async fn look_at(manager: &EnvManager, model: &ModelConfig, lines: &mut Lines) {
    let area = format!("model {}", model.name);
    if let Some(call) = &model.celery.call {
        return lines.ok(
            area,
            format!("Celery workers run it, as the task `{}`", call.task),
        );
    }
    let python = match manager.present(model).await {
        Ok(Present::Python(python)) => python,
        Ok(Present::NotBuilt(requirements)) => {
            let text = format!("its environment is not built yet ({})", requirements.display());
            let remedy = format!(
                "`cresset env build {}`, or let the first start do it",
                model.dir.display()
            );
            return lines.warn(area, text, remedy);
        }
        Ok(Present::NotFetched(version)) => {
            let text = format!("there is no Python {version} on the PATH; the first start has uv fetch it");
            return lines.warn(
                area,
                text,
                format!("install Python {version}, or let the first start do it"),
            );
        }
        Err(error) => return lines.fail(area, error.to_string(), "mend `environment` in its model.toml"),
    };
    match probe(&python, model).await {
        Ok(told) => judge(&area, &python, &told, wants_cuda(model), lines),
        // It may be no Python, but another program that speaks the runner protocol.
        Err(why) if model.environment.python.is_some() => lines.warn(
            area,
            format!("{} does not answer as a Python would: {why}", python.display()),
            "if it is meant to be one, mend environment.python in its model.toml",
        ),
        Err(why) => lines.fail(
            area,
            format!("{} does not run: {why}", python.display()),
            "`cresset env prune --all` and start again, or mend that Python",
        ),
    }
}

fn wants_cuda(model: &ModelConfig) -> bool {
    model
        .instances
        .devices
        .iter()
        .any(|device| device.starts_with("cuda"))
}

async fn probe(python: &Path, model: &ModelConfig) -> Result<Told, String> {
    let run = tokio::process::Command::new(python)
        .args(["-c", PROBE])
        .envs(&model.environment.variables)
        .current_dir(&model.dir)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(PROBE_LIMIT, run)
        .await
        .map_err(|_| format!("it did not answer in {} s", PROBE_LIMIT.as_secs()))?
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&ended.stdout);
    // A torch may print more; ours is the last line.
    let told = said
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    told.ok_or_else(|| {
        let said = String::from_utf8_lossy(&ended.stderr);
        let skip = said.chars().count().saturating_sub(SAID_MAX);
        format!(
            "{}: {}",
            ended.status,
            said.chars().skip(skip).collect::<String>()
        )
    })
}

fn judge(area: &str, python: &Path, told: &Told, wants_cuda: bool, lines: &mut Lines) {
    let shown = python.display();
    if let Some(broken) = &told.broken {
        return lines.fail(
            area,
            format!("{shown}: Python {}, and torch cannot be imported: {broken}", told.python),
            "reinstall torch there; for an environment of ours `cresset env prune --all`, then `cresset env build`",
        );
    }
    let Some(torch) = &told.torch else {
        let text = format!("{shown}: Python {}, without torch", told.python);
        return if wants_cuda {
            lines.fail(area, text, "add torch to its requirements.txt")
        } else {
            lines.warn(
                area,
                text,
                "add torch to its requirements.txt, unless it does without",
            )
        };
    };
    let (sees, why) = cuda(told);
    let text = format!("{shown}: Python {}, torch {torch}, {why}", told.python);
    if wants_cuda && !sees {
        let remedy = match &told.built_for {
            None => "install a torch that is built for CUDA, or set instances.devices = [\"cpu\"]",
            Some(_) => {
                "see that `nvidia-smi` lists a device for this user, or set instances.devices = [\"cpu\"]"
            }
        };
        lines.fail(area, text, remedy);
    } else {
        lines.ok(area, text);
    }
}

/// Whether CUDA can be used, and why.
fn cuda(told: &Told) -> (bool, String) {
    match (&told.built_for, told.devices.unwrap_or(0)) {
        (None, _) => (false, "no CUDA: this torch is built without it".into()),
        (Some(cuda), 0) => {
            let hidden = told
                .hidden
                .as_ref()
                .map(|value| format!(" (CUDA_VISIBLE_DEVICES={value:?})"));
            let why = told.why.as_deref().unwrap_or("no device is visible");
            (
                false,
                format!("no CUDA: built for {cuda}, {why}{}", hidden.unwrap_or_default()),
            )
        }
        (Some(cuda), 1) => (true, format!("CUDA {cuda} with 1 device")),
        (Some(cuda), devices) => (true, format!("CUDA {cuda} with {devices} devices")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_python_reads_well() {
        let python = |torch: Option<&str>, built_for: Option<&str>, devices, why: Option<&str>| Told {
            python: "3.11.7".into(),
            torch: torch.map(Into::into),
            built_for: built_for.map(Into::into),
            devices,
            why: why.map(Into::into),
            ..Told::default()
        };
        let hidden = Told {
            hidden: Some(String::new()),
            ..python(Some("2.9.0"), Some("12.8"), Some(0), None)
        };
        let broken = Told {
            broken: Some("OSError('libcudart.so.12: cannot open shared object file')".into()),
            ..python(None, None, None, None)
        };
        let mut lines = Lines::default();
        for (told, wants) in [
            (python(Some("2.9.0"), Some("12.8"), Some(2), None), true),
            (python(Some("2.9.0+cpu"), None, Some(0), None), false),
            (python(Some("2.9.0+cpu"), None, Some(0), None), true),
            (
                python(
                    Some("2.9.0"),
                    Some("12.8"),
                    Some(0),
                    Some("Found no NVIDIA driver"),
                ),
                true,
            ),
            (hidden, true),
            (python(None, None, None, None), false),
            (python(None, None, None, None), true),
            (broken, false),
        ] {
            judge(
                "model digits",
                Path::new("/venv/bin/python"),
                &told,
                wants,
                &mut lines,
            );
        }
        insta::assert_snapshot!(lines.render());
    }
}
