//! What the commands that list have in common: documents as the server sent them, or a table of them.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::args;
use crate::client::CallError;
use crate::exit::{Exit, Trouble};
use crate::out;

/// What the entries of a list are called.
pub(super) struct Words {
    /// When there are none: `no such tasks`.
    pub(super) none: &'static str,
    /// One: `a task`.
    pub(super) one: &'static str,
}

/// Asks for the entries, and prints each as a line of JSON or all together as a table.
pub(super) fn show<T: DeserializeOwned>(
    asked: impl Future<Output = Result<Vec<Box<RawValue>>, CallError>>,
    json: bool,
    words: &Words,
    table: impl FnOnce(&[T]) -> String,
) -> Result<Exit, Trouble> {
    let entries = args::block_on(async { asked.await.map_err(|error| error.trouble()) })?;
    if entries.is_empty() {
        out::note(words.none);
    } else if json {
        entries.iter().try_for_each(|entry| out::line(entry.get()))?;
    } else {
        let read = entries.iter().map(|entry| serde_json::from_str(entry.get()));
        let read: Vec<T> = read.collect::<Result<_, _>>().map_err(|error| {
            let one = words.one;
            Trouble::new(
                Exit::SOFTWARE,
                format!("{one} is not what a Cresset server sends: {error}"),
            )
        })?;
        out::raw(table(&read).as_bytes())?;
    }
    Ok(Exit::OK)
}
