//! Writes one JSON object straight into a buffer.
//!
//! Task answers splice results in as they are stored: a serde value would have to parse them again. Everything else the
//! door answers goes through serde; use this only where raw JSON is spliced in.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

/// What a page weighs without its entries.
const PAGE_BYTES: usize = 64;

/// A page of a list: `{"name": [...], "next": ...}`, of entries that are written already. Those together weigh about `weight`.
pub(crate) fn page(
    name: &'static str,
    weight: usize,
    entries: impl IntoIterator<Item = Vec<u8>>,
    next: Option<u64>,
) -> Vec<u8> {
    let mut out = ObjectOut::new(PAGE_BYTES + weight);
    let list = out.raw(name);
    list.push(b'[');
    for (i, entry) in entries.into_iter().enumerate() {
        if i > 0 {
            list.push(b',');
        }
        list.extend_from_slice(&entry);
    }
    list.push(b']');
    // Text, as ids are: a number beyond 2^53 would not survive every reader.
    out.plain_or_null("next", next);
    out.end()
}

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
    fn a_page_has_its_entries_and_says_where_the_next_one_begins() {
        let told = |entries: &[&str], next| {
            let entries = entries.iter().map(|entry| entry.as_bytes().to_vec());
            String::from_utf8(page("a", 0, entries, next)).unwrap()
        };
        assert_eq!(told(&["{}", "1"], Some(7)), r#"{"a":[{},1],"next":"7"}"#);
        assert_eq!(told(&[], None), r#"{"a":[],"next":null}"#);
    }

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
