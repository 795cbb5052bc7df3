//! The results of a batch on their way through: cut into whole lines, counted, and handed on as they are.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use crate::exit::{Exit, Trouble};

/// The longest line that is taken; a result is at most as long as what a server gives in one answer.
const LINE_MAX: usize = 256 << 20;

/// What has been seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The line that comes next.
    pub(super) next: u64,
    /// Lines that have no result and will have none.
    pub(super) failed: u64,
    /// Lines that have not ended.
    pub(super) open: u64,
    /// The beginning of a line.
    part: BytesMut,
    /// Of it there is known to be no end.
    searched: usize,
}

#[derive(Deserialize)]
struct Head {
    index: u64,
    status: String,
}

impl Tally {
    /// One that begins with this line.
    pub(super) fn new(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    /// Takes a piece of an answer, and gives the lines that are whole, their ends with them.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<Bytes, Trouble> {
        self.part.extend_from_slice(piece);
        let end = self.part[self.searched..].iter().rposition(|byte| *byte == b'\n');
        let Some(end) = end.map(|at| at + self.searched) else {
            self.searched = self.part.len();
            if self.part.len() > LINE_MAX {
                return Err(Trouble::new(
                    Exit::IO,
                    format!("line {} is longer than {LINE_MAX} bytes", self.next),
                ));
            }
            return Ok(Bytes::new());
        };
        self.searched = 0;
        let whole = self.part.split_to(end + 1).freeze();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.count(line)?;
        }
        Ok(whole)
    }

    fn count(&mut self, line: &[u8]) -> Result<(), Trouble> {
        let head: Head = serde_json::from_slice(line).map_err(|error| self.odd(&error.to_string()))?;
        if head.index != self.next {
            return Err(self.odd(&format!("it says that it is line {}", head.index)));
        }
        self.next += 1;
        match head.status.as_str() {
            "SUCCESS" => {}
            "PENDING" | "STARTED" | "RETRY" => self.open += 1,
            _ => self.failed += 1,
        }
        Ok(())
    }

    fn odd(&self, why: &str) -> Trouble {
        let next = self.next;
        Trouble::new(
            Exit::UNAVAILABLE,
            format!("the result of line {next} is not what a Cresset server sends: {why}"),
        )
    }

    /// What came of a line that was cut off is forgotten: it comes again.
    pub(super) fn drop_part(&mut self) {
        self.part.clear();
        self.searched = 0;
    }

    /// The answer has ended.
    pub(super) fn end(&self) -> Result<(), Trouble> {
        match self.part.is_empty() {
            true => Ok(()),
            false => Err(self.odd("it has no end")),
        }
    }

    /// Whether every line has a result.
    pub(super) fn exit(&self) -> Exit {
        match self.failed + self.open {
            0 => Exit::OK,
            _ => Exit::TASK_FAILED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_counted_and_as_they_are() {
        let text = "{\"index\":3,\"status\":\"SUCCESS\",\"result\":1.50}\n{\"index\":4,\"status\":\"PENDING\"}\n{\"index\":5,\"status\":\"INVALID\"}\n";
        for cut in 0..text.len() {
            let mut tally = Tally::new(3);
            let mut seen = Vec::new();
            for piece in [&text[..cut], &text[cut..]] {
                seen.extend_from_slice(&tally.take(piece.as_bytes()).unwrap());
            }
            assert_eq!(seen, text.as_bytes());
            assert_eq!((tally.next, tally.open, tally.failed), (6, 1, 1));
            assert!(tally.end().is_ok());
        }
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for (text, why) in [
            ("hello\n", "expected value"),
            ("{\"index\":1,\"status\":\"SUCCESS\"}\n", "it is line 1"),
        ] {
            let trouble = Tally::new(0).take(text.as_bytes()).unwrap_err().to_string();
            assert!(trouble.contains(why), "{trouble}");
        }
        let mut tally = Tally::new(0);
        assert_eq!(tally.take(b"{\"ind").unwrap(), "");
        assert!(tally.end().is_err());
    }
}
