//! Codings of bodies, as `Content-Encoding` and `Accept-Encoding` name them: gzip and zstd, in and out.
//!
//! `deflate` is not among them: two formats go by that name, and whoever can send it can send gzip.

mod pack;
mod unpack;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use cresset_task::Code;

pub(crate) use self::pack::packed;
pub(crate) use self::unpack::Unpacker;
use crate::problem::Problem;
use crate::query::cut;

/// What a body may be packed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 8878, with the windows of RFC 9659.
    Zstd,
    /// RFC 1952.
    Gzip,
}

/// All of them, as `Accept-Encoding` has it.
pub(crate) const CODINGS: HeaderValue = HeaderValue::from_static("gzip, zstd");

impl Coding {
    /// The better one first: it wins where a caller takes either.
    const ALL: [Self; 2] = [Self::Zstd, Self::Gzip];

    /// Its name in headers.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What is called so. `x-gzip` is gzip (RFC 9110, 8.4.1.3).
    fn called(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "zstd" => Some(Self::Zstd),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            _ => None,
        }
    }

    /// What the body of a request is packed in, if it is.
    pub(crate) fn of_body(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        if !headers.contains_key(header::CONTENT_ENCODING) {
            return Ok(None);
        }
        let all = all(headers, &header::CONTENT_ENCODING);
        let mut named = all
            .iter()
            .map(|name| name.as_str())
            .filter(|name| !name.eq_ignore_ascii_case("identity"));
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(name), None) => Self::called(name).map(Some).ok_or_else(|| unknown(name)),
            (Some(_), Some(_)) => Err(unknown(&all.join(", "))),
        }
    }

    /// What an answer may be packed in and is best, by the `Accept-Encoding` of its request.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(header::ACCEPT_ENCODING) {
            return None;
        }
        let (mut each, mut others, mut bare) = ([None; 2], None, 0);
        for entry in all(headers, &header::ACCEPT_ENCODING) {
            let (name, quality) = entry_of(&entry)?;
            match Self::called(name) {
                Some(Self::Zstd) => each[0] = Some(quality),
                Some(Self::Gzip) => each[1] = Some(quality),
                None if name == "*" => others = Some(quality),
                None if name.eq_ignore_ascii_case("identity") => bare = quality,
                None => {}
            }
        }
        let quality = |given: Option<u16>| given.or(others).unwrap_or(0);
        let [zstd, gzip] = each.map(quality);
        let best = if gzip > zstd {
            (gzip, Self::ALL[1])
        } else {
            (zstd, Self::ALL[0])
        };
        (best.0 > 0 && best.0 >= bare).then_some(best.1)
    }
}

/// The entries of a header that is a list, however many lines it has.
fn all(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .flat_map(|value| {
            value
                .split(',')
                .map(|part| part.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|part| !part.is_empty())
        .collect()
}

/// `gzip;q=0.5`, in thousandths. What cannot be read packs nothing.
fn entry_of(entry: &str) -> Option<(&str, u16)> {
    let Some((name, parameter)) = entry.split_once(';') else {
        return Some((entry, 1000));
    };
    let (key, value) = parameter.split_once('=')?;
    let quality: f32 = value.trim().parse().ok()?;
    (key.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&quality))
        .then_some((name.trim(), (quality * 1000.0) as u16))
}

fn unknown(given: &str) -> Problem {
    Problem::new(
        Code::UnsupportedMediaType,
        format!(
            "the Content-Encoding is `{}`; send the body as it is, or in one of `gzip` and `zstd`",
            cut(given)
        ),
    )
    .naming_codings()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn a_body_is_in_one_coding_or_in_none() {
        let of = |values: &[&str]| Coding::of_body(&with(header::CONTENT_ENCODING, values));
        for (values, coding) in [
            (&[][..], None),
            (&["identity"], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["X-GZip"], Some(Coding::Gzip)),
            (&["zstd"], Some(Coding::Zstd)),
            (&["identity, gzip,"], Some(Coding::Gzip)),
        ] {
            assert_eq!(of(values).unwrap(), coding, "{values:?}");
        }
        for values in [
            &["br"][..],
            &["deflate"],
            &["gzip, gzip"],
            &["gzip", "zstd"],
            &["gzip zstd"],
        ] {
            assert!(of(values).is_err(), "{values:?}");
        }
    }

    #[test]
    fn an_answer_is_packed_as_its_reader_likes_best() {
        let of = |values: &[&str]| Coding::accepted(&with(header::ACCEPT_ENCODING, values));
        for (values, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["identity"], None),
            (&["br, deflate"], None),
            (&["gzip, deflate, br"], Some(Coding::Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Coding::Zstd)),
            (&["zstd;q=0.5", "gzip"], Some(Coding::Gzip)),
            (&["*"], Some(Coding::Zstd)),
            (&["zstd;q=0, *;q=0.1"], Some(Coding::Gzip)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.5, identity"], None),
            (&["gzip;q=much"], None),
            (&["gzip;q=2"], None),
        ] {
            assert_eq!(of(values), coding, "{values:?}");
        }
    }
}
