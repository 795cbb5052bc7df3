//! msgpack as JSON text: everything behind it speaks JSON. Bytes become what Celery's own JSON makes of them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The JSON text of one msgpack value that nests at most `depth_max` deep.
pub(crate) fn to_json(bytes: &[u8], depth_max: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    reader.set_max_depth(depth_max);
    let value = Value {
        out: &mut out,
        depth: depth_max,
        is_key: false,
    };
    value
        .deserialize(&mut reader)
        .map_err(|error| error.to_string())?;
    Ok(out)
}

/// Writes whatever comes.
struct Value<'o> {
    out: &'o mut Vec<u8>,
    depth: usize,
    /// JSON's keys are text: Python's own JSON writes numbers there as text, too.
    is_key: bool,
}

impl Value<'_> {
    fn plain(self, value: impl fmt::Display) {
        let quote = if self.is_key { "\"" } else { "" };
        self.out
            .extend_from_slice(format!("{quote}{value}{quote}").as_bytes());
    }

    fn text<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        serde_json::to_writer(self.out, text).map_err(E::custom)
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.is_key {
            return Err(E::custom("a key is neither text nor a number"));
        }
        self.depth
            .checked_sub(1)
            .ok_or_else(|| E::custom("it is nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.plain(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.plain(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.plain(value);
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if !value.is_finite() {
            return Err(E::custom("NaN and infinity cannot be told in JSON"));
        }
        // The shortest text that reads back as this number; always with a point or an exponent.
        self.plain(format_args!("{value:?}"));
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.text(value)
    }

    fn visit_bytes<E: serde::de::Error>(self, value: &[u8]) -> Result<(), E> {
        if self.is_key {
            return Err(E::custom("a key is neither text nor a number"));
        }
        let text = STANDARD.encode(value);
        self.out
            .extend_from_slice(format!("{{\"__type__\":\"base64\",\"__value__\":\"{text}\"}}").as_bytes());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.plain("null");
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        self.plain("null");
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom("a msgpack extension type is not read here"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        self.out.push(b'[');
        let mut first = true;
        loop {
            let before = self.out.len();
            if !first {
                self.out.push(b',');
            }
            let value = Value {
                out: self.out,
                depth,
                is_key: false,
            };
            if items.next_element_seed(value)?.is_none() {
                self.out.truncate(before);
                break;
            }
            first = false;
        }
        self.out.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let depth = self.deeper()?;
        self.out.push(b'{');
        let mut first = true;
        loop {
            let before = self.out.len();
            if !first {
                self.out.push(b',');
            }
            let key = Value {
                out: self.out,
                depth: 0,
                is_key: true,
            };
            if entries.next_key_seed(key)?.is_none() {
                self.out.truncate(before);
                break;
            }
            self.out.push(b':');
            entries.next_value_seed(Value {
                out: self.out,
                depth,
                is_key: false,
            })?;
            first = false;
        }
        self.out.push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> Result<String, String> {
        to_json(bytes, 8).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn every_kind_of_value_has_its_json() {
        let value = serde_json::json!([null, true, -3, 1.5, "a\"é", [], {}, {"k": [1]}]);
        let packed = rmp_serde::to_vec(&value).unwrap();
        assert_eq!(json(&packed).unwrap(), value.to_string());
        assert_eq!(json(&[0xcb, 0x40, 0, 0, 0, 0, 0, 0, 0]).unwrap(), "2.0");
        assert_eq!(json(&[0x81, 0x05, 0xc0]).unwrap(), "{\"5\":null}");
        let bytes = "{\"__type__\":\"base64\",\"__value__\":\"AQI=\"}";
        assert_eq!(json(&[0xc4, 2, 1, 2]).unwrap(), bytes);
    }

    #[test]
    fn what_json_has_not_is_refused() {
        for bytes in [
            &[][..],
            &[0x91],
            &[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
            &[0x81, 0x90, 0xc0],
            &[0xd4, 1, 0],
            &[0x91; 40],
        ] {
            assert!(json(bytes).is_err(), "{bytes:?}");
        }
    }
}
