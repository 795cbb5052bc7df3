//! `model.toml`: its text and what its folder holds in, a [`ModelConfig`] or every mistake out.
//!
//! Pure: what the folder holds is asked through [`Folder`], so tests need no disk.

use std::path::Path;

use cresset_task::Callback;

use crate::field::{Given, Key, Refusal, quote, take_text};
use crate::mistake::Mistake;
use crate::model::ModelConfig;
use crate::model_celery::{check_parameters, read_parameters, read_tasks};
use crate::model_checks::{
    check_batch_bytes, check_content_types, check_entry, check_json_only, check_soft_timeout, environment,
    health, model_name,
};
use crate::model_files::read_files;
use crate::model_keys::{Draft, model_keys};
use crate::model_send::call;
use crate::model_settings::told;
use crate::model_tensors::read_tensors;
use crate::report::Report;
use crate::retry::{RETRY_ON_MAX, is_exception_class};
use crate::walk::{self, Node};

/// The file that describes a model folder.
pub const MODEL_TOML: &str = "model.toml";
/// Devices of one model at most.
const DEVICES_MAX: usize = 64;

/// What we need to know of a model folder's contents.
pub trait Folder {
    /// The folder, absolute.
    fn dir(&self) -> &Path;
    /// True when `path` (absolute, or relative to the folder) is a file, links followed.
    fn is_file(&self, path: &Path) -> bool;
}

/// Reads the text of a `model.toml` (`None`: the folder has none, everything has its default). `path` is how messages
/// name the file. All mistakes at once, sorted.
pub fn parse_model(path: &str, text: Option<&str>, folder: &dyn Folder) -> Result<ModelConfig, Vec<Mistake>> {
    let mut report = Report::new(path, text.unwrap_or(""));
    let mut draft = Draft::default();
    let Some(root) = walk::parse(text.unwrap_or(""), &mut report) else {
        // The checks below would speak of what could not be read.
        return Err(report.finish());
    };
    let base = Path::new("");
    let seen = walk::read_root(
        model_keys(),
        root.get_ref(),
        &mut draft,
        base,
        &mut report,
        &mut read_by_hand,
    );
    draft.celery.call = call(&mut draft, &seen, &mut report);
    check_batch_bytes(&draft, &seen, &mut report);
    check_json_only(&draft, &seen, &mut report);
    check_content_types(&draft, &seen, &mut report);
    check_soft_timeout(&draft, &seen, &mut report);
    check_parameters(&draft, &seen, &mut report);
    let name = model_name(&mut draft, &seen, folder, &mut report);
    if !seen.contains_key("send.task") {
        check_entry(&draft, &seen, folder, &mut report);
    }
    let environment = environment(&mut draft, &seen, folder, &mut report);
    let health = health(&draft, &seen, folder, &mut report);
    let webhook = draft.webhook_url.map(|url| Callback {
        url,
        events: draft.webhook_events,
    });
    match name {
        Some(name) if report.len() == 0 => Ok(ModelConfig {
            settings: told(name.as_str(), text.unwrap_or("")),
            name,
            version: draft.version.unwrap_or_else(|| "1".into()),
            description: draft.description,
            dir: folder.dir().to_owned(),
            entry: draft.entry,
            inputs: draft.inputs,
            outputs: draft.outputs,
            batching: draft.batching,
            instances: draft.instances,
            limits: draft.limits,
            retry: draft.retry,
            health,
            cache: draft.cache,
            celery: draft.celery,
            stream: draft.stream,
            logs: draft.logs,
            webhook,
            environment,
            allow_pickle: draft.allow_pickle,
            copy_inputs: draft.copy_inputs,
            files: draft.files,
        }),
        _ => Err(report.finish()),
    }
}

fn read_by_hand(key: &Key<Draft>, value: &Node<'_>, draft: &mut Draft, report: &mut Report<'_>) {
    match key.path {
        "files" => read_files(value, draft, report),
        "inputs" => draft.inputs = read_tensors("inputs", value, report),
        "outputs" => draft.outputs = read_tensors("outputs", value, report),
        "instances.devices" => read_devices(value, draft, report),
        "celery.tasks" => read_tasks(value, draft, report),
        "celery.parameters" => read_parameters(value, draft, report),
        "retry.on" => read_retry_on(value, draft, report),
        "environment.variables" => read_variables(value, draft, report),
        other => report.add(
            value.span(),
            other,
            Refusal::new("is a key that this version cannot read"),
        ),
    }
}

