//! `files` and `content_types` of a `model.toml`, read.

use crate::field::{Given, Refusal, quote};
use crate::files::{BadMediaRange, FileForm};
use crate::model_keys::Draft;
use crate::report::Report;
use crate::walk::Node;

/// Types that a model may name; each is looked at for each file.
const TYPES_MAX: usize = 64;

/// `files = true`, `false` or `"path"`.
pub(crate) fn read_files(value: &Node<'_>, draft: &mut Draft, report: &mut Report<'_>) {
    let found = value.get_ref();
    draft.files.form = match (found.as_bool(), found.as_str()) {
        (Some(true), _) => FileForm::Bytes,
        (Some(false), _) => FileForm::None,
        (_, Some("path")) => FileForm::Path,
        (_, other) => {
            let given = Given::Toml(found);
            let refusal = Refusal::new(format!(
                "must be true, false or \"path\", is {}",
                given.describe()
            ));
            let hint = matches!(other, Some("true" | "false")).then(|| "remove the quotes".to_owned());
            return report.add(value.span(), "files", refusal.maybe_hint(hint));
        }
    };
}

/// `content_types`.
pub(crate) fn set_types(draft: &mut Draft, texts: &[&str]) -> Result<(), Refusal> {
    if texts.is_empty() || texts.len() > TYPES_MAX {
        let refusal = Refusal::new(format!("must have 1 to {TYPES_MAX} types, has {}", texts.len()));
        return Err(refusal.hint("leave it out to take files of any type"));
    }
    let read = |text: &&str| {
        text.trim().parse().map_err(|BadMediaRange| {
            let refusal = Refusal::new(format!(
                "has {}, which is no type such as \"image/png\", and no family such as \"image/*\"",
                quote(text)
            ));
            refusal.maybe_hint((*text == "*/*").then(|| "leave it out to take files of any type".to_owned()))
        })
    };
    draft.files.types = texts.iter().map(read).collect::<Result<_, _>>()?;
    Ok(())
}
