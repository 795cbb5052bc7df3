//! The text between a file's magic and its data: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
//!
//! Any order of the three keys, either kind of quotes and any white space are read. A `descr` that is a list (records)
//! is taken whole, as text, so that its name can be told back.

use super::NpyError;
use crate::tensor::{RANK_MAX, Shape};

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) descr: &'a str,
    pub(super) fortran_order: bool,
    pub(super) shape: Shape,
}

/// Reads a header's text, which begins at byte `offset` of its file.
pub(super) fn read(text: &[u8], offset: usize) -> Result<Header<'_>, NpyError> {
    let mut at = Cursor { text, at: 0, offset };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    at.need(b'{', "a dictionary should begin here")?;
    while !at.take(b'}') {
        let key_at = at.at;
        let key = at.quoted()?;
        at.need(b':', "`:` should follow the key")?;
        let new = match key {
            "descr" => descr.replace(at.descr()?).is_none(),
            "fortran_order" => fortran_order.replace(at.truth()?).is_none(),
            "shape" => shape.replace(at.tuple()?).is_none(),
            _ => false,
        };
        if !new {
            at.at = key_at;
            return Err(at.wrong("the keys are descr, fortran_order and shape, each once"));
        }
        if !at.take(b',') {
            at.need(b'}', "`,` or `}` should follow the value")?;
            break;
        }
    }
    at.skip_white();
    if at.at < text.len() {
        return Err(at.wrong("nothing but white space should follow the dictionary"));
    }
    match (descr, fortran_order, shape) {
        (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header {
            descr,
            fortran_order,
            shape,
        }),
        _ => Err(at.wrong("descr, fortran_order or shape is missing")),
    }
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the text begins in its file.
    offset: usize,
}

impl<'a> Cursor<'a> {
    fn wrong(&self, what: &'static str) -> NpyError {
        NpyError::Header {
            at: self.offset + self.at,
            what,
        }
    }

    fn skip_white(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
    }

    /// The next byte that is not white space; it stays.
    fn peek(&mut self) -> Option<u8> {
        self.skip_white();
        self.text.get(self.at).copied()
    }

    /// Takes this byte if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    fn need(&mut self, byte: u8, what: &'static str) -> Result<(), NpyError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.wrong(what))
        }
    }

    /// Takes bytes as long as they are `of`, and gives them.
    fn run(&mut self, of: impl Fn(u8) -> bool) -> &'a [u8] {
        self.skip_white();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let (run, _) = rest.split_at(rest.iter().take_while(|b| of(**b)).count());
        self.at += run.len();
        run
    }

    /// A text in single or double quotes, without escapes.
    fn quoted(&mut self) -> Result<&'a str, NpyError> {
        let Some(quote @ (b'\'' | b'"')) = self.peek() else {
            return Err(self.wrong("a text in quotes should stand here"));
        };
        self.at += 1;
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let length = rest.iter().position(|b| *b == quote || *b == b'\\');
        let Some((inside, b)) = length.and_then(|n| Some((rest.get(..n)?, *rest.get(n)?))) else {
            return Err(self.wrong("the quotes are not closed"));
        };
        if b != quote {
            return Err(self.wrong("a text without escapes should stand here"));
        }
        let inside =
            std::str::from_utf8(inside).map_err(|_| self.wrong("a text in UTF-8 should stand here"))?;
        self.at += inside.len() + 1;
        Ok(inside)
    }

    /// A type's name without its quotes, or the whole of a list of names.
    fn descr(&mut self) -> Result<&'a str, NpyError> {
        if self.peek() != Some(b'[') {
            return self.quoted();
        }
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'\'' | b'"' => {
                    self.quoted()?;
                    continue;
                }
                b'[' | b'(' => depth += 1,
                b']' | b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                let list = self.text.get(start..self.at).unwrap_or_default();
                return std::str::from_utf8(list)
                    .map_err(|_| self.wrong("a list in UTF-8 should stand before this"));
            }
        }
        Err(self.wrong("the list is not closed"))
    }

    fn truth(&mut self) -> Result<bool, NpyError> {
        let start = self.at;
        match self.run(|b| b.is_ascii_alphabetic()) {
            b"True" => Ok(true),
            b"False" => Ok(false),
            _ => {
                self.at = start;
                Err(self.wrong("True or False should stand here"))
            }
        }
    }

    /// A tuple of sizes. NumPy under Python 2 wrote an `L` behind some.
    fn tuple(&mut self) -> Result<Shape, NpyError> {
        self.need(b'(', "a tuple of sizes should begin here")?;
        let mut shape = Shape::new();
        while !self.take(b')') {
            let digits = self.run(|b| b.is_ascii_digit());
            if digits.is_empty() {
                return Err(self.wrong("a size should stand here"));
            }
            let size = digits.iter().try_fold(0_usize, |n, digit| {
                n.checked_mul(10)?.checked_add(usize::from(digit - b'0'))
            });
            shape.push(size.ok_or(NpyError::Shape)?);
            if shape.len() > RANK_MAX {
                return Err(NpyError::Shape);
            }
            self.take(b'L');
            if !self.take(b',') {
                self.need(b')', "`,` or `)` should follow the size")?;
                break;
            }
        }
        Ok(shape)
    }
}
