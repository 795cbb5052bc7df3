//! Files among a model's inputs: whether it takes them, in which form it gets them, and of which types.

use std::fmt;
use std::str::FromStr;

/// What of files a model takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// In which form it gets them.
    pub form: FileForm,
    /// Of these types; of any when there are none.
    pub types: Vec<MediaRange>,
}

/// How a model gets a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileForm {
    /// Not at all: its inputs are JSON.
    #[default]
    None,
    /// As bytes in memory.
    Bytes,
    /// As a file on the disk, for as long as the call lasts.
    Path,
}

impl Files {
    /// Files of any type, as bytes.
    #[must_use]
    pub fn as_bytes() -> Self {
        Self {
            form: FileForm::Bytes,
            types: Vec::new(),
        }
    }

    /// Whether its inputs may be files.
    #[must_use]
    pub fn are_taken(&self) -> bool {
        self.form != FileForm::None
    }

    /// Whether one of this type is taken; the type may have parameters.
    #[must_use]
    pub fn takes(&self, content_type: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|range| range.has(content_type))
    }
}

/// `image/png`, or `image/*` for all of a family. In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRange(String);

impl MediaRange {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn has(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let kept = match self.0.strip_suffix('*') {
            Some(family) => essence
                .get(..family.len())
                .filter(|_| essence.len() > family.len()),
            None => Some(essence),
        };
        let wanted = self.0.trim_end_matches('*');
        kept.is_some_and(|kept| kept.eq_ignore_ascii_case(wanted))
    }
}

impl fmt::Display for MediaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no type of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMediaRange;

impl FromStr for MediaRange {
    type Err = BadMediaRange;

    fn from_str(text: &str) -> Result<Self, BadMediaRange> {
        let is_token = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte))
        };
        match text.split_once('/') {
            Some((kind, subtype)) if is_token(kind) && (subtype == "*" || is_token(subtype)) => {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(BadMediaRange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_families_are_told_apart_without_their_parameters() {
        let files = Files {
            form: FileForm::Path,
            types: ["Image/*", "application/pdf"]
                .map(|text| text.parse().unwrap())
                .into(),
        };
        for yes in [
            "image/png",
            "IMAGE/PNG",
            "image/svg+xml; charset=utf-8",
            "application/pdf",
            "application/pdf ; a=b",
        ] {
            assert!(files.takes(yes), "{yes}");
        }
        for no in [
            "image/",
            "image",
            "imagex/png",
            "application/pdfx",
            "text/plain",
            "",
            "ä/b",
        ] {
            assert!(!files.takes(no), "{no}");
        }
        assert!(Files::as_bytes().takes("text/plain"));
        for bad in [
            "*/*",
            "image",
            "image/",
            "/png",
            "image/p*",
            "image/png;q=1",
            "a b/c",
            "",
        ] {
            assert_eq!(bad.parse::<MediaRange>(), Err(BadMediaRange), "{bad}");
        }
    }
}
