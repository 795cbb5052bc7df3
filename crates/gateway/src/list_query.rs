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

/// The largest number that the document's `int64` can be; no page gives a larger one.
const PLACE_MAX: u64 = i64::MAX.unsigned_abs();

/// A place in a list.
pub(crate) fn after(text: &str) -> Result<u64, Problem> {
    let place = text.parse().ok().filter(|place| *place <= PLACE_MAX);
    place.ok_or_else(|| {
        let shown = cut(text);
        bad(format!(
            "`after` is `{shown}`; it must be the number that a page gave as `next`"
        ))
    })
}
