//! Arguments to the parameters of the task that is stood in for, as Python would: whoever sent it learns of a mistake in the
//! words of a Python function.

use serde_json::value::RawValue;

use crate::exception::Exception;

/// A parameter of the task's function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// It has a default: it may be left out.
    pub optional: bool,
}

/// The value of each parameter, `None` for one that is left out; or the `TypeError` that Python would raise.
pub fn bind<'b>(
    task: &str,
    parameters: &[Parameter],
    args: &'b [Box<RawValue>],
    kwargs: &'b [(String, Box<RawValue>)],
) -> Result<Vec<Option<&'b RawValue>>, Exception> {
    let function = task.rsplit('.').next().unwrap_or(task);
    let wrong = |what: String| Exception::builtin("TypeError", &format!("{function}() {what}"));
    if args.len() > parameters.len() {
        let least = parameters.iter().filter(|p| !p.optional).count();
        let takes = if least == parameters.len() {
            least.to_string()
        } else {
            format!("from {least} to {}", parameters.len())
        };
        let (s, were) = (
            if parameters.len() == 1 { "" } else { "s" },
            if args.len() == 1 { "was" } else { "were" },
        );
        return Err(wrong(format!(
            "takes {takes} positional argument{s} but {} {were} given",
            args.len()
        )));
    }
    let mut values: Vec<Option<&RawValue>> = vec![None; parameters.len()];
    for (slot, value) in values.iter_mut().zip(args) {
        *slot = Some(value);
    }
    for (name, value) in kwargs {
        let place = parameters.iter().position(|p| p.name == *name);
        match place.and_then(|at| values.get_mut(at)) {
            None => return Err(wrong(format!("got an unexpected keyword argument '{name}'"))),
            Some(Some(_)) => return Err(wrong(format!("got multiple values for argument '{name}'"))),
            Some(slot) => *slot = Some(value),
        }
    }
    let missing: Vec<_> = parameters
        .iter()
        .zip(&values)
        .filter(|(parameter, value)| !parameter.optional && value.is_none())
        .map(|(parameter, _)| format!("'{}'", parameter.name))
        .collect();
    match missing.as_slice() {
        [] => Ok(values),
        [one] => Err(wrong(format!("missing 1 required positional argument: {one}"))),
        [all @ .., last] => Err(wrong(format!(
            "missing {} required positional arguments: {} and {last}",
            missing.len(),
            all.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    fn told(parameters: &[&str], args: &[&str], kwargs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let parameters: Vec<Parameter> = parameters
            .iter()
            .map(|name| Parameter {
                name: name.trim_end_matches('?').into(),
                optional: name.ends_with('?'),
            })
            .collect();
        let args: Vec<_> = args.iter().map(|a| raw(a)).collect();
        let kwargs: Vec<_> = kwargs.iter().map(|(n, v)| ((*n).to_owned(), raw(v))).collect();
        bind("proj.tasks.f", &parameters, &args, &kwargs)
            .map(|values| {
                values
                    .iter()
                    .map(|v| v.map_or("-".into(), |v| v.get().into()))
                    .collect()
            })
            .map_err(|exception| exception.line())
    }

    #[test]
    fn arguments_are_bound_as_in_python() {
        assert_eq!(told(&["a", "b?"], &["1"], &[]).unwrap(), ["1", "-"]);
        assert_eq!(told(&["a", "b?"], &["1"], &[("b", "2")]).unwrap(), ["1", "2"]);
        assert_eq!(
            told(&["a", "b"], &[], &[("b", "2"), ("a", "1")]).unwrap(),
            ["1", "2"]
        );
    }

    #[test]
    fn mistakes_are_told_in_the_words_of_python() {
        let says = |p: &[&str], a: &[&str], k: &[(&str, &str)]| told(p, a, k).unwrap_err();
        let missing = "TypeError: f() missing 1 required positional argument: 'a'";
        assert_eq!(says(&["a"], &[], &[]), missing);
        let missing = "TypeError: f() missing 3 required positional arguments: 'a', 'b' and 'c'";
        assert_eq!(says(&["a", "b", "c"], &[], &[]), missing);
        let many = "TypeError: f() takes 1 positional argument but 2 were given";
        assert_eq!(says(&["a"], &["1", "2"], &[]), many);
        let many = "TypeError: f() takes from 1 to 2 positional arguments but 3 were given";
        assert_eq!(says(&["a", "b?"], &["1", "2", "3"], &[]), many);
        let unknown = "TypeError: f() got an unexpected keyword argument 'x'";
        assert_eq!(says(&["a"], &["1"], &[("x", "2")]), unknown);
        let twice = "TypeError: f() got multiple values for argument 'a'";
        assert_eq!(says(&["a"], &["1"], &[("a", "2")]), twice);
    }
}
