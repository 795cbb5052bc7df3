//! Writes pickles of plain data: what Celery before 5.7 reads from the result column of its SQL tables. Nothing here reads one, and
//! nothing that is written here has a class in it, so that loading it runs nobody's code.

use crate::text::unescape;

/// Two bytes that say "protocol 2": every Python 3 reads it.
const PROTOCOL: &[u8] = b"\x80\x02";
const STOP: u8 = b'.';
const NONE: u8 = b'N';
const TRUE: u8 = 0x88;
const FALSE: u8 = 0x89;
const SMALL_INT: u8 = b'K';
const INT: u8 = b'J';
/// Of any size, in decimal.
const LONG: u8 = b'L';
const FLOAT: u8 = b'G';
const TEXT: u8 = b'X';
const LIST: u8 = b']';
const DICT: u8 = b'}';
const MARK: u8 = b'(';
const APPENDS: u8 = b'e';
const SETITEMS: u8 = b'u';

/// The pickle of what a JSON text says. `None` for one with a text of more than 4 GiB, or which is no JSON.
#[must_use]
pub fn pickle(json: &str) -> Option<Vec<u8>> {
    let text = json.as_bytes();
    let mut out = Vec::with_capacity(text.len() + 16);
    out.extend_from_slice(PROTOCOL);
    let mut at = 0;
    // It is JSON, so that what opens also closes: it need not be counted, and nothing here goes deep.
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'[' => out.extend_from_slice(&[LIST, MARK]),
            b']' => out.push(APPENDS),
            b'{' => out.extend_from_slice(&[DICT, MARK]),
            b'}' => out.push(SETITEMS),
            b'"' => {
                let end = at + closing(text.get(at..)?)?;
                string(json.get(at..end)?, &mut out)?;
                at = end + 1;
            }
            b'n' | b't' | b'f' => {
                out.push(match byte {
                    b'n' => NONE,
                    b't' => TRUE,
                    _ => FALSE,
                });
                at += match byte {
                    b'f' => "alse".len(),
                    _ => "rue".len(),
                };
            }
            b'-' | b'0'..=b'9' => {
                let rest = text.get(at..)?;
                let more = rest.iter().take_while(|byte| is_of_number(**byte)).count();
                number(json.get(at - 1..at + more)?, &mut out)?;
                at += more;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => return None,
        }
    }
    out.push(STOP);
    Some(out)
}

/// Where a string ends.
fn closing(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })
}

const fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

fn string(escaped: &str, out: &mut Vec<u8>) -> Option<()> {
    let text = unescape(escaped)?;
    out.push(TEXT);
    out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
    out.extend_from_slice(&text);
    Some(())
}

fn number(text: &str, out: &mut Vec<u8>) -> Option<()> {
    if text.contains(['.', 'e', 'E']) {
        out.push(FLOAT);
        out.extend_from_slice(&text.parse::<f64>().ok()?.to_be_bytes());
    } else if let Ok(small) = text.parse::<u8>() {
        out.extend_from_slice(&[SMALL_INT, small]);
    } else if let Ok(int) = text.parse::<i32>() {
        out.push(INT);
        out.extend_from_slice(&int.to_le_bytes());
    } else {
        out.push(LONG);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"L\n");
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_data_has_its_opcodes() {
        for (json, bytes) in [
            ("5", &b"\x80\x02K\x05."[..]),
            ("null", b"\x80\x02N."),
            (" [true, false] ", b"\x80\x02](\x88\x89e."),
            ("{\"a\": -1}", b"\x80\x02}(X\x01\0\0\0aJ\xff\xff\xff\xffu."),
            ("1.5", b"\x80\x02G\x3f\xf8\0\0\0\0\0\0."),
            ("4294967296", b"\x80\x02L4294967296L\n."),
            ("\"\\ud800\"", b"\x80\x02X\x03\0\0\0\xed\xa0\x80."),
        ] {
            assert_eq!(pickle(json).as_deref(), Some(bytes), "{json}");
        }
        assert_eq!(pickle("nothing but ?"), None);
        assert_eq!(pickle("\"open"), None);
    }
}
