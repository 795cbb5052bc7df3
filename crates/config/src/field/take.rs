//! What each kind of setting makes of a value that was given, or why it cannot.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::{Given, Pairs, Refusal};
use crate::suggest::nearest;
use crate::units::{DURATION_FORM, SIZE_FORM, parse_duration, parse_size, show_duration, show_size};

pub(super) fn take_bool(given: Given<'_>) -> Result<bool, Refusal> {
    match given {
        Given::Toml(DeValue::Boolean(b)) => Ok(*b),
        Given::Word("true" | "1") => Ok(true),
        Given::Word("false" | "0") => Ok(false),
        Given::Toml(DeValue::String(text)) if matches!(text.as_ref(), "true" | "false") => {
            Err(given.refuse("true or false").hint("remove the quotes"))
        }
        _ => Err(given.refuse("true or false")),
    }
}

pub(crate) fn take_int(given: Given<'_>, min: u64, max: u64) -> Result<u64, Refusal> {
    let form = format!("{min} to {max}");
    match given.integer() {
        Some(Some(n)) => u64::try_from(n)
            .ok()
            .filter(|n| (min..=max).contains(n))
            .ok_or_else(|| Refusal::new(format!("must be {form}, is {n}"))),
        Some(None) => Err(given.refuse(&form)),
        None => {
            let refusal = given.refuse(&format!("an integer, {form}"));
            match given.text().map(str::trim).and_then(|t| t.parse::<u64>().ok()) {
                Some(_) => Err(refusal.hint("remove the quotes")),
                None => Err(refusal),
            }
        }
    }
}

pub(super) fn take_pairs(given: Given<'_>, form: &str) -> Result<Pairs, Refusal> {
    if let Given::Toml(DeValue::Table(table)) = given {
        let entry = |(name, value): (
            &toml::Spanned<toml::de::DeString<'_>>,
            &toml::Spanned<DeValue<'_>>,
        )| {
            let name: &str = name.get_ref();
            let text = take_text(Given::Toml(value.get_ref()), "a text in quotes");
            let text = text.map_err(|refusal| Refusal {
                message: format!("`{name}` {}", refusal.message),
                hint: refusal.hint,
            })?;
            Ok((name.to_owned(), text.to_owned()))
        };
        return table.iter().map(entry).collect();
    }
    let text = given.text().ok_or_else(|| given.refuse(form))?;
    let pair = |piece: &str| {
        let (name, value) = piece.split_once('=').ok_or_else(|| given.refuse(form))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',')
        .filter(|piece| !piece.trim().is_empty())
        .map(pair)
        .collect()
}

pub(super) fn take_number(given: Given<'_>, min: f64, max: f64) -> Result<f64, Refusal> {
    let form = format!("a number, {min} to {max}");
    let number = match given {
        Given::Word(text) => text.trim().parse().ok(),
        Given::Toml(DeValue::Float(n)) => n.as_str().parse().ok(),
        Given::Toml(_) => given.integer().flatten().map(|n| n as f64),
    };
    match number {
        Some(n) if (min..=max).contains(&n) => Ok(n),
        Some(_) => Err(given.refuse(&form)),
        None => match given.text().map(|t| t.trim().parse::<f64>()) {
            Some(Ok(_)) => Err(given.refuse(&form).hint("remove the quotes")),
            _ => Err(given.refuse(&form)),
        },
    }
}

pub(super) fn take_duration(given: Given<'_>, min: Duration, max: Duration) -> Result<Duration, Refusal> {
    if let Some(duration) = given.text().and_then(parse_duration) {
        return if (min..=max).contains(&duration) {
            Ok(duration)
        } else {
            let (min, max) = (show_duration(min), show_duration(max));
            Err(Refusal::new(format!(
                "must be {min} to {max}, is {}",
                show_duration(duration)
            )))
        };
    }
    let refusal = given.refuse(DURATION_FORM);
    let bare = match given {
        Given::Word(text) if text.trim().parse::<u64>().is_ok() => Some(text.trim().to_owned()),
        Given::Toml(DeValue::Integer(n)) => Some(n.to_string()),
        Given::Toml(DeValue::Float(n)) => Some(n.to_string()),
        _ => None,
    };
    Err(match bare {
        Some(n) => refusal.hint(format!("\"{n}s\" is {n} seconds")),
        None => refusal,
    })
}

pub(super) fn take_size(given: Given<'_>, min: u64, max: u64) -> Result<u64, Refusal> {
    let bytes = match (given, given.integer()) {
        (Given::Toml(_), Some(n)) => n.unwrap_or(i128::MAX),
        _ => i128::from(
            given
                .text()
                .and_then(parse_size)
                .ok_or_else(|| refuse_size(given))?,
        ),
    };
    u64::try_from(bytes)
        .ok()
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| {
            Refusal::new(format!(
                "must be {} to {}, is {}",
                show_size(min),
                show_size(max),
                given.describe()
            ))
        })
}

fn refuse_size(given: Given<'_>) -> Refusal {
    let refusal = given.refuse(SIZE_FORM);
    // The units are case-sensitive; the commonest slip is the case or a lone letter.
    let unit = given.text().map(|t| {
        t.trim()
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .trim()
    });
    let meant = match unit.map(str::to_ascii_lowercase).as_deref() {
        Some("k" | "kb" | "kib") => "KiB",
        Some("m" | "mb" | "mib") => "MiB",
        Some("g" | "gb" | "gib") => "GiB",
        Some("t" | "tb" | "tib") => "TiB",
        _ => return refusal,
    };
    refusal.hint(format!("did you mean {meant}?"))
}

pub(crate) fn take_path(given: Given<'_>) -> Result<PathBuf, Refusal> {
    match given.text() {
        Some("") => Err(Refusal::new("must be a path, is empty")),
        Some(text) if text.contains('\0') => Err(Refusal::new("must be a path, has a NUL character")),
        Some(text) => Ok(text.into()),
        None => Err(given.refuse("a path in quotes")),
    }
}

pub(crate) fn take_text<'a>(given: Given<'a>, form: &str) -> Result<&'a str, Refusal> {
    given.text().ok_or_else(|| {
        let refusal = given.refuse(form);
        match given {
            Given::Toml(DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_)) => {
                refusal.hint("put it in quotes")
            }
            _ => refusal,
        }
    })
}

pub(super) fn take_list<'a>(given: Given<'a>, form: &str) -> Result<Vec<&'a str>, Refusal> {
    let Given::Toml(DeValue::Array(array)) = given else {
        let texts = take_text(given, form)?.split(',').map(str::trim);
        return Ok(texts.filter(|text| !text.is_empty()).collect());
    };
    let texts = array
        .iter()
        .map(|entry| take_text(Given::Toml(entry.get_ref()), form));
    texts.collect()
}

pub(super) fn refuse_choice(given: Given<'_>, names: &[&str]) -> Refusal {
    let listed = names
        .iter()
        .map(|n| format!("\"{n}\""))
        .collect::<Vec<_>>()
        .join(" or ");
    let hint = given
        .text()
        .and_then(|t| nearest(t, names.iter().copied()))
        .map(|near| format!("did you mean \"{near}\"?"));
    given.refuse(&listed).maybe_hint(hint)
}
