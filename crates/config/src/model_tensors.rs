//! `[[inputs]]` and `[[outputs]]` of a `model.toml`.

use std::ops::Range;

use cresset_task::json::parse_tensor;
use cresset_task::tensor::{RANK_MAX, TENSORS_MAX};
use cresset_task::{DType, TensorSpec};
use toml::de::{DeTable, DeValue};

use crate::field::{Given, Key, Refusal, quote};
use crate::report::Report;
use crate::tensor_keys::{TENSOR_KEYS, TensorDraft};
use crate::units::{about_size, show_size};
use crate::walk::{self, Node, Seen};

/// One tensor of one item at most: no body larger than this is accepted either.
const ITEM_BYTES_MAX: u64 = 1 << 30;

/// All of `[[inputs]]` or `[[outputs]]`.
pub(crate) fn read_tensors(which: &str, value: &Node<'_>, report: &mut Report<'_>) -> Vec<TensorSpec> {
    let Some(array) = value.get_ref().as_array() else {
        let found = Given::Toml(value.get_ref()).describe();
        let mut refusal = Refusal::new(format!("must be tables, each `[[{which}]]`, is {found}"));
        if value.get_ref().is_table() {
            refusal = refusal.hint(format!(
                "write `[[{which}]]` with two brackets, once for each tensor"
            ));
        }
        report.add(value.span(), which, refusal);
        return Vec::new();
    };
    if array.len() > TENSORS_MAX {
        let message = format!("must be at most {TENSORS_MAX} tensors, are {}", array.len());
        report.add(value.span(), which, Refusal::new(message));
        return Vec::new();
    }
    let mut specs = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (i, one) in array.iter().enumerate() {
        let at = format!("{which}[{i}]");
        let Some(table) = one.get_ref().as_table() else {
            let found = Given::Toml(one.get_ref()).describe();
            report.add(
                one.span(),
                at,
                Refusal::new(format!("must be a table with name, dtype and shape, is {found}")),
            );
            continue;
        };
        let (draft, seen) = read_tensor(which, &at, table, one.span(), report);
        if let (Some(name), Some(sight)) = (&draft.name, seen.get("name")) {
            if names.contains(name) {
                let message = format!("is the name of another of the {which}, is {}", quote(name));
                report.add(sight.span.clone(), format!("{at}.name"), Refusal::new(message));
            }
            names.push(name.clone());
        }
        if let TensorDraft {
            name: Some(name),
            dtype: Some(dtype),
            shape: Some(shape),
            allow_non_finite,
            pad,
        } = draft
        {
            specs.push(TensorSpec {
                name: name.into(),
                dtype,
                shape,
                allow_non_finite,
                pad: pad.and_then(|number| element(dtype, &number).ok()),
            });
        }
    }
    specs
}

/// One tensor, as far as it could be read.
fn read_tensor(
    which: &str,
    at: &str,
    table: &DeTable<'_>,
    span: Range<usize>,
    report: &mut Report<'_>,
) -> (TensorDraft, Seen) {
    let mut draft = TensorDraft::default();
    let mut by_hand =
        |key: &Key<TensorDraft>, value: &Node<'_>, draft: &mut TensorDraft, report: &mut Report<'_>| {
            if key.path == "pad" {
                draft.pad = number(&format!("{at}.pad"), value, report);
            } else {
                draft.shape = shape(&format!("{at}.shape"), value, report);
            }
        };
    let seen = walk::read_table(
        TENSOR_KEYS,
        &format!("{at}."),
        table,
        &mut draft,
        report,
        &mut by_hand,
    );
    for name in ["name", "dtype", "shape"] {
        if !seen.contains_key(name) {
            let example = TENSOR_KEYS
                .iter()
                .find(|key| key.path == name)
                .and_then(|key| key.example)
                .unwrap_or("");
            let refusal =
                Refusal::new(format!("`{name}` is missing")).hint(format!("such as `{name} = {example}`"));
            report.add(span.clone(), at, refusal);
        }
    }
    if let Some(sight) = seen.get("allow_non_finite").filter(|_| which == "inputs") {
        let message = "is for outputs only: JSON has neither NaN nor infinity, so no input can carry them";
        report.add(
            sight.span.clone(),
            format!("{at}.allow_non_finite"),
            Refusal::new(message),
        );
    }
    if let Some(sight) = seen.get("pad") {
        check_pad(which, &draft, |message| {
            report.add(sight.span.clone(), format!("{at}.pad"), Refusal::new(message));
        });
    }
    if let (Some(dtype), Some(shape), Some(sight)) = (draft.dtype, &draft.shape, seen.get("shape")) {
        let mut known = shape.iter().filter(|size| **size > 0);
        let bytes = known.try_fold(dtype.size() as u64, |n, size| n.checked_mul(size.unsigned_abs()));
        if bytes.is_none_or(|n| n > ITEM_BYTES_MAX) {
            let is = bytes.map_or_else(|| "more than can be counted".into(), about_size);
            let message = format!(
                "one item must have at most {}, has {is}",
                show_size(ITEM_BYTES_MAX)
            );
            report.add(sight.span.clone(), format!("{at}.shape"), Refusal::new(message));
        }
    }
    (draft, seen)
}

