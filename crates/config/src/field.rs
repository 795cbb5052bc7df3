//! The declaration of one configuration key: its name, what it takes, its bounds, its words, and where it goes.
//!
//! Everything that speaks of keys (the readers, `config show`, the templates, the reference pages) is derived from
//! tables of these, so none of them can say something that another does not.

mod take;

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use self::take::{
    refuse_choice, take_bool, take_duration, take_int, take_list, take_number, take_pairs, take_size,
};
pub(crate) use self::take::{take_path, take_text};
use crate::units::{show_duration, show_size};

/// The longest piece of a wrong value that a message repeats, in characters.
const QUOTED_MAX: usize = 60;

/// One key of a configuration that is read into a `T`.
pub(crate) struct Key<T: 'static> {
    /// Its full name: `batching.max_batch_size`, or `name` for one at the top.
    pub(crate) path: &'static str,
    /// What it does, in sentences.
    pub(crate) doc: &'static str,
    /// The default in words, where it is not simply a value.
    pub(crate) default: Option<&'static str>,
    /// A value for templates, as TOML, where the default is not one.
    pub(crate) example: Option<&'static str>,
    /// What it takes.
    pub(crate) field: Field<T>,
}

/// The entries of a map, in their order.
pub(crate) type Pairs = Vec<(String, String)>;

/// What a key takes, and where it goes.
pub(crate) enum Field<T: 'static> {
    Bool {
        get: fn(&T) -> bool,
        set: fn(&mut T, bool),
    },
    Int {
        min: u64,
        max: u64,
        get: fn(&T) -> Option<u64>,
        set: fn(&mut T, u64),
    },
    Number {
        min: f64,
        max: f64,
        get: fn(&T) -> f64,
        set: fn(&mut T, f64),
    },
    Duration {
        min: Duration,
        max: Duration,
        get: fn(&T) -> Option<Duration>,
        set: fn(&mut T, Duration),
    },
    Bytes {
        min: u64,
        max: u64,
        get: fn(&T) -> Option<u64>,
        set: fn(&mut T, u64),
    },
    Path {
        get: fn(&T) -> Option<PathBuf>,
        set: fn(&mut T, PathBuf),
    },
    Text {
        form: &'static str,
        get: fn(&T) -> Option<String>,
        set: fn(&mut T, &str) -> Result<(), Refusal>,
    },
    /// An array of texts, or one text with commas between them.
    List {
        form: &'static str,
        get: fn(&T) -> Vec<String>,
        set: fn(&mut T, &[&str]) -> Result<(), Refusal>,
    },
    Choice {
        names: &'static [&'static str],
        get: fn(&T) -> &'static str,
        set: fn(&mut T, &str),
    },
    /// From text to text: a table, or `a=b,c=d` where there is none.
    Map {
        form: &'static str,
        get: fn(&T) -> Option<String>,
        set: fn(&mut T, Pairs) -> Result<(), Refusal>,
    },
    /// Read by code of its own; the words say what it takes.
    ByHand(&'static str),
}

/// Why a value is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(crate) fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

/// A value as it was given.
#[derive(Clone, Copy)]
pub(crate) enum Given<'a> {
    /// From an environment variable or a flag: has no type yet.
    Word(&'a str),
    /// From a file.
    Toml(&'a DeValue<'a>),
}

impl<'a> Given<'a> {
    /// The text, when it is one.
    pub(crate) fn text(self) -> Option<&'a str> {
        match self {
            Self::Word(text) => Some(text),
            Self::Toml(value) => value.as_str(),
        }
    }

    /// What it is, for a message: `the integer 5`.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Word(text) => quote(text),
            Self::Toml(DeValue::String(text)) => format!("the text {}", quote(text)),
            Self::Toml(DeValue::Integer(n)) => format!("the integer {n}"),
            Self::Toml(DeValue::Float(n)) => format!("the number {n}"),
            Self::Toml(DeValue::Boolean(b)) => b.to_string(),
            Self::Toml(DeValue::Datetime(_)) => "a date".into(),
            Self::Toml(DeValue::Array(_)) => "an array".into(),
            Self::Toml(DeValue::Table(_)) => "a table".into(),
        }
    }

    fn refuse(self, form: &str) -> Refusal {
        Refusal::new(format!("must be {form}, is {}", self.describe()))
    }

    /// The integer, when it is one; the outer `None` when it is something else, the inner when it is beyond 128 bits.
    fn integer(self) -> Option<Option<i128>> {
        match self {
            Self::Word(text) => text.trim().parse().ok().map(Some),
            Self::Toml(DeValue::Integer(n)) => Some(i128::from_str_radix(n.as_str(), n.radix()).ok()),
            Self::Toml(_) => None,
        }
    }
}

