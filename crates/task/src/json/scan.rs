//! Reads JSON tokens from bytes, checking the grammar as it goes.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::fault::Fault;

/// The longest piece of input that a message repeats, in bytes.
const QUOTED_MAX: usize = 40;

/// A place in a JSON text.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A number as it stands in the text, grammar checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a> {
    /// The whole token.
    pub(super) text: &'a [u8],
    pub(super) negative: bool,
    /// All digits, the point left out, as an integer modulo 2^64; exact when [`Number::short`].
    pub(super) mantissa: u64,
    /// Digits before the point.
    pub(super) whole_len: usize,
    /// Digits after the point.
    pub(super) fraction_len: usize,
    /// The written exponent, kept within +-10^9; 0 when there is none.
    pub(super) exponent: i64,
    /// There is neither point nor exponent.
    pub(super) plain: bool,
}

/// Digits that always fit 64 bits.
const SHORT_DIGITS: usize = 19;
/// No double is affected by an exponent beyond this, nor is any text long enough to make up for it.
const EXPONENT_MAX: i64 = 1_000_000_000;

impl<'a> Number<'a> {
    /// True when `mantissa` is exact.
    pub(super) fn short(&self) -> bool {
        self.whole_len + self.fraction_len <= SHORT_DIGITS
    }

    /// The power of ten that goes with `mantissa`.
    pub(super) fn scale(&self) -> i64 {
        self.exponent - self.fraction_len as i64
    }

