//! `[celery]` of a `model.toml`, read and held against the model's inputs.

use crate::celery::{CeleryParameter, name};
use crate::field::{Given, Refusal, quote};
use crate::model_keys::Draft;
use crate::report::Report;
use crate::walk::{Node, Seen};

const TASKS: &str = "celery.tasks";
const PARAMETERS: &str = "celery.parameters";
/// Names in one array: a slip makes more.
const NAMES_MAX: usize = 256;

pub(crate) fn read_tasks(value: &Node<'_>, draft: &mut Draft, report: &mut Report<'_>) {
    const FORM: &str = "the name of a task in quotes, such as \"proj.tasks.perform_inference\"";
    draft.celery.tasks = read_names(TASKS, FORM, value, report, |text| name(text).ok());
}

pub(crate) fn read_parameters(value: &Node<'_>, draft: &mut Draft, report: &mut Report<'_>) {
    const FORM: &str =
        "a parameter's name in quotes, such as \"text\", or \"top_k?\" for one that may be left out";
    draft.celery.parameters = read_names(PARAMETERS, FORM, value, report, parameter);
    let parameters = &draft.celery.parameters;
    for (i, one) in parameters.iter().enumerate() {
        if parameters.iter().take(i).any(|other| other.name == one.name) {
            let refusal = Refusal::new(format!("{} is there twice", quote(&one.name)));
            report.add(value.span(), PARAMETERS, refusal);
        }
    }
}

fn parameter(text: &str) -> Option<CeleryParameter> {
    let name = text.strip_suffix('?').unwrap_or(text);
    let mut chars = name.chars();
    let is_name = chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
        && chars.all(|c| c == '_' || c.is_alphanumeric());
    is_name.then(|| CeleryParameter {
        name: name.to_owned(),
        optional: name.len() < text.len(),
    })
}

/// Every text of an array, or a mistake for each that is none.
fn read_names<T>(
    key: &str,
    form: &str,
    value: &Node<'_>,
    report: &mut Report<'_>,
    read: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    let Some(array) = value.get_ref().as_array() else {
        let given = Given::Toml(value.get_ref());
        let refusal = Refusal::new(format!("must be an array, is {}", given.describe()));
        let hint = given.text().map(|text| format!("write [{}]", quote(text)));
        report.add(value.span(), key, refusal.maybe_hint(hint));
        return Vec::new();
    };
    if array.len() > NAMES_MAX {
        let message = format!("must have at most {NAMES_MAX} names, has {}", array.len());
        report.add(value.span(), key, Refusal::new(message));
    }
    let mut names = Vec::new();
    for (i, item) in array.iter().enumerate() {
        let given = Given::Toml(item.get_ref());
        match given.text().and_then(&read) {
            Some(name) => names.push(name),
            None => {
                let refusal = Refusal::new(format!("must be {form}, is {}", given.describe()));
                report.add(item.span(), format!("{key}[{i}]"), refusal);
            }
        }
    }
    names
}

/// The parameters of a model of tensors are its inputs.
pub(crate) fn check_parameters(draft: &Draft, seen: &Seen, report: &mut Report<'_>) {
    let parameters = &draft.celery.parameters;
    let (Some(sight), [_, ..]) = (seen.get(PARAMETERS), draft.inputs.as_slice()) else {
        return;
    };
    let message = if parameters.len() != draft.inputs.len() {
        let (has, inputs) = (parameters.len(), draft.inputs.len());
        format!("must stand for the model's inputs, one for one: there are {inputs}, and {has} parameters")
    } else if let Some(optional) = parameters.iter().find(|parameter| parameter.optional) {
        let name = quote(&optional.name);
        format!("{name} may be left out, and a model of tensors needs all of its inputs")
    } else {
        return;
    };
    if sight.taken {
        report.add(sight.span.clone(), PARAMETERS, Refusal::new(message));
    }
}
