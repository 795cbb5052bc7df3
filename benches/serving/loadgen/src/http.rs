//! Just enough HTTP/1.1: requests as bytes, and where an answer ends. No I/O.
//!
//! An answer is looked at from its beginning each time more of it has come. Answers are short and come whole, so that
//! costs nothing; a long one in chunks would cost more than it should.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Headers of an answer that are read at most.
const HEADERS: usize = 64;

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    host: String,
    pub(crate) path: String,
}

impl Target {
    /// Reads `http://host:port/path`.
    pub(crate) fn parse(url: &str) -> Result<Self, crate::Failure> {
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| format!("{url}: must start with http://"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = host
            .to_socket_addrs()
            .map_err(|error| format!("{url}: {error}"))?
            .find(|address| address.ip().is_loopback())
            .ok_or_else(|| format!("{url}: loads only addresses of this machine's loopback"))?;
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self {
            address,
            host: host.into(),
            path: path.into(),
        })
    }

    /// A whole POST.
    pub(crate) fn post(&self, content_type: &str, headers: &[String], body: &[u8]) -> Vec<u8> {
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n",
            self.path,
            self.host,
            body.len()
        )
        .into_bytes();
        for header in headers {
            request.extend_from_slice(header.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        request
    }

    /// Writes a whole GET of `before`, `id` and `after` joined, over what `request` held.
    pub(crate) fn get(&self, request: &mut Vec<u8>, [before, id, after]: [&[u8]; 3]) {
        request.clear();
        for part in [
            b"GET ",
            before,
            id,
            after,
            b" HTTP/1.1\r\nHost: ",
            self.host.as_bytes(),
            b"\r\n\r\n",
        ] {
            request.extend_from_slice(part);
        }
    }
}

/// The end of an answer's head, and what it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// The body's first byte.
    pub(crate) length: usize,
    pub(crate) body: Framing,
    /// The server closes the connection after this answer.
    pub(crate) closes: bool,
}

/// How a body says where it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    /// With the connection.
    UntilClose,
}

/// The head of an answer; nothing while it has not come whole.
pub(crate) fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = answer.parse(bytes).map_err(invalid)? else {
        return Ok(None);
    };
    let status = answer.code.unwrap_or_default();
    let mut closes = answer.version == Some(0);
    let mut body = Framing::UntilClose;
    for header in answer.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(invalid)?;
            body = Framing::Length(text.trim().parse().map_err(invalid)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            body = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    if matches!(status, 204 | 304) {
        body = Framing::Length(0);
    }
    closes |= body == Framing::UntilClose;
    Ok(Some(Head {
        status,
        length,
        body,
        closes,
    }))
}

/// Reads a chunked body: writes what it carries to `into`, and gives the bytes that it took; nothing while more must
/// come.
pub(crate) fn chunks(mut bytes: &[u8], into: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let whole = bytes.len();
    into.clear();
    loop {
        let (start, size) = match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(invalid("not a chunk")),
        };
        let size = usize::try_from(size).map_err(invalid)?;
        // The chunk and the line's end behind it. There are no trailers: who sends them is read wrongly, and loudly.
        let Some(end) = start.checked_add(size).and_then(|end| end.checked_add(2)) else {
            return Err(invalid("a chunk is too large"));
        };
        if bytes.len() < end {
            return Ok(None);
        }
        into.extend_from_slice(&bytes[start..start + size]);
        bytes = &bytes[end..];
        if size == 0 {
            return Ok(Some(whole - bytes.len()));
        }
    }
}

fn invalid(error: impl Into<crate::Failure>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_length_ends_there() {
        let head = head(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(
            (head.status, head.length, head.body, head.closes),
            (200, 39, Framing::Length(12), false)
        );
    }

    #[test]
    fn an_unfinished_head_asks_for_more() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap(), None);
    }

    #[test]
    fn a_head_without_a_length_ends_with_the_connection() {
        let head = head(b"HTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.body, head.closes), (Framing::UntilClose, true));
    }

    #[test]
    fn chunks_are_joined_and_counted() {
        let mut body = Vec::new();
        let bytes = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nHTTP";
        assert_eq!(chunks(bytes, &mut body).unwrap(), Some(bytes.len() - 4));
        assert_eq!(body, b"abcde");
        for cut in 0..bytes.len() - 4 {
            assert_eq!(chunks(&bytes[..cut], &mut body).unwrap(), None, "cut at {cut}");
        }
        assert!(chunks(b"zz\r\n", &mut body).is_err());
    }

    #[test]
    fn other_machines_are_not_loaded() {
        assert!(Target::parse("http://192.0.2.1:80/").is_err());
        assert_eq!(Target::parse("http://127.0.0.1:80").unwrap().path, "/");
    }
}
