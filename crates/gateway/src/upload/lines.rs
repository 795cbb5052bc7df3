//! A body of lines, read as it comes: it may be of any length, and no more of it is in memory than a piece and a line.

use bytes::{Buf, Bytes, BytesMut};

use super::{Held, Upload};
use crate::problem::Problem;
use crate::upload::pace::Pace;

/// A line as it came, without its end.
#[derive(Debug, PartialEq)]
pub(crate) enum LineText {
    /// This.
    Whole(Bytes),
    /// It was longer than a body may be; so long.
    TooLong(usize),
}

/// A body, line by line.
pub(crate) struct Lines {
    upload: Upload,
    pace: Pace,
    splitter: Splitter,
    came: usize,
    held: Held,
}

impl Upload {
    /// Nothing is read yet. A line weighs at most what a body may.
    pub(crate) fn lines(mut self) -> Lines {
        self.held_back = false; // asking for the first piece sends `100 Continue`
        Lines {
            pace: Pace::new(self.app.options.body_timeout, self.app.options.min_rate),
            splitter: Splitter::new(self.app.options.max_body_bytes),
            came: 0,
            held: self.app.budget.share(),
            upload: self,
        }
    }
}

impl Lines {
    /// The next line of what has come; `None` asks for more of it. Lines of white space only are none.
    pub(crate) fn next(&mut self) -> Option<LineText> {
        self.splitter.next()
    }

    /// Waits for more; false at the end of the body.
    pub(crate) async fn more(&mut self) -> Result<bool, Problem> {
        let Some(piece) = self.upload.frame(self.came, &mut self.pace).await? else {
            return Ok(false);
        };
        self.came += piece.len();
        // What is kept of a line that has not ended counts as every body does.
        self.held = self.upload.app.budget.share();
        self.held.grow(self.splitter.kept() + piece.len())?;
        self.splitter.feed(piece);
        Ok(true)
    }

    /// What stood behind the last line break, once the body has ended.
    pub(crate) fn last(&mut self) -> Option<LineText> {
        self.splitter.last()
    }
}

/// Cuts pieces into lines.
struct Splitter {
    piece: Bytes,
    /// The beginning of a line whose end has not come.
    begun: BytesMut,
    /// It is longer than this and thrown away; so much was.
    thrown: usize,
    max: usize,
}

impl Splitter {
    fn new(max: usize) -> Self {
        Self {
            piece: Bytes::new(),
            begun: BytesMut::new(),
            thrown: 0,
            max,
        }
    }

    fn kept(&self) -> usize {
        self.begun.len()
    }

    /// Only when all lines of the piece before have been taken.
    fn feed(&mut self, piece: Bytes) {
        self.piece = piece;
    }

    fn next(&mut self) -> Option<LineText> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.piece) else {
                let rest = std::mem::take(&mut self.piece);
                self.keep(&rest);
                return None;
            };
            let rest = self.piece.split_to(end);
            self.piece.advance(1);
            let line = if self.begun.is_empty() && self.thrown == 0 && rest.len() <= self.max {
                LineText::Whole(rest) // most lines lie within a piece, and are not copied
            } else {
                self.keep(&rest);
                self.take()
            };
            if !is_blank(&line) {
                return Some(line);
            }
        }
    }

    fn last(&mut self) -> Option<LineText> {
        let line = self.take();
        (!is_blank(&line)).then_some(line)
    }

    fn keep(&mut self, part: &[u8]) {
        if self.thrown > 0 || self.begun.len() + part.len() > self.max {
            self.thrown += self.begun.len() + part.len();
            self.begun = BytesMut::new();
        } else {
            self.begun.extend_from_slice(part);
        }
    }

    fn take(&mut self) -> LineText {
        match std::mem::take(&mut self.thrown) {
            0 => LineText::Whole(std::mem::take(&mut self.begun).freeze()),
            length => LineText::TooLong(length),
        }
    }
}

fn is_blank(line: &LineText) -> bool {
    matches!(line, LineText::Whole(text) if text.iter().all(u8::is_ascii_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a text that comes in pieces of this size.
    fn lines(text: &[u8], size: usize, max: usize) -> Vec<LineText> {
        let mut splitter = Splitter::new(max);
        let mut found = Vec::new();
        for piece in text.chunks(size) {
            splitter.feed(Bytes::copy_from_slice(piece));
            while let Some(line) = splitter.next() {
                found.push(line);
            }
        }
        found.extend(splitter.last());
        found
    }

    fn whole(text: &str) -> LineText {
        LineText::Whole(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn lines_are_the_same_however_the_body_is_cut() {
        let text = b"{\"a\": 1}\n\n  \r\n{\"b\": 2}\r\nlonger than ten\nend";
        for size in 1..=text.len() {
            let found = lines(text, size, 10);
            let expected = [
                whole("{\"a\": 1}"),
                whole("{\"b\": 2}\r"),
                LineText::TooLong(15),
                whole("end"),
            ];
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_is_allowed_and_no_body_is_no_line() {
        assert_eq!(lines(b"0123456789\n", 3, 10), [whole("0123456789")]);
        assert_eq!(lines(b"0123456789a", 3, 10), [LineText::TooLong(11)]);
        assert_eq!(lines(b"", 1, 10), []);
        assert_eq!(lines(b"\n\n \n", 1, 10), []);
    }
}
