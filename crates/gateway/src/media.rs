//! The forms in which tensors travel, and how `Content-Type` and `Accept` name them.
//!
//! JSON is what everything is unless a caller says otherwise: an `Accept` that names nothing of ours has never been an
//! error here, and a browser's is none.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use cresset_task::Code;

use crate::problem::Problem;
use crate::query::cut;

/// Sizes of a tensor: `3,64,64`; empty for a scalar.
pub(crate) const SHAPE: HeaderName = HeaderName::from_static("cresset-shape");
/// The element type of a tensor.
pub(crate) const DTYPE: HeaderName = HeaderName::from_static("cresset-dtype");
/// A task's metadata, where the body has no room for it.
pub(crate) const METADATA: HeaderName = HeaderName::from_static("cresset-metadata");
/// How a task is tried again, likewise.
pub(crate) const RETRY: HeaderName = HeaderName::from_static("cresset-retry");
/// The model that made a result.
pub(crate) const MODEL: HeaderName = HeaderName::from_static("cresset-model");
/// Its version.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("cresset-version");

/// A shape as a header has it: `1,8,8`.
pub(crate) fn sizes(shape: &[impl Display]) -> String {
    let mut text = String::new();
    for (i, size) in shape.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        write!(text, "{comma}{size}").expect("a String takes any text");
    }
    text
}

/// How a body says what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`.
    Json,
    /// `application/octet-stream`: the elements of one tensor and nothing else.
    Raw,
    /// `application/x-npy`: one tensor as NumPy's file.
    Npy,
    /// `application/x-safetensors`: named tensors as one file.
    Safetensors,
}

impl Media {
    /// Every form; JSON first, so that it wins where a caller does not care.
    const ALL: [Self; 4] = [Self::Json, Self::Raw, Self::Npy, Self::Safetensors];

    /// The media type.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Raw => "application/octet-stream",
            Self::Npy => "application/x-npy",
            Self::Safetensors => "application/x-safetensors",
        }
    }

    /// True when callers call it so. No name of safetensors is registered, and three are in use.
    fn is_called(self, name: &str) -> bool {
        let other: &[&str] = match self {
            Self::Safetensors => &["application/vnd.safetensors", "application/safetensors"],
            Self::Json | Self::Raw | Self::Npy => &[],
        };
        name == self.name() || other.contains(&name)
    }

    /// The same, as a header.
    pub(crate) const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// What the body of a request says it is. Saying nothing is saying JSON.
    pub(crate) fn of_body(headers: &HeaderMap) -> Result<Self, Problem> {
        match headers.get(header::CONTENT_TYPE) {
            None => Ok(Self::Json),
            Some(given) => Self::of_type(given.as_bytes()).ok_or_else(|| unsupported(given.as_bytes())),
        }
    }

    /// `application/json` and `application/anything+json`, with no charset but UTF-8; the others by their names.
    fn of_type(content_type: &[u8]) -> Option<Self> {
        if content_type == b"application/json" {
            return Some(Self::Json); // what nearly everyone sends
        }
        let text = std::str::from_utf8(content_type).ok()?.to_ascii_lowercase();
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let binary = [Self::Raw, Self::Npy, Self::Safetensors];
        if let Some(binary) = binary.into_iter().find(|media| media.is_called(name)) {
            return Some(binary);
        }
        let json = name == Self::Json.name() || (name.starts_with("application/") && name.ends_with("+json"));
        let utf8 = parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim() == "charset" => {
                matches!(value.trim().trim_matches('"'), "utf-8" | "utf8")
            }
            _ => true,
        });
        (json && utf8).then_some(Self::Json)
    }
}

fn unsupported(value: &[u8]) -> Problem {
    let value = cut(&String::from_utf8_lossy(value));
    Problem::new(
        Code::UnsupportedMediaType,
        format!(
            "the Content-Type is `{value}`; send `Content-Type: application/json`, in UTF-8 (tensor models also take \
             `application/x-safetensors`, those with one input also `application/octet-stream` and `application/x-npy`, models with `files = true` any type)"
        ),
    )
}

