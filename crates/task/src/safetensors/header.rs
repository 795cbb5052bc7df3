//! The JSON between a file's length and its data: `{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, ...}`.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::{ENTRIES_MAX, METADATA, SafetensorsError, shown, type_name};
use crate::tensor::TensorSet;

/// What a header says of one tensor.
pub(super) struct Entry<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) dtype: Cow<'a, str>,
    pub(super) shape: Vec<u64>,
    /// Where its bytes begin and end, from where the data begins.
    pub(super) offsets: [u64; 2],
}

/// One value of the header's object. A key that is not known may mean anything, so it is an error.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Info<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Reads a header, which begins at byte `offset` of its file.
pub(super) fn read(text: &[u8], offset: usize) -> Result<Vec<Entry<'_>>, SafetensorsError> {
    let wrong = |at: usize, what: String| SafetensorsError::Header {
        at: offset + at,
        what,
    };
    // JSON may begin with white space, a header may not: so says the format, to be told from other files.
    if text.first() != Some(&b'{') {
        return Err(wrong(0, "an object should begin here".into()));
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let entries = reader
        .deserialize_map(Tensors)
        .and_then(|entries| reader.end().map(|()| entries))
        .map_err(|error| {
            let (at, what) = explain(text, &error);
            wrong(at, what)
        })?;
    let mut names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(SafetensorsError::Twice { name: shown(pair[0]) }),
        None => Ok(entries),
    }
}

/// Collects the header's object in its order.
struct Tensors;

impl<'de> Visitor<'de> for Tensors {
    type Value = Vec<Entry<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from tensor names to what they are")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        let mut has_metadata = false;
        while let Some(Text(name)) = map.next_key()? {
            if name == METADATA {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(A::Error::custom(format_args!("{METADATA} is given twice")));
                }
                map.next_value::<Metadata>()?;
                continue;
            }
            if entries.len() == ENTRIES_MAX {
                return Err(A::Error::custom(format_args!("more than {ENTRIES_MAX} tensors")));
            }
            let Info {
                dtype,
                shape,
                data_offsets: offsets,
            } = map.next_value()?;
            entries.push(Entry {
                name,
                dtype,
                shape,
                offsets,
            });
        }
        Ok(entries)
    }
}

/// Text, borrowed from the header unless it has escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A map from text to text. Checked and forgotten.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object from text to text ({METADATA})")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                while map.next_entry::<Text<'de>, Text<'de>>()?.is_some() {}
                Ok(Metadata)
            }
        }
        input.deserialize_map(Pairs)
    }
}

/// Where serde_json stopped, from the header's first byte, and why, without its own words for the place.
fn explain(text: &[u8], error: &serde_json::Error) -> (usize, String) {
    let said = error.to_string();
    let what = said
        .rsplit_once(" at line ")
        .map_or(said.as_str(), |(what, _)| what);
    if error.is_eof() {
        return (text.len(), what.to_owned());
    }
    let line = error.line().saturating_sub(1);
    let start: usize = text
        .split_inclusive(|b| *b == b'\n')
        .take(line)
        .map(<[u8]>::len)
        .sum();
    (start + error.column().saturating_sub(1), what.to_owned())
}

/// About how many bytes the header of this set takes.
pub(super) fn about(set: &TensorSet) -> usize {
    /// `{"dtype":"BOOL","shape":[],"data_offsets":[,]},` and two offsets; and a size with its comma.
    const FRAME: usize = 80;
    const SIZE: usize = 8;
    let each = set
        .0
        .iter()
        .map(|(name, tensor)| FRAME + name.len() + SIZE * tensor.shape.len());
    each.sum::<usize>() + FRAME
}

/// Appends the header of a set whose tensors begin at `starts`.
pub(super) fn write(set: &TensorSet, starts: &[usize], out: &mut Vec<u8>) {
    const NEVER_FAILS: &str = "a Vec takes any bytes";
    out.push(b'{');
    for (i, ((name, tensor), start)) in set.0.iter().zip(starts).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &**name).expect(NEVER_FAILS);
        let (dtype, end) = (type_name(tensor.dtype), start + tensor.data.len());
        write!(out, ":{{\"dtype\":\"{dtype}\",\"shape\":[").expect(NEVER_FAILS);
        for (i, size) in tensor.shape.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(out, "{comma}{size}").expect(NEVER_FAILS);
        }
        write!(out, "],\"data_offsets\":[{start},{end}]}}").expect(NEVER_FAILS);
    }
    out.push(b'}');
}
