//! One thing that is wrong in a configuration, said so that its reader can put it right: where, which key, what, and
//! what would be right.
//!
//! Mistakes are collected, never thrown: whoever reads a configuration goes on after each and hands over all of them.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// The longest piece of a source line that is shown, in characters: a line of a minified file must not fill a screen.
const SHOWN_MAX: usize = 120;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file as a whole, or a place in it.
    File {
        /// The path, as the caller wrote it.
        path: String,
        /// Line and column, when the mistake has one; a file that is missing has none.
        at: Option<Position>,
    },
    /// An environment variable.
    Env(String),
    /// A command-line flag, with its dashes.
    Flag(String),
}

/// A place in a text, counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, at: None } => f.write_str(path),
            Self::File { path, at: Some(at) } => write!(f, "{path}:{}:{}", at.line, at.column),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Whether a mistake stops us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not say what its writer meant.
    Warning,
}

/// The source line a mistake is in, for showing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) line: String,
    /// Characters to underline, at least 1.
    pub(crate) width: usize,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Whether it stops us.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// The key, such as `batching.max_batch_size` or `inputs[0].dtype`; empty when it concerns the whole file.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// What to do about it, when we can guess.
    pub hint: Option<String>,
    pub(crate) excerpt: Option<Excerpt>,
}

impl Mistake {
    /// A mistake that is in no line of a text: a missing file, a variable, a flag.
    #[must_use]
    pub fn at(place: Place, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place,
            key: key.into(),
            message: message.into(),
            hint: None,
            excerpt: None,
        }
    }

    /// A mistake of a file or folder as a whole.
    #[must_use]
    pub fn in_file(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::at(
            Place::File {
                path: path.into(),
                at: None,
            },
            "",
            message,
        )
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The file, when it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match &self.place {
            Place::File { path, .. } => Some(path),
            Place::Env(_) | Place::Flag(_) => None,
        }
    }

    /// Line and column, when it has them.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self.place {
            Place::File { at, .. } => at,
            Place::Env(_) | Place::Flag(_) => None,
        }
    }

    /// The mistake over several lines, with the source line and a caret, for a terminal. Ends with a newline.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = format!("{}: ", self.head());
        out.push_str(&self.message);
        out.push('\n');
        if let (Some(at), Some(excerpt)) = (self.position(), &self.excerpt) {
            let number = at.line.to_string();
            let margin = " ".repeat(number.len());
            let (line, before) = cut(&excerpt.line, at.column - 1);
            let room = line.chars().count().saturating_sub(before).max(1);
            let carets = "^".repeat(excerpt.width.clamp(1, room));
            out.push_str(&format!(
                "{margin} |\n{number} | {line}\n{margin} | {}{carets}\n",
                " ".repeat(before)
            ));
        }
        if let Some(hint) = &self.hint {
            out.push_str(&format!("  hint: {hint}\n"));
        }
        out
    }

    fn head(&self) -> String {
        let warning = if self.severity == Severity::Warning {
            "warning: "
        } else {
            ""
        };
        let colon = if self.key.is_empty() { "" } else { ": " };
        format!("{warning}{}{colon}{}", self.place, self.key)
    }

    fn order(&self) -> (u8, &str, Option<Position>, &str) {
        match &self.place {
            Place::File { path, at } => (0, path, *at, &self.key),
            Place::Env(name) => (1, name, None, &self.key),
            Place::Flag(name) => (2, name, None, &self.key),
        }
    }
}

/// One line: `model.toml:7:18: batching.max_batch_size: must be 1 to 65536, is 0`, and the hint after a semicolon.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.head(), self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Mistake {}

/// Flat, for `--json`: `severity`, `file`, `line`, `column`, `env`, `flag`, `key`, `message`, `hint`; null where absent.
impl Serialize for Mistake {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let (env, flag) = match &self.place {
            Place::File { .. } => (None, None),
            Place::Env(name) => (Some(name), None),
            Place::Flag(name) => (None, Some(name)),
        };
        let mut fields = out.serialize_struct("Mistake", 9)?;
        fields.serialize_field("severity", &self.severity)?;
        fields.serialize_field("file", &self.file())?;
        fields.serialize_field("line", &self.position().map(|at| at.line))?;
        fields.serialize_field("column", &self.position().map(|at| at.column))?;
        fields.serialize_field("env", &env)?;
        fields.serialize_field("flag", &flag)?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("hint", &self.hint)?;
        fields.end()
    }
}

/// Sorts by file and line; variables and flags come after files.
pub fn sort(mistakes: &mut [Mistake]) {
    mistakes.sort_by(|a, b| a.order().cmp(&b.order()));
}

/// All of them as [`Mistake::render`] shows each, a blank line between two.
#[must_use]
pub fn render_all(mistakes: &[Mistake]) -> String {
    mistakes
        .iter()
        .map(Mistake::render)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The line with at most [`SHOWN_MAX`] characters around `column`, control characters made harmless; and where the
/// column then is.
fn cut(line: &str, column: usize) -> (String, usize) {
    let chars: Vec<char> = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if chars.len() <= SHOWN_MAX {
        return (chars.into_iter().collect(), column);
    }
    let start = column.saturating_sub(SHOWN_MAX / 2).min(chars.len() - SHOWN_MAX);
    (chars[start..start + SHOWN_MAX].iter().collect(), column - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_shown_around_the_mistake() {
        let line = format!("{}x{}", "a".repeat(500), "b".repeat(500));
        let (shown, before) = cut(&line, 500);
        assert_eq!(shown.chars().count(), SHOWN_MAX);
        assert_eq!(shown.chars().nth(before), Some('x'));
    }

    #[test]
    fn json_is_flat_with_nulls() {
        let json = serde_json::to_string(&Mistake::at(Place::Env("CRESSET_X".into()), "", "is odd")).unwrap();
        assert_eq!(
            json,
            r#"{"severity":"error","file":null,"line":null,"column":null,"env":"CRESSET_X","flag":null,"key":"","message":"is odd","hint":null}"#
        );
    }
}
