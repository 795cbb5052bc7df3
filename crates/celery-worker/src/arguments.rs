//! A task's arguments as a model's input.

use cresset_celery::{Body, Exception, Parameter, bind};
use cresset_config::{ModelConfig, ModelKind};
use cresset_task::json::InputError;
use cresset_task::{Payload, TensorSet, TensorSpec, json};
use serde_json::value::RawValue;

/// The input that the arguments of a task of this name are; or the exception that a Python function would raise.
pub(crate) fn input(task: &str, body: &Body, config: &ModelConfig) -> Result<Payload, Exception> {
    if let Some(payload) = &body.payload {
        return Ok(payload.clone());
    }
    match config.kind() {
        ModelKind::Tensor => tensors(task, body, config).map(Payload::Tensors),
        ModelKind::Object => object(task, body, config).map(|text| Payload::Json(text.into())),
    }
}

/// The parameters that the model declares.
fn declared(config: &ModelConfig) -> Vec<Parameter> {
    let declared = config.celery.parameters.iter();
    declared
        .map(|parameter| Parameter {
            name: parameter.name.clone(),
            optional: parameter.optional,
        })
        .collect()
}

fn required(name: &str) -> Parameter {
    Parameter {
        name: name.to_owned(),
        optional: false,
    }
}

/// The one argument that there is, by place or by any name.
fn only(body: &Body) -> Option<(&str, &RawValue)> {
    match (body.args.as_slice(), body.kwargs.as_slice()) {
        ([one], []) => Some(("", one)),
        ([], [(name, one)]) => Some((name, one)),
        _ => None,
    }
}

fn tensors(task: &str, body: &Body, config: &ModelConfig) -> Result<TensorSet, Exception> {
    let specs = &config.inputs;
    let mut parameters = declared(config);
    if parameters.is_empty() {
        match (specs.as_slice(), only(body)) {
            ([_], Some((name, value))) => {
                let read = json::parse_inputs(value.get().as_bytes(), specs);
                return read
                    .map_err(|error| wrong(if name.is_empty() { "argument 1" } else { name }, &error));
            }
            // All inputs as one object, as over HTTP.
            ([_, _, ..], Some(("", value))) if value.get().starts_with('{') => {
                let read = json::parse_inputs(value.get().as_bytes(), specs);
                return read.map_err(|error| wrong("argument 1", &error));
            }
            _ => parameters = specs.iter().map(|spec| required(&spec.name)).collect(),
        }
    }
    let values = bind(task, &parameters, &body.args, &body.kwargs)?;
    let named = parameters.iter().zip(specs).zip(values);
    let tensor = |((parameter, spec), value): ((&Parameter, &TensorSpec), Option<&RawValue>)| {
        let text = value.map_or("null", RawValue::get);
        let read = json::parse_tensor(text.as_bytes(), spec);
        let tensor = read.map_err(|error| wrong(&parameter.name, &error))?;
        Ok((spec.name.clone(), tensor))
    };
    named.map(tensor).collect::<Result<_, _>>().map(TensorSet)
}

fn object(task: &str, body: &Body, config: &ModelConfig) -> Result<String, Exception> {
    let parameters = declared(config);
    if !parameters.is_empty() {
        let values = bind(task, &parameters, &body.args, &body.kwargs)?;
        if let ([_], [value]) = (parameters.as_slice(), values.as_slice()) {
            return Ok(value.map_or("null", RawValue::get).to_owned());
        }
        let given = parameters
            .iter()
            .zip(values)
            .filter_map(|(p, value)| Some((p.name.as_str(), value?)));
        return Ok(joined(given));
    }
    match (only(body), body.args.as_slice(), body.kwargs.as_slice()) {
        (Some((_, value)), ..) => Ok(value.get().to_owned()),
        (None, [], [_, _, ..]) => Ok(joined(
            body.kwargs.iter().map(|(name, value)| (name.as_str(), &**value)),
        )),
        // Python's own words for none or too many.
        (None, args, _) if body.kwargs.is_empty() => {
            let one = [required("input")];
            bind(task, &one, args, &[]).map(|_| "null".into())
        }
        (None, ..) => {
            let function = task.rsplit('.').next().unwrap_or(task);
            let message = format!(
                "{function}() takes one argument, or several by name; to take some by place the model must name its \
                 parameters (celery.parameters in model.toml)"
            );
            Err(Exception::builtin("TypeError", &message))
        }
    }
}

fn joined<'v>(values: impl Iterator<Item = (&'v str, &'v RawValue)>) -> String {
    let entries: Vec<_> = values
        .map(|(name, value)| format!("{}: {}", serde_json::Value::from(name), value.get()))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// What Python code raises for a value that it cannot take.
fn wrong(name: &str, error: &InputError) -> Exception {
    let joint = if error.path.is_empty() || error.path.starts_with('[') {
        ""
    } else {
        "."
    };
    let message = format!("{name}{joint}{} {}", error.path, error.message);
    Exception::builtin("ValueError", &message)
}

#[cfg(test)]
mod tests;
