//! What the process of an instance is started with: program, environment, folder.
//!
//! The process inherits the server's environment, except what is named `CRESSET_*`: those are the server's settings, and
//! may hold its secrets. On top come the thread settings, then the model's own variables (`[environment.variables]`,
//! which may overrule them), then what the runner protocol needs (which they may not). It works in the model's folder, so
//! that a model may open its files by their names; `PYTHONSAFEPATH` keeps that folder from hiding modules of the
//! standard library. `CUDA_VISIBLE_DEVICES` is left as it is and the device goes in HELLO, so that `cuda:1` in model.toml
//! is the device that the operator knows by that number.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cresset_config::ModelConfig;
use cresset_task::InstanceId;

use crate::spawn::Launch;

/// The module that speaks the protocol in a Python instance.
const MODULE: &str = "cresset.runner";

/// The process of one instance of a model.
pub(crate) fn launch(
    config: &ModelConfig,
    instance: InstanceId,
    threads: usize,
    interpreter: PathBuf,
    sdk: &Path,
    control: OwnedFd,
) -> Launch {
    let inherited = std::env::vars_os();
    Launch {
        program: interpreter,
        args: ["-m", MODULE].map(OsString::from).into(),
        env: environment(inherited, config, instance, threads, sdk)
            .into_iter()
            .collect(),
        dir: config.dir.clone(),
        control,
    }
}

fn environment(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    config: &ModelConfig,
    instance: InstanceId,
    threads: usize,
    sdk: &Path,
) -> BTreeMap<OsString, OsString> {
    let mut env: BTreeMap<OsString, OsString> = inherited
        .filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"CRESSET_"))
        .collect();
    let mut set = |name: &str, value: &OsStr| {
        env.insert(name.into(), value.into());
    };
    let count = threads.to_string();
    set("OMP_NUM_THREADS", OsStr::new(&count));
    set("MKL_NUM_THREADS", OsStr::new(&count));
    // Idle OpenMP threads that spin take the cores from the instances that work.
    set("GOMP_SPINCOUNT", OsStr::new("0"));
    set("PYTHONUNBUFFERED", OsStr::new("1"));
    for (name, value) in &config.environment.variables {
        set(name, OsStr::new(value));
    }
    let mut path = sdk.as_os_str().to_owned();
    if let Some(own) = config.environment.variables.get("PYTHONPATH") {
        path.push(":");
        path.push(own);
    }
    set("PYTHONPATH", &path);
    set("PYTHONSAFEPATH", OsStr::new("1"));
    set("CRESSET_PARENT_PID", OsStr::new(&std::process::id().to_string()));
    set("CRESSET_MODEL", OsStr::new(config.name.as_str()));
    set("CRESSET_INSTANCE", OsStr::new(&instance.to_string()));
    env
}