impl<T> Key<T> {
    /// The table it stands in: `batching`, or `` at the top.
    pub(crate) fn table(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(table, _)| table)
    }

    /// Its name in that table.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// What it takes, in words, for the reference pages.
    pub(crate) fn form(&self) -> String {
        match &self.field {
            Field::Bool { .. } => "`true` or `false`".into(),
            Field::Int { min, max, .. } => format!("integer, {min} to {max}"),
            Field::Number { min, max, .. } => format!("number, {min} to {max}"),
            Field::Duration { min, max, .. } => {
                format!("duration, {} to {}", show_duration(*min), show_duration(*max))
            }
            Field::Bytes { min, max, .. } => format!("size, {} to {}", show_size(*min), show_size(*max)),
            Field::Path { .. } => "path".into(),
            Field::Text { form, .. }
            | Field::List { form, .. }
            | Field::Map { form, .. }
            | Field::ByHand(form) => (*form).into(),
            Field::Choice { names, .. } => names
                .iter()
                .map(|n| format!("`\"{n}\"`"))
                .collect::<Vec<_>>()
                .join(" or "),
        }
    }

    /// The value in `from`, when it has one.
    pub(crate) fn value(&self, from: &T) -> Option<Scalar> {
        Some(match &self.field {
            Field::Bool { get, .. } => Scalar::Bool(get(from)),
            Field::Int { get, .. } => Scalar::Int(get(from)?),
            Field::Number { get, .. } => Scalar::Number(get(from)),
            Field::Duration { get, .. } => Scalar::Text(show_duration(get(from)?)),
            Field::Bytes { get, .. } => Scalar::Text(show_size(get(from)?)),
            Field::Path { get, .. } => Scalar::Text(get(from)?.display().to_string()),
            Field::Text { get, .. } | Field::Map { get, .. } => Scalar::Text(get(from)?),
            Field::List { get, .. } => {
                let mut all = get(from);
                match all.len() {
                    0 => return None,
                    1 => Scalar::Text(all.remove(0)),
                    _ => Scalar::List(all),
                }
            }
            Field::Choice { get, .. } => Scalar::Text(get(from).into()),
            Field::ByHand(_) => return None,
        })
    }

    /// Takes a value, or says why not. Relative paths are taken from `base`.
    pub(crate) fn take(&self, into: &mut T, given: Given<'_>, base: &Path) -> Result<(), Refusal> {
        match &self.field {
            Field::Bool { set, .. } => set(into, take_bool(given)?),
            Field::Int { min, max, set, .. } => set(into, take_int(given, *min, *max)?),
            Field::Number { min, max, set, .. } => set(into, take_number(given, *min, *max)?),
            Field::Duration { min, max, set, .. } => set(into, take_duration(given, *min, *max)?),
            Field::Bytes { min, max, set, .. } => set(into, take_size(given, *min, *max)?),
            Field::Path { set, .. } => set(into, base.join(take_path(given)?)),
            Field::Text { form, set, .. } => set(into, take_text(given, form)?)?,
            Field::List { form, set, .. } => set(into, &take_list(given, form)?)?,
            Field::Choice { names, set, .. } => {
                let text = given.text().filter(|t| names.contains(t));
                set(into, text.ok_or_else(|| refuse_choice(given, names))?);
            }
            Field::Map { form, set, .. } => set(into, take_pairs(given, form)?)?,
            Field::ByHand(form) => return Err(given.refuse(form)),
        }
        Ok(())
    }
}

/// A value for showing.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(u64),
    /// A number.
    Number(f64),
    /// Everything else, durations and sizes with their units included.
    Text(String),
    /// Several texts.
    List(Vec<String>),
}

impl Scalar {
    /// The value as TOML, ready to be pasted into a file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::Int(n) => n.to_string(),
            Self::Number(n) => format!("{n:?}"),
            Self::Text(text) => toml::Value::String(text.clone()).to_string(),
            Self::List(texts) => toml::Value::from(texts.clone()).to_string(),
        }
    }
}

impl serde::Serialize for Scalar {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(b) => out.serialize_bool(*b),
            Self::Int(n) => out.serialize_u64(*n),
            Self::Number(n) => out.serialize_f64(*n),
            Self::Text(text) => out.serialize_str(text),
            Self::List(texts) => out.collect_seq(texts),
        }
    }
}

/// A value in quotes, cut when long, control characters escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(QUOTED_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}
