//! Writes one JSON object straight into a buffer.
//!
//! Task answers splice results in as they are stored: a serde value would have to parse them again. Everything else the
//! door answers goes through serde; use this only where raw JSON is spliced in.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

/// A JSON object being written.
pub(crate) struct ObjectOut {
    out: Vec<u8>,
    first: bool,
}

impl ObjectOut {
    /// An object of about `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(b'{');
        Self { out, first: true }
    }

    /// The buffer, after `"key":`, for one value. `key` needs no escaping: it is one of ours.
    pub(crate) fn raw(&mut self, key: &'static str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        &mut self.out
    }

    /// Any serde value: escaped as JSON asks.
    pub(crate) fn value(&mut self, key: &'static str, value: &(impl Serialize + ?Sized)) {
        serde_json::to_writer(self.raw(key), value)
            .expect("our own types become JSON, and a Vec takes any bytes");
    }

    /// Something whose text never needs escaping (an id, an instant, a model name), in quotes.
    pub(crate) fn plain(&mut self, key: &'static str, text: impl Display) {
        write!(self.raw(key), "\"{text}\"").expect("a Vec takes any bytes");
    }

    /// The same, or null.
    pub(crate) fn plain_or_null(&mut self, key: &'static str, text: Option<impl Display>) {
        match text {
            Some(text) => self.plain(key, text),
            None => self.raw(key).extend_from_slice(b"null"),
        }
    }

    /// The object's bytes.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_written_in_order() {
        let mut object = ObjectOut::new(0);
        object.plain("a", 1);
        object.value("b", "quote\" and é");
        object.plain_or_null("c", None::<u8>);
        object.raw("d").extend_from_slice(b"[1, 2]");
        assert_eq!(
            String::from_utf8(object.end()).unwrap(),
            r#"{"a":"1","b":"quote\" and é","c":null,"d":[1, 2]}"#
        );
        assert_eq!(ObjectOut::new(0).end(), b"{}");
    }
}