/// What a caller accepts.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The forms of ours, the most wanted first. Never empty.
    forms: Cow<'static, [Media]>,
    /// What was said, where it was more than that anything or JSON will do.
    ranges: Vec<Range>,
}

/// What is accepted when nothing is said; borrowed, for it is said for nearly every request.
const ONLY_JSON: Cow<'static, [Media]> = Cow::Borrowed(&[Media::Json]);

impl Accepted {
    /// What `Accept` says. Without it, or when it names no form of ours, JSON.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(header::ACCEPT).iter().map(HeaderValue::as_bytes);
        // What nearly everyone sends, without a look at the rest.
        if let (None | Some(b"*/*" | b"application/json"), None) = (given.next(), given.next()) {
            return Self {
                forms: ONLY_JSON,
                ranges: Vec::new(),
            };
        }
        let ranges = Range::all(headers);
        let mut wanted: Vec<(Weight, Media)> = Media::ALL
            .into_iter()
            .filter_map(|media| Some((weigh(&ranges, media)?, media)))
            .collect();
        // A stable sort: JSON stays first among equals.
        wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let forms = match wanted.is_empty() {
            true => ONLY_JSON,
            false => wanted.into_iter().map(|(_, media)| media).collect(),
        };
        Self { forms, ranges }
    }

    /// Whether something was asked for by name, beside JSON.
    pub(crate) fn names_more(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Whether a file of this type (in lower case, without parameters) is wanted more than JSON: by its name or its family. Who says
    /// that anything will do is given JSON, as ever.
    pub(crate) fn wants_file(&self, essence: &str) -> bool {
        let named = |range: &Range| match range.name.strip_suffix('*') {
            None if range.name == essence => Some(3),
            Some(family) if family.len() > 2 && family.ends_with('/') && essence.starts_with(family) => {
                Some(2)
            }
            _ => None,
        };
        let closest = self
            .ranges
            .iter()
            .filter_map(|range| Some((named(range)?, range.quality)));
        let weight = closest.max().map(|(closeness, quality)| (quality, closeness));
        weight > weigh(&self.ranges, Media::Json).max(Some((0, u8::MAX)))
    }

    /// The forms, the most wanted first.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = Media> {
        self.forms.iter().copied()
    }

    /// The form most wanted of all.
    pub(crate) fn best(&self) -> Media {
        self.forms.first().copied().unwrap_or(Media::Json)
    }
}

/// The quality in thousandths, then how closely the form was named.
type Weight = (u16, u8);

/// One entry of `Accept`.
#[derive(Debug)]
pub(crate) struct Range {
    /// In lower case.
    pub(crate) name: String,
    /// In thousandths.
    pub(crate) quality: u16,
}

impl Range {
    /// All that can be read.
    pub(crate) fn all(headers: &HeaderMap) -> Vec<Self> {
        headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(Self::read)
            .collect()
    }

    /// `type/subtype;q=0.5`. An entry that cannot be read is passed over: the rest still says something.
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts
            .next()
            .filter(|name| name.contains('/'))?
            .to_ascii_lowercase();
        let mut quality = 1000;
        for parameter in parts {
            if let Some((key, value)) = parameter.split_once('=')
                && key.trim().eq_ignore_ascii_case("q")
            {
                let number = value
                    .trim()
                    .parse::<f32>()
                    .ok()
                    .filter(|q| (0.0..=1.0).contains(q))?;
                quality = (number * 1000.0) as u16;
            }
        }
        Some(Self { name, quality })
    }

    /// How closely the range names the form: 3 by name, 2 by its family, 1 as anything; `None` when not at all.
    fn closeness(&self, media: Media) -> Option<u8> {
        match self.name.as_str() {
            name if media.is_called(name) => Some(3),
            "application/*" => Some(2),
            "*/*" => Some(1),
            _ => None,
        }
    }
}