    /// The digits of the mantissa, the point left out.
    pub(super) fn digits(&self) -> impl Iterator<Item = u8> + 'a {
        let start = usize::from(self.negative);
        let (whole, after) = (self.whole_len, self.fraction_len);
        let text = self.text;
        let fraction = if after == 0 {
            &[][..]
        } else {
            &text[start + whole + 1..start + whole + 1 + after]
        };
        text[start..start + whole].iter().chain(fraction).copied()
    }

    /// The token for a message, cut when long.
    pub(super) fn shown(&self) -> String {
        let cut = &self.text[..self.text.len().min(QUOTED_MAX)];
        let dots = if cut.len() < self.text.len() { "..." } else { "" };
        format!("{}{dots}", String::from_utf8_lossy(cut))
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next byte; 0, which starts no token, at the end.
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        byte(self.bytes, self.at)
    }

    /// How many bytes have been read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Steps over the byte that was peeked at.
    #[inline(always)]
    pub(super) fn bump(&mut self) {
        self.at += 1;
    }

    #[inline(always)]
    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Steps over `word` if it is next.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.bytes[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    /// An error unless only white space is left.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.unexpected("the end"))
        }
    }

    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<Number<'a>, Fault> {
        let bytes = self.bytes;
        let start = self.at;
        let negative = byte(bytes, start) == b'-';
        let whole_at = start + usize::from(negative);
        let (mut mantissa, mut at) = digits(bytes, whole_at, 0);
        let whole_len = at - whole_at;
        if whole_len == 0 {
            return Err(self.no_number());
        }
        if whole_len > 1 && bytes[whole_at] == b'0' {
            return Err(self.bad_number("a number does not begin with 0 and another digit"));
        }
        let mut fraction_len = 0;
        let mut plain = true;
        if byte(bytes, at) == b'.' {
            plain = false;
            let fraction_at = at + 1;
            (mantissa, at) = digits(bytes, fraction_at, mantissa);
            fraction_len = at - fraction_at;
            if fraction_len == 0 {
                return Err(self.bad_number("a point has a digit after it"));
            }
        }
        let mut exponent = 0;
        if matches!(byte(bytes, at), b'e' | b'E') {
            plain = false;
            (exponent, at) = self.exponent(at + 1)?;
        }
        self.at = at;
        Ok(Number {
            text: &bytes[start..at],
            negative,
            mantissa,
            whole_len,
            fraction_len,
            exponent,
            plain,
        })
    }

    /// The exponent at `at`, after its `e`; and where it ends.
    fn exponent(&self, mut at: usize) -> Result<(i64, usize), Fault> {
        let negative = byte(self.bytes, at) == b'-';
        if negative || byte(self.bytes, at) == b'+' {
            at += 1;
        }
        let start = at;
        let mut exponent = 0_i64;
        while byte(self.bytes, at).is_ascii_digit() {
            exponent = (exponent * 10 + i64::from(self.bytes[at] - b'0')).min(EXPONENT_MAX);
            at += 1;
        }
        if at == start {
            return Err(self.bad_number("an exponent has a digit"));
        }
        Ok((if negative { -exponent } else { exponent }, at))
    }

    /// A string, its escapes resolved.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        if self.peek() != b'"' {
            return Err(self.unexpected("`\"`"));
        }
        let rest = &self.bytes[self.at..];
        let mut strings = serde_json::Deserializer::from_slice(rest).into_iter::<String>();
        match strings.next() {
            Some(Ok(text)) => {
                let len = strings.byte_offset();
                self.at += len;
                // Without an escape the text is there already; serde_json has checked that it is UTF-8.
                match std::str::from_utf8(&rest[1..len - 1]) {
                    Ok(raw) if raw == text => Ok(Cow::Borrowed(raw)),
                    _ => Ok(Cow::Owned(text)),
                }
            }
            _ => Err(Fault::new(format!(
                "not JSON: the string at byte {} is broken",
                self.at
            ))),
        }
    }

    /// Elements left in an array whose next element is next. `None` when what follows is not JSON.
    pub(super) fn count_rest(&mut self) -> Option<usize> {
        let mut count = 0;
        loop {
            let mut values =
                serde_json::Deserializer::from_slice(&self.bytes[self.at..]).into_iter::<IgnoredAny>();
            values.next()?.ok()?;
            self.at += values.byte_offset();
            count += 1;
            self.skip_space();
            match self.peek() {
                b',' => self.bump(),
                b']' => return Some(count),
                _ => return None,
            }
        }
    }

    /// What the next value is, for a message.
    pub(super) fn kind(&self) -> Option<&'static str> {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        Some(match self.peek() {
            b'[' => "an array",
            b'{' => "an object",
            b'"' => "a string",
            b'-' | b'0'..=b'9' => "a number",
            b't' if rest.starts_with(b"true") => "true",
            b'f' if rest.starts_with(b"false") => "false",
            b'n' if rest.starts_with(b"null") => "null",
            _ => return None,
        })
    }

    /// The next value is not `wanted`; or it is no JSON at all.
    #[cold]
    pub(super) fn wrong_kind(&self, wanted: &str) -> Fault {
        match self.kind() {
            Some(kind) => Fault::new(format!("must be {wanted}, is {kind}")),
            None => self.unexpected(wanted),
        }
    }

    /// The next byte is none that JSON has here.
    #[cold]
    pub(super) fn unexpected(&self, wanted: &str) -> Fault {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        if rest.is_empty() {
            return Fault::new(format!("not JSON: it ends where {wanted} should be"));
        }
        let word = rest.strip_prefix(b"-").unwrap_or(rest);
        if word.starts_with(b"NaN")
            || word.starts_with(b"nan")
            || word.starts_with(b"Inf")
            || word.starts_with(b"inf")
        {
            return Fault::new("not JSON: it has no NaN and no infinity");
        }
        let found = String::from_utf8_lossy(&rest[..rest.len().min(4)]);
        let found = found
            .chars()
            .next()
            .map(|c| c.escape_debug().to_string())
            .unwrap_or_default();
        Fault::new(format!(
            "not JSON: `{found}` at byte {} where {wanted} should be",
            self.at
        ))
    }

    #[cold]
    fn no_number(&self) -> Fault {
        match self.kind() {
            Some("a number") | None => self.unexpected("a number"),
            Some(_) => self.wrong_kind("a number"),
        }
    }

    #[cold]
    fn bad_number(&self, rule: &str) -> Fault {
        Fault::new(format!("not JSON: {rule} (at byte {})", self.at))
    }
}

#[inline(always)]
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Adds the digits from `at` on to `mantissa`, modulo 2^64; and where they end. Eight at a time was tried, and was slower: most
/// numbers are short, and of about one length.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut mantissa: u64) -> (u64, usize) {
    loop {
        let digit = byte(bytes, at).wrapping_sub(b'0');
        if digit > 9 {
            return (mantissa, at);
        }
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
}
