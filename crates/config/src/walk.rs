//! Walks a parsed TOML document along a table of keys: known keys are taken, unknown ones named with the nearest known,
//! and every mistake goes to the report. The walk never stops at one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::field::{Field, Given, Key, Refusal};
use crate::report::Report;
use crate::suggest::{did_you_mean, nearest};

/// Keys that were, and what says the same now.
const FORMER: [(&str, &str); 1] = [(
    "limits.late_predictions_go_on",
    "`true` is `late_predictions = \"stored\"` now, and `false` is `\"refused\"`; the default, `\"task\"`, stores a prediction at its \
     limit only",
)];

pub(crate) type Node<'a> = Spanned<DeValue<'a>>;

/// The keys that were given, by full name.
pub(crate) type Seen = BTreeMap<&'static str, Sight>;

/// A key that was given.
pub(crate) struct Sight {
    /// Where its value stands.
    pub(crate) span: Range<usize>,
    /// False when the value was refused: the target still has its default, and further checks of it would mislead.
    pub(crate) taken: bool,
}

/// Reads the keys that are read by code of their own. Gets the key, its value, the target, the report.
pub(crate) type ByHand<'f, T> = &'f mut dyn FnMut(&Key<T>, &Node<'_>, &mut T, &mut Report<'_>);

/// The document, or its syntax errors in the report. (What the parser could save of a broken text is not walked: it
/// would report the consequences of the syntax errors as further mistakes.)
pub(crate) fn parse<'a>(text: &'a str, report: &mut Report<'_>) -> Option<Spanned<DeTable<'a>>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        report.add(span, "", Refusal::new(format!("not TOML: {message}")));
    }
    errors.is_empty().then_some(root)
}

/// Reads a whole document.
pub(crate) fn read_root<'k, T: 'static>(
    keys: impl Iterator<Item = &'k Key<T>> + Clone,
    root: &DeTable<'_>,
    into: &mut T,
    base: &Path,
    report: &mut Report<'_>,
    by_hand: ByHand<'_, T>,
) -> Seen {
    let mut seen = Seen::new();
    for (name, value) in root {
        if keys
            .clone()
            .any(|key| !key.table().is_empty() && key.table() == name.get_ref())
        {
            match value.get_ref() {
                DeValue::Table(table) => {
                    let table_name: &str = name.get_ref();
                    let inside = keys.clone().filter(|key| key.table() == table_name);
                    for (name, value) in table {
                        let Some(key) = inside.clone().find(|key| key.name() == name.get_ref()) else {
                            unknown(keys.clone(), table_name, &format!("{table_name}."), name, report);
                            continue;
                        };
                        read_value(key, "", value, into, base, report, by_hand, &mut seen);
                    }
                }
                other => {
                    let found = Given::Toml(other).describe();
                    let refusal =
                        Refusal::new(format!("must be a table, `[{}]`, is {found}", name.get_ref()));
                    report.add(value.span(), name.get_ref().as_ref(), refusal);
                }
            }
        } else if let Some(key) = keys
            .clone()
            .find(|key| key.table().is_empty() && key.path == name.get_ref())
        {
            read_value(key, "", value, into, base, report, by_hand, &mut seen);
        } else {
            unknown(keys.clone(), "", "", name, report);
        }
    }
    seen
}

/// Reads one table whose keys all stand at the top of `keys`, such as one of `[[inputs]]`. `prefix` is `inputs[0].`.
pub(crate) fn read_table<T: 'static>(
    keys: &[Key<T>],
    prefix: &str,
    table: &DeTable<'_>,
    into: &mut T,
    report: &mut Report<'_>,
    by_hand: ByHand<'_, T>,
) -> Seen {
    let mut seen = Seen::new();
    for (name, value) in table {
        match keys.iter().find(|key| key.path == name.get_ref()) {
            Some(key) => read_value(
                key,
                prefix,
                value,
                into,
                Path::new(""),
                report,
                by_hand,
                &mut seen,
            ),
            None => unknown(keys.iter(), "", prefix, name, report),
        }
    }
    seen
}

#[expect(
    clippy::too_many_arguments,
    reason = "private to the two walks above; a struct would only rename them"
)]
fn read_value<T>(
    key: &Key<T>,
    prefix: &str,
    value: &Node<'_>,
    into: &mut T,
    base: &Path,
    report: &mut Report<'_>,
    by_hand: ByHand<'_, T>,
    seen: &mut Seen,
) {
    let before = report.len();
    if matches!(key.field, Field::ByHand(_)) {
        by_hand(key, value, into, report);
    } else if let Err(refusal) = key.take(into, Given::Toml(value.get_ref()), base) {
        report.add(value.span(), format!("{prefix}{}", key.path), refusal);
    }
    seen.insert(
        key.path,
        Sight {
            span: value.span(),
            taken: report.len() == before,
        },
    );
}

fn unknown<'k, T: 'static>(
    keys: impl Iterator<Item = &'k Key<T>> + Clone,
    table: &str,
    prefix: &str,
    name: &Spanned<DeString<'_>>,
    report: &mut Report<'_>,
) {
    let word: &str = name.get_ref();
    let path = format!("{prefix}{word}");
    if let Some((_, now)) = FORMER.iter().find(|(former, _)| *former == path) {
        let refusal = Refusal::new("is no longer a key").maybe_hint(Some((*now).to_owned()));
        report.add(name.span(), path, refusal);
        return;
    }
    let here = keys.clone().filter(|key| key.table() == table).map(Key::name);
    let tables = keys
        .clone()
        .map(Key::table)
        .filter(|t| table.is_empty() && !t.is_empty());
    let elsewhere = keys
        .clone()
        .find(|key| key.table() != table && nearest(word, [key.name()]).is_some());
    let hint = match (did_you_mean(word, here.chain(tables)), elsewhere) {
        (Some(hint), _) => Some(hint),
        (None, Some(key)) if key.table().is_empty() => {
            Some(format!("`{}` belongs at the top, before any table", key.name()))
        }
        (None, Some(key)) => Some(format!("`{}` belongs in `[{}]`", key.name(), key.table())),
        (None, None) => None,
    };
    report.add(name.span(), path, Refusal::new("unknown key").maybe_hint(hint));
}