fn read_devices(value: &Node<'_>, draft: &mut Draft, report: &mut Report<'_>) {
    const KEY: &str = "instances.devices";
    const FORM: &str = "\"cpu\", \"cuda\", \"cuda:N\" or \"mps\"";
    let Some(array) = value.get_ref().as_array() else {
        let given = Given::Toml(value.get_ref());
        let refusal = Refusal::new(format!(
            "must be an array of devices, such as [\"cpu\"], is {}",
            given.describe()
        ));
        report.add(
            value.span(),
            KEY,
            refusal.maybe_hint(given.text().map(|d| format!("write [{}]", quote(d)))),
        );
        return;
    };
    if array.is_empty() || array.len() > DEVICES_MAX {
        let message = format!("must have 1 to {DEVICES_MAX} devices, has {}", array.len());
        report.add(value.span(), KEY, Refusal::new(message));
    }
    let mut devices: Vec<String> = Vec::new();
    for (i, device) in array.iter().enumerate() {
        let at = format!("{KEY}[{i}]");
        let given = Given::Toml(device.get_ref());
        match given.text() {
            Some(text) if devices.iter().any(|d| d == text) => {
                let refusal = Refusal::new(format!("{} is listed twice", quote(text)));
                report.add(
                    device.span(),
                    at,
                    refusal.hint("several processes for each device: `instances.count`"),
                );
            }
            Some(text) if is_device(text) => devices.push(text.to_owned()),
            text => {
                let hint = match text {
                    Some(t) if t.eq_ignore_ascii_case("gpu") => Some("did you mean \"cuda\"?".into()),
                    Some(t) if is_device(&t.to_ascii_lowercase()) => {
                        Some(format!("did you mean \"{}\"?", t.to_ascii_lowercase()))
                    }
                    _ => None,
                };
                report.add(
                    device.span(),
                    at,
                    Refusal::new(format!("must be {FORM}, is {}", given.describe())).maybe_hint(hint),
                );
            }
        }
    }
    draft.instances.devices = devices;
}

fn read_retry_on(value: &Node<'_>, draft: &mut Draft, report: &mut Report<'_>) {
    const KEY: &str = "retry.on";
    const FORM: &str = "an exception's class in quotes, such as \"TimeoutError\", or \"*\"";
    let Some(array) = value.get_ref().as_array() else {
        let given = Given::Toml(value.get_ref());
        let refusal = Refusal::new(format!(
            "must be an array of exceptions' classes, is {}",
            given.describe()
        ));
        report.add(
            value.span(),
            KEY,
            refusal.maybe_hint(given.text().map(|t| format!("write [{}]", quote(t)))),
        );
        return;
    };
    if array.len() > RETRY_ON_MAX {
        let message = format!("must have at most {RETRY_ON_MAX} classes, has {}", array.len());
        report.add(value.span(), KEY, Refusal::new(message));
    }
    for (i, class) in array.iter().enumerate() {
        let given = Given::Toml(class.get_ref());
        match given.text().filter(|text| is_exception_class(text)) {
            Some(text) => draft.retry.on.push(text.to_owned()),
            None => report.add(
                class.span(),
                format!("{KEY}[{i}]"),
                Refusal::new(format!("must be {FORM}, is {}", given.describe())),
            ),
        }
    }
}

fn is_device(text: &str) -> bool {
    match text.strip_prefix("cuda:") {
        Some(n) => n.parse::<u8>().is_ok_and(|number| number.to_string() == n),
        None => matches!(text, "cpu" | "cuda" | "mps"),
    }
}

fn read_variables(value: &Node<'_>, draft: &mut Draft, report: &mut Report<'_>) {
    const KEY: &str = "environment.variables";
    let Some(table) = value.get_ref().as_table() else {
        let found = Given::Toml(value.get_ref()).describe();
        report.add(
            value.span(),
            KEY,
            Refusal::new(format!("must be a table from name to text, is {found}")),
        );
        return;
    };
    for (name_node, value) in table {
        let name: &str = name_node.get_ref();
        let at = format!("{KEY}.{name}");
        if name.is_empty() || name.contains(['=', '\0']) {
            report.add(
                name_node.span(),
                at,
                Refusal::new("is not a name that a variable can have"),
            );
            continue;
        }
        if name.starts_with("CRESSET_") {
            report.add(
                name_node.span(),
                at,
                Refusal::new("names that start with CRESSET_ are ours"),
            );
            continue;
        }
        match take_text(Given::Toml(value.get_ref()), "a text in quotes") {
            Ok(text) if text.contains('\0') => {
                report.add(value.span(), at, Refusal::new("must not have a NUL character"));
            }
            Ok(text) => {
                draft.variables.insert(name.into(), text.into());
            }
            Err(refusal) => report.add(value.span(), at, refusal),
        }
    }
}
