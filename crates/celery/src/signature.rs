//! A signature: a task that is to be sent later, by whoever has what it waits for.

use serde_json::{Map, Value};

/// A task to be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signature {
    /// Its name; `celery.group`, `celery.chain` and `celery.chord` are no tasks, but several signatures in one.
    pub task: String,
    /// Its own arguments, behind the result of what it follows.
    pub args: Vec<Value>,
    /// Its named arguments.
    pub kwargs: Map<String, Value>,
    /// Its id, its queue and so on.
    pub options: Map<String, Value>,
    /// It does not take the result of what it follows.
    pub immutable: bool,
}

/// A value that is no signature, or one that cannot be sent from here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is to follow cannot be sent: {0}")]
pub struct BadSignature(pub(crate) String);

impl Signature {
    /// Reads a signature.
    pub fn of(value: &Value) -> Result<Self, BadSignature> {
        let bad = |what: &str| BadSignature(format!("{what} in the signature {}", short(value)));
        let map = value.as_object().ok_or_else(|| bad("no object"))?;
        let of = |name: &str| map.get(name).filter(|value| !value.is_null());
        let task = of("task").and_then(Value::as_str).filter(|task| !task.is_empty());
        let args = match of("args") {
            None => Vec::new(),
            Some(args) => args
                .as_array()
                .cloned()
                .ok_or_else(|| bad("`args` is no array"))?,
        };
        let object = |name: &str| match of(name) {
            None => Ok(Map::new()),
            Some(map) => map
                .as_object()
                .cloned()
                .ok_or_else(|| bad(&format!("`{name}` is no object"))),
        };
        Ok(Self {
            task: task.ok_or_else(|| bad("no task"))?.to_owned(),
            args,
            kwargs: object("kwargs")?,
            options: object("options")?,
            immutable: of("immutable").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// The option of this name, unless it is null.
    pub(crate) fn option(&self, name: &str) -> Option<&Value> {
        self.options.get(name).filter(|value| !value.is_null())
    }

    /// The same, as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.option(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// The id that it will have, if that is known.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.text("task_id")
    }

    /// The signatures under this option: an array of them, or one.
    pub(crate) fn linked(&self, name: &str) -> Option<Vec<Value>> {
        match self.option(name)? {
            Value::Array(items) => Some(items.clone()),
            one => Some(vec![one.clone()]),
        }
    }
}

/// A value's beginning.
fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
