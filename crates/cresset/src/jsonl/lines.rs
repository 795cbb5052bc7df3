//! JSON Lines, read one at a time from a file or a pipe, never whole.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest line that is taken: what a server takes as a body unless told otherwise (`limits.max_body_bytes`).
pub(super) const LINE_MAX: usize = 64 << 20;
/// Read at once.
const READ_BYTES: usize = 256 << 10;

/// One line that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1, empty lines too, as editors count.
    pub(super) number: u64,
    /// Without the line's end; `None` when it is longer than [`LINE_MAX`].
    pub(super) text: Option<Bytes>,
}

/// The lines of a source.
pub(super) struct Lines {
    source: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no line's end.
    searched: usize,
    /// The line now being read is longer than the limit: its bytes are dropped until it ends.
    overlong: bool,
    number: u64,
    line_max: usize,
    ended: bool,
}

impl Lines {
    /// The lines of the file at `path`, or of stdin when it is `-`.
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            let stdin = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
            return Ok(Self::new(tokio::fs::File::from_std(stdin), LINE_MAX));
        }
        let file = tokio::fs::File::open(path).await?;
        if file.metadata().await?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Ok(Self::new(file, LINE_MAX))
    }

    fn new(source: impl AsyncRead + Send + Unpin + 'static, line_max: usize) -> Self {
        Self {
            source: Box::new(source),
            buffer: BytesMut::new(),
            searched: 0,
            overlong: false,
            number: 0,
            line_max,
            ended: false,
        }
    }

    /// The next line that is not empty. Cancel-safe: what has been read stays in the buffer.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            self.buffer.reserve(READ_BYTES);
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                self.ended = true;
            }
        }
    }

    /// A whole line out of the buffer, empty ones passed over.
    fn take_line(&mut self) -> Option<Line> {
        loop {
            let end = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map(|at| at + self.searched);
            let text = match end {
                Some(end) => {
                    let text = self.buffer.split_to(end).freeze();
                    self.buffer.advance(1);
                    text
                }
                None if self.ended && (self.overlong || !self.buffer.is_empty()) => {
                    self.buffer.split().freeze()
                }
                None => {
                    self.searched = self.buffer.len();
                    if self.buffer.len() > self.line_max {
                        self.overlong = true;
                        self.buffer.clear();
                        self.searched = 0;
                    }
                    return None;
                }
            };
            self.searched = 0;
            self.number += 1;
            let overlong = std::mem::take(&mut self.overlong) || text.len() > self.line_max;
            if overlong {
                return Some(Line {
                    number: self.number,
                    text: None,
                });
            }
            if !text.trim_ascii().is_empty() {
                return Some(Line {
                    number: self.number,
                    text: Some(text),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines, read in pieces of `piece` bytes.
    async fn all(text: &str, piece: usize, line_max: usize) -> Vec<(u64, Option<String>)> {
        let (mut write, read) = tokio::io::duplex(piece);
        let text = text.to_owned();
        let mut feed = tokio::task::JoinSet::new();
        feed.spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut write, text.as_bytes()).await });
        let mut lines = Lines::new(read, line_max);
        let mut got = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            got.push((
                line.number,
                line.text.map(|text| String::from_utf8(text.to_vec()).unwrap()),
            ));
        }
        got
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[tokio::test]
    async fn lines_are_numbered_as_an_editor_numbers_them() {
        for piece in [1, 2, 3, 64] {
            assert_eq!(
                all("1\n\n  \n[2]\r\n3", piece, 64).await,
                [(1, some("1")), (4, some("[2]\r")), (5, some("3"))]
            );
            assert_eq!(all("", piece, 64).await, []);
            assert_eq!(all("\n\n", piece, 64).await, []);
        }
    }

    #[tokio::test]
    async fn an_overlong_line_is_dropped_and_the_next_is_read() {
        for piece in [1, 7, 1024] {
            let text = format!("1\n{}\n3\n{}", "x".repeat(100), "y".repeat(100));
            assert_eq!(
                all(&text, piece, 16).await,
                [(1, some("1")), (2, None), (3, some("3")), (4, None)]
            );
        }
    }
}
