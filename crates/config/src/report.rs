//! The text being read, and the mistakes found in it so far.

use std::ops::Range;

use crate::field::Refusal;
use crate::mistake::{Excerpt, Mistake, Place, Position, Severity, sort};

/// Mistakes reported of one file at most: a file that is not a configuration at all must not fill the screen.
const MISTAKES_MAX: usize = 100;

/// Collects what is wrong in one file.
pub(crate) struct Report<'a> {
    path: &'a str,
    text: &'a str,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
    mistakes: Vec<Mistake>,
    left_out: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(path: &'a str, text: &'a str) -> Self {
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            path,
            text,
            lines,
            mistakes: Vec::new(),
            left_out: 0,
        }
    }

    /// Line and column of a byte offset, which may be anywhere, even past the end or inside a character.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines[line - 1];
        let column = self.text[start..]
            .char_indices()
            .take_while(|(at, _)| start + at < offset)
            .count();
        Position {
            line,
            column: column + 1,
        }
    }

    /// A mistake at `span`.
    pub(crate) fn add(&mut self, span: Range<usize>, key: impl Into<String>, refusal: Refusal) {
        if self.mistakes.len() >= MISTAKES_MAX {
            self.left_out += 1;
            return;
        }
        let at = self.position(span.start);
        let line = self.line(at.line);
        let width = self
            .text
            .get(span)
            .map_or(1, |t| t.lines().next().unwrap_or("").chars().count());
        self.mistakes.push(Mistake {
            severity: Severity::Error,
            place: Place::File {
                path: self.path.into(),
                at: Some(at),
            },
            key: key.into(),
            message: refusal.message,
            hint: refusal.hint,
            excerpt: Some(Excerpt {
                line: line.into(),
                width: width.max(1),
            }),
        });
    }

    /// A mistake of the file as a whole: something is not in it.
    pub(crate) fn add_missing(&mut self, key: &str, refusal: Refusal) {
        let mistake = Mistake::at(
            Place::File {
                path: self.path.into(),
                at: None,
            },
            key,
            refusal.message,
        );
        self.mistakes.push(Mistake {
            hint: refusal.hint,
            ..mistake
        });
    }

    /// How many mistakes there are so far.
    pub(crate) fn len(&self) -> usize {
        self.mistakes.len() + self.left_out
    }

    /// All mistakes, sorted.
    pub(crate) fn finish(mut self) -> Vec<Mistake> {
        sort(&mut self.mistakes);
        if self.left_out > 0 {
            let message = format!("{} more mistakes are not shown", self.left_out);
            self.mistakes.push(Mistake::in_file(self.path, message));
        }
        self.mistakes
    }

    fn line(&self, number: usize) -> &'a str {
        let start = self.lines[number - 1];
        self.text[start..].lines().next().unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let report = Report::new("f", "a\né = ü\n");
        assert_eq!(report.position("a\né = ".len()), Position { line: 2, column: 5 });
        assert_eq!(report.position(999), Position { line: 3, column: 1 });
    }

    proptest! {
        #[test]
        fn any_offset_has_a_position(text in "[aé\n]{0,12}", offset in 0_usize..40) {
            let at = Report::new("f", &text).position(offset);
            prop_assert!(at.line >= 1 && at.column >= 1);
        }
    }
}
