//! Texts inside of JSON, taken out of their escapes. Python's JSON may hold half of a surrogate pair, which no Rust string can; what it
//! stands for is then three bytes, as Python's own `surrogatepass` has them.

/// What a JSON string between its quotes stands for. `None`: an escape is not JSON's.
pub(crate) fn unescape(escaped: &str) -> Option<Vec<u8>> {
    let text = escaped.as_bytes();
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let kind = text.get(at)?;
        at += 1;
        out.push(match kind {
            b'"' | b'\\' | b'/' => *kind,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = hex(text, at)?;
                at += 4;
                let low = (text.get(at..at + 2) == Some(b"\\u"))
                    .then(|| hex(text, at + 2))
                    .flatten();
                let both = low.and_then(|low| char::decode_utf16([unit, low]).next()?.ok());
                match both.filter(|_| (0xd800..0xdc00).contains(&unit)) {
                    Some(pair) => {
                        at += 6;
                        push(u32::from(pair), &mut out);
                    }
                    None => push(u32::from(unit), &mut out),
                }
                continue;
            }
            _ => return None,
        });
    }
    Some(out)
}

fn hex(text: &[u8], at: usize) -> Option<u16> {
    let digits = text
        .get(at..at + 4)
        .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The code point as UTF-8 would have it, also of half a pair.
fn push(point: u32, out: &mut Vec<u8>) {
    let tail = |shift: u32| 0x80 | (point >> shift & 0x3f) as u8;
    match point {
        0..0x80 => out.push(point as u8),
        0x80..0x800 => out.extend([0xc0 | (point >> 6) as u8, tail(0)]),
        0x800..0x1_0000 => out.extend([0xe0 | (point >> 12) as u8, tail(6), tail(0)]),
        _ => out.extend([0xf0 | (point >> 18) as u8, tail(12), tail(6), tail(0)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_what_json_means() {
        let same = r#"\u00e9\u20ac\ud83d\ude00 é\n\"\\\/\t"#;
        assert_eq!(unescape(same).as_deref(), Some("é€😀 é\n\"\\/\t".as_bytes()));
        assert_eq!(unescape("\\ud83dx").as_deref(), Some(&b"\xed\xa0\xbdx"[..]));
        assert_eq!(
            unescape("\\ude00\\ud83d").as_deref(),
            Some(&b"\xed\xb8\x80\xed\xa0\xbd"[..])
        );
        for wrong in ["\\x", "\\u12", "\\u12g4", "\\"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }
}
