//! A caller that sees every byte: just enough HTTP/1.1 to say right and wrong things and to read the answers.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::LONG;

/// Whatever bytes go over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) struct Caller {
    stream: Box<dyn Stream>,
    /// Read, but belonging to the next answer.
    ahead: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// One that has a stream of its own.
    pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            ahead: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends what may not arrive: the server may have answered and closed already.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        self.answer().await
    }

    pub(crate) async fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send_post(path, body).await;
        self.answer().await
    }

    pub(crate) async fn send_post(&mut self, path: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat()).await;
    }

    /// A request with headers of its own; a body's length is added.
    pub(crate) async fn ask(
        &mut self,
        line: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let body = body.as_ref();
        let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat()).await;
        self.answer().await
    }

    /// The next answer; its body must have a length.
    pub(crate) async fn answer(&mut self) -> Answer {
        tokio::time::timeout(LONG, self.read_answer())
            .await
            .expect("an answer should come")
    }

    /// The next answer, if there is one before the connection ends.
    pub(crate) async fn answer_or_end(&mut self) -> Option<Answer> {
        let begun = async {
            while self.ahead.is_empty() {
                match self.stream.read_buf(&mut self.ahead).await {
                    Ok(0) => return false,
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
                    other => drop(other.unwrap()),
                }
            }
            true
        };
        let begun = tokio::time::timeout(LONG, begun).await;
        match begun.expect("an answer or an end should come") {
            true => Some(self.answer().await),
            false => None,
        }
    }

    async fn read_answer(&mut self) -> Answer {
        let head = loop {
            if let Some(at) = self.ahead.windows(4).position(|w| w == b"\r\n\r\n") {
                break self.ahead.drain(..at + 4).collect::<Vec<_>>();
            }
            assert!(
                self.more().await,
                "closed before an answer: {:?}",
                String::from_utf8_lossy(&self.ahead)
            );
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .map(|line| {
                line.split_once(": ")
                    .or_else(|| Some((line.strip_suffix(':')?, "")))
                    .unwrap()
            })
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        if status >= 200 && status != 204 {
            let length: usize = answer
                .header("content-length")
                .expect("answers have a length")
                .parse()
                .unwrap();
            while self.ahead.len() < length {
                assert!(self.more().await, "closed within an answer");
            }
            answer.body = self.ahead.drain(..length).collect();
        }
        answer
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.ahead).await.unwrap() > 0
    }

    /// What comes up to and with this text.
    pub(crate) async fn up_to(&mut self, text: &str) -> String {
        let read = async {
            loop {
                let at = self.ahead.windows(text.len()).position(|w| w == text.as_bytes());
                if let Some(at) = at {
                    let came = self.ahead.drain(..at + text.len()).collect();
                    return String::from_utf8(came).unwrap();
                }
                assert!(
                    self.more().await,
                    "closed before {text:?}: {:?}",
                    String::from_utf8_lossy(&self.ahead)
                );
            }
        };
        tokio::time::timeout(LONG, read)
            .await
            .expect("it should have come")
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self, all: &mut Vec<u8>) {
        tokio::time::timeout(LONG, self.stream.read_to_end(all))
            .await
            .expect("the connection should end")
            .unwrap();
    }

    /// True when the server closes the connection without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let read = tokio::time::timeout(LONG, self.stream.read_buf(&mut self.ahead)).await;
        match read.expect("the connection should be closed") {
            Ok(read) => read == 0 && self.ahead.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The problem document, after checking what every problem must be.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        let code: cresset_task::Code = problem["code"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            (self.status, problem["status"].as_u64()),
            (code.http_status(), Some(u64::from(code.http_status())))
        );
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        assert_eq!(
            problem["retry_after"].as_u64().map(|s| s.to_string()).as_deref(),
            self.header("retry-after")
        );
        problem
    }

    /// The problem's code.
    pub(crate) fn code(&self) -> String {
        self.problem()["code"].as_str().unwrap().to_owned()
    }
}
