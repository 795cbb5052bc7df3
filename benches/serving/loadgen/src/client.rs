//! One connection: a request out, an answer in. Connects again by itself after an error or when the server closed.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{self, Framing};

/// Bytes read at once, to begin with: a small answer fits. Thousands of connections must fit into the caches.
const READ: usize = 1 << 10;
/// The longest answer. A longer one is an error, not a reason to fill the memory.
const LONGEST_ANSWER: usize = 64 << 20;

/// A connection and its buffers.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// The body of the last answer, where it came in chunks.
    joined: Vec<u8>,
}

/// What matters of an answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            buffer: vec![0; READ],
            joined: Vec::new(),
        }
    }

    /// Connects, if it is not connected.
    pub(crate) async fn connect(&mut self) -> io::Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Sends a request and reads its answer. Dropped half-way, the next call starts on a new connection.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.connect().await?;
        // Out of its place while it is in use: an error, or a drop in the middle, leaves none behind.
        let Some(mut stream) = self.stream.take() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            filled += read(&mut stream, &mut self.buffer, filled).await?;
            if let Some(head) = http::head(&self.buffer[..filled])? {
                break head;
            }
        };
        let body = match head.body {
            Framing::Length(length) => {
                let end = head.length.saturating_add(length);
                while filled < end {
                    filled += read(&mut stream, &mut self.buffer, filled).await?;
                }
                &self.buffer[head.length..end]
            }
            Framing::Chunked => {
                while http::chunks(&self.buffer[head.length..filled], &mut self.joined)?.is_none() {
                    filled += read(&mut stream, &mut self.buffer, filled).await?;
                }
                &self.joined[..]
            }
            Framing::UntilClose => {
                loop {
                    match read(&mut stream, &mut self.buffer, filled).await {
                        Ok(more) => filled += more,
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                        Err(error) => return Err(error),
                    }
                }
                &self.buffer[head.length..filled]
            }
        };
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok(Answer {
            status: head.status,
            body,
        })
    }
}

/// Reads behind the first `filled` bytes. The end of the stream is an error.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>, filled: usize) -> io::Result<usize> {
    if filled == buffer.len() {
        if filled >= LONGEST_ANSWER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer is too long",
            ));
        }
        buffer.resize(filled * 2, 0);
    }
    match stream.read(&mut buffer[filled..]).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        more => Ok(more),
    }
}
