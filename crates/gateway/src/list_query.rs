//! What the queries of lists have in common: of which model, how many, behind which place.

use cresset_task::{ModelName, State};

use crate::problem::Problem;
use crate::query::{bad, cut};

/// A name. Whether such a model is served does not matter: what is listed outlives its model.
pub(crate) fn model(text: &str) -> Result<ModelName, Problem> {
    text.parse()
        .map_err(|error| bad(format!("`model` is `{}`: {error}", cut(text))))
}

/// A state.
pub(crate) fn state(text: &str) -> Result<State, Problem> {
    text.parse()
        .map_err(|error| bad(format!("`status` is `{}`: {error}", cut(text))))
}

/// How many a page has at most.
pub(crate) fn limit(text: &str, max: usize) -> Result<usize, Problem> {
    match text.parse() {
        Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(bad(format!(
            "`limit` is `{}`; it must be a number from 1 to {max}",
            cut(text)
        ))),
    }
}

/// A place in a list.
pub(crate) fn after(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| {
        let shown = cut(text);
        bad(format!(
            "`after` is `{shown}`; it must be the number that a page gave as `next`"
        ))
    })
}