/// What the closest range gives the form; `None` when none names it or the closest refuses it.
fn weigh(ranges: &[Range], media: Media) -> Option<Weight> {
    ranges
        .iter()
        .filter_map(|range| Some((range.closeness(media)?, range.quality)))
        .max()
        .filter(|(_, quality)| *quality > 0)
        .map(|(closeness, quality)| (quality, closeness))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn content_types_are_read_without_their_parameters() {
        use Media::{Json, Npy, Raw, Safetensors};
        for (text, media) in [
            ("application/json", Json),
            ("application/json; charset=utf-8", Json),
            ("Application/JSON;charset=\"UTF-8\"", Json),
            ("application/vnd.x+json", Json),
            ("application/octet-stream", Raw),
            ("Application/Octet-Stream; x=y", Raw),
            ("application/x-npy", Npy),
            ("application/x-safetensors", Safetensors),
            ("application/vnd.safetensors", Safetensors),
            ("Application/Safetensors; x=y", Safetensors),
        ] {
            assert_eq!(
                Media::of_body(&with(header::CONTENT_TYPE, text)).unwrap(),
                media,
                "{text}"
            );
        }
        assert_eq!(Media::of_body(&HeaderMap::new()).unwrap(), Json);
    }

    #[test]
    fn other_content_types_are_refused() {
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "application/jsonp",
            "",
        ] {
            assert!(Media::of_body(&with(header::CONTENT_TYPE, bad)).is_err(), "{bad}");
        }
        insta::assert_json_snapshot!(crate::problem::tests::document(
            Media::of_body(&with(header::CONTENT_TYPE, "text/xml")).unwrap_err()
        ));
    }

    #[test]
    fn the_form_most_wanted_comes_first() {
        use Media::{Json, Npy, Raw, Safetensors};
        for (text, order) in [
            ("*/*", &[Json][..]),
            ("application/json", &[Json]),
            ("text/html, image/png", &[Json]),
            ("nonsense", &[Json]),
            ("application/octet-stream", &[Raw]),
            ("Application/X-NPY", &[Npy]),
            ("application/octet-stream, */*", &[Raw, Json, Npy, Safetensors]),
            ("application/vnd.safetensors", &[Safetensors]),
            (
                "application/x-safetensors, application/json;q=0.5",
                &[Safetensors, Json],
            ),
            ("application/x-npy, application/json;q=0.5", &[Npy, Json]),
            ("application/x-npy;q=0.2, application/json;q=0.5", &[Json, Npy]),
            (
                "application/octet-stream;q=0, */*;q=0.1",
                &[Json, Npy, Safetensors],
            ),
            ("application/*, application/json;q=0", &[Raw, Npy, Safetensors]),
            (
                "text/html,application/xhtml+xml,*/*;q=0.8",
                &[Json, Raw, Npy, Safetensors],
            ),
            ("application/octet-stream;q=2, application/json", &[Json]),
        ] {
            assert_eq!(&*Accepted::of(&with(header::ACCEPT, text)).forms, order, "{text}");
        }
        assert_eq!(&*Accepted::of(&HeaderMap::new()).forms, [Json]);
        let two = HeaderMap::from_iter(
            ["application/x-npy", "application/json;q=0.1"].map(|v| (header::ACCEPT, v.parse().unwrap())),
        );
        assert_eq!(two.get_all(header::ACCEPT).iter().count(), 2);
        assert_eq!(&*Accepted::of(&two).forms, [Npy, Json]);
    }

    #[test]
    fn a_file_is_wanted_by_its_name_or_family_and_more_than_json() {
        let wanted = |accept: &str| Accepted::of(&with(header::ACCEPT, accept)).wants_file("image/png");
        for yes in [
            "image/png",
            "IMAGE/*",
            "image/png, application/json;q=0.5",
            "image/avif,image/webp,image/*,*/*;q=0.8",
            "image/png, */*",
        ] {
            assert!(wanted(yes), "{yes}");
        }
        for no in [
            "*/*",
            "application/json",
            "image/jpeg",
            "image/png, application/json",
            "image/png;q=0.4, application/json;q=0.5",
            "image/*, image/png;q=0",
            "image/pn*",
            "text/html, */*;q=0.8",
        ] {
            assert!(!wanted(no), "{no}");
        }
    }
}