/// What the other keys say against a padding.
fn check_pad(which: &str, draft: &TensorDraft, mut complain: impl FnMut(String)) {
    if which != "inputs" {
        complain("is for inputs only".into());
    } else if draft.shape.as_ref().is_some_and(|shape| !shape.contains(&-1)) {
        complain("has no effect on a shape without a free dimension (-1)".into());
    }
    if let (Some(dtype), Some(number)) = (draft.dtype, &draft.pad)
        && let Err(why) = element(dtype, number)
    {
        complain(why);
    }
}

/// One element, as its bytes.
fn element(dtype: DType, number: &str) -> Result<bytes::Bytes, String> {
    let scalar = TensorSpec {
        name: "pad".into(),
        dtype,
        shape: Vec::new(),
        allow_non_finite: false,
        pad: None,
    };
    match parse_tensor(number.as_bytes(), &scalar) {
        Ok(tensor) => Ok(tensor.data),
        Err(error) => Err(error.to_string()),
    }
}

/// A number, as JSON would write it.
fn number(at: &str, value: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    let number = match value.get_ref() {
        DeValue::Integer(n) => i128::from_str_radix(n.as_str(), n.radix())
            .ok()
            .map(|n| n.to_string()),
        DeValue::Float(n) => n
            .as_str()
            .parse::<f64>()
            .ok()
            .filter(|n| n.is_finite())
            .map(|n| format!("{n:?}")),
        DeValue::Boolean(b) => Some(b.to_string()),
        _ => None,
    };
    if number.is_none() {
        let found = Given::Toml(value.get_ref()).describe();
        report.add(
            value.span(),
            at,
            Refusal::new(format!("must be a finite number, is {found}")),
        );
    }
    number
}

fn shape(at: &str, value: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<i64>> {
    let Some(array) = value.get_ref().as_array() else {
        let found = Given::Toml(value.get_ref()).describe();
        let refusal = Refusal::new(format!(
            "must be an array of sizes, such as [1, 8, 8], is {found}"
        ));
        report.add(value.span(), at, refusal);
        return None;
    };
    if array.len() > RANK_MAX {
        let message = format!("must have at most {RANK_MAX} dimensions, has {}", array.len());
        report.add(value.span(), at, Refusal::new(message));
        return None;
    }
    let mut sizes = Vec::with_capacity(array.len());
    for (i, size) in array.iter().enumerate() {
        let given = match size.get_ref() {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        };
        match given {
            Some(n) if n == -1 || n > 0 => sizes.push(n),
            _ => {
                let found = Given::Toml(size.get_ref()).describe();
                let refusal = Refusal::new(format!(
                    "must be a size of 1 or more, or -1 for a free one, is {found}"
                ));
                report.add(size.span(), format!("{at}[{i}]"), refusal);
            }
        }
    }
    (sizes.len() == array.len()).then_some(sizes)
}
