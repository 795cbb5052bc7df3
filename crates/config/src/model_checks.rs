//! What the parts of a `model.toml` must have to do with each other and with the folder.

use std::path::{Path, PathBuf};

use cresset_task::ModelName;

use crate::field::{Refusal, quote};
use crate::model::{Entry, Environment, HealthCheck};
use crate::model_keys::Draft;
use crate::model_toml::{Folder, MODEL_TOML};
use crate::model_values::{name_like, show_entry};
use crate::report::Report;
use crate::units::{show_duration, show_size};
use crate::walk::Seen;

const REQUIREMENTS: &str = "requirements.txt";
const RELATIVE: &str = "a relative path is taken from the model folder";

/// A batch that cannot hold one item would never run.
pub(crate) fn check_batch_bytes(draft: &Draft, seen: &Seen, report: &mut Report<'_>) {
    let sizes = draft.inputs.iter().map(|spec| spec.fixed_bytes());
    let item: usize = sizes.map(|n| n.unwrap_or(0)).fold(0, usize::saturating_add);
    if item > draft.batching.max_batch_bytes {
        let message = format!(
            "must hold at least one item, which has {}, is {}",
            show_size(item as u64),
            show_size(draft.batching.max_batch_bytes as u64)
        );
        match seen
            .get("batching.max_batch_bytes")
            .or_else(|| seen.get("inputs"))
        {
            Some(sight) => report.add(
                sight.span.clone(),
                "batching.max_batch_bytes",
                Refusal::new(message),
            ),
            None => report.add_missing("batching.max_batch_bytes", Refusal::new(message)),
        }
    }
}

/// A process that is killed first is told nothing.
pub(crate) fn check_soft_timeout(draft: &Draft, seen: &Seen, report: &mut Report<'_>) {
    const KEY: &str = "limits.soft_timeout";
    let hard = draft.limits.timeout;
    if let (Some(soft), Some(sight)) = (draft.limits.soft_timeout, seen.get(KEY))
        && soft >= hard
        && seen.get("limits.timeout").is_none_or(|sight| sight.taken)
    {
        let refusal = Refusal::new(format!(
            "must be shorter than `limits.timeout`, which is {}, is {}",
            show_duration(hard),
            show_duration(soft)
        ));
        let hint =
            "leave the time between them for the model's code to end in order, or raise `limits.timeout`";
        report.add(sight.span.clone(), KEY, refusal.hint(hint));
    }
}

/// Types of files are of a model that takes some.
pub(crate) fn check_content_types(draft: &Draft, seen: &Seen, report: &mut Report<'_>) {
    const KEY: &str = "content_types";
    let is_idle = !draft.files.types.is_empty() && !draft.files.are_taken();
    if let Some(sight) = seen.get(KEY).filter(|_| is_idle) {
        let refusal = Refusal::new("is for models that take files");
        report.add(
            sight.span.clone(),
            KEY,
            refusal.hint("write `files = true`, or `files = \"path\"`"),
        );
    }
}

/// What is for models of JSON only, each with what to do instead where a model declares tensors.
pub(crate) fn check_json_only(draft: &Draft, seen: &Seen, report: &mut Report<'_>) {
    let rules = [
        (
            "batching.group_by_size",
            draft.batching.group_by_size,
            "give its inputs a `pad`",
        ),
        // The pieces of a tensor would have to be declared.
        (
            "stream.enabled",
            draft.stream.enabled,
            "remove [[inputs]]: `predict` then gets decoded JSON values",
        ),
        (
            "files",
            draft.files.are_taken(),
            "remove [[inputs]]: `predict` then gets a cresset.File, or whatever JSON was sent",
        ),
    ];
    if draft.inputs.is_empty() {
        return;
    }
    for (key, is_set, hint) in rules {
        if let Some(sight) = seen.get(key).filter(|_| is_set) {
            let refusal = Refusal::new("is for models of JSON, this one declares tensors");
            report.add(sight.span.clone(), key, refusal.hint(hint));
        }
    }
}

pub(crate) fn model_name(
    draft: &mut Draft,
    seen: &Seen,
    folder: &dyn Folder,
    report: &mut Report<'_>,
) -> Option<ModelName> {
    if draft.name.is_some() || seen.contains_key("name") {
        return draft.name.take();
    }
    let base = folder
        .dir()
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    base.parse()
        .map_err(|_| {
            let name = name_like(&base).unwrap_or_else(|| "my-model".into());
            let refusal = Refusal::new(format!(
                "the folder's name, {}, is not a model name",
                quote(&base)
            ));
            report.add_missing(
                "name",
                refusal.hint(format!("write `name = \"{name}\"` in {MODEL_TOML}")),
            );
        })
        .ok()
}

pub(crate) fn check_entry(draft: &Draft, seen: &Seen, folder: &dyn Folder, report: &mut Report<'_>) {
    let file = &draft.entry.file;
    if folder.is_file(Path::new(file)) || seen.get("entry").is_some_and(|sight| !sight.taken) {
        return;
    }
    let mut refusal = Refusal::new(format!("the folder has no file {}", quote(file)));
    let with_ending = format!("{file}.py");
    if folder.is_file(Path::new(&with_ending)) {
        let entry = Entry {
            file: with_ending,
            attribute: draft.entry.attribute.clone(),
        };
        refusal = refusal.hint(format!("did you mean \"{}\"?", show_entry(&entry)));
    }
    match seen.get("entry") {
        Some(sight) => report.add(sight.span.clone(), "entry", refusal),
        None => report.add_missing(
            "entry",
            refusal.hint("write it, or name the file with the model's code: `entry = \"...\"`"),
        ),
    }
}

/// The path that a key gives, absolute; the file must be there.
fn find(
    key: &'static str,
    given: &Option<String>,
    hint: &str,
    seen: &Seen,
    folder: &dyn Folder,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    let path = folder.dir().join(given.as_deref()?);
    if !folder.is_file(&path) {
        let refusal = Refusal::new(format!("no file {}", quote(&path.display().to_string())));
        let span = seen.get(key).map_or(0..0, |sight| sight.span.clone());
        report.add(span, key, refusal.hint(hint));
    }
    Some(path)
}

pub(crate) fn health(
    draft: &Draft,
    seen: &Seen,
    folder: &dyn Folder,
    report: &mut Report<'_>,
) -> HealthCheck {
    HealthCheck {
        canary: find("health.canary", &draft.canary, RELATIVE, seen, folder, report),
        ..draft.health.clone()
    }
}

pub(crate) fn environment(
    draft: &mut Draft,
    seen: &Seen,
    folder: &dyn Folder,
    report: &mut Report<'_>,
) -> Environment {
    const CLASH: &str = "a ready interpreter is used as it is, so this would have no effect";
    let mut find = |key, given: &Option<String>, hint| find(key, given, hint, seen, folder, report);
    let python = find(
        "environment.python",
        &draft.python,
        "give the path of a Python interpreter, such as one in a venv's bin folder",
    );
    let named = find("environment.requirements", &draft.requirements, RELATIVE);
    if seen.contains_key("environment.python") {
        for key in ["environment.requirements", "environment.python_version"] {
            if let Some(sight) = seen.get(key) {
                report.add(
                    sight.span.clone(),
                    key,
                    Refusal::new(CLASH).hint("remove it, or remove `python`"),
                );
            }
        }
    }
    let found =
        || Some(folder.dir().join(REQUIREMENTS)).filter(|path| python.is_none() && folder.is_file(path));
    Environment {
        requirements: named.or_else(found),
        python,
        python_version: draft.python_version.take(),
        variables: std::mem::take(&mut draft.variables),
    }
}
