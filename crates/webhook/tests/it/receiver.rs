//! A receiver that does as it is told, and remembers what it was sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers this status, with these headers, in full.
    Say(u16, &'static str),
    /// Says nothing, for ever.
    Hang,
    /// Answers 200, and its text a byte at a time, for ever.
    Drip,
    /// Answers 200 with more text than anybody wants.
    Huge,
    /// A head that never ends.
    HugeHead,
    /// Answers something that is not HTTP.
    Babble,
    /// Hangs up.
    Close,
}

/// What it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) line: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

type Script = dyn Fn(usize, &Got) -> Act + Send + Sync;

pub(crate) struct Receiver {
    pub(crate) port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    count: watch::Receiver<usize>,
    // Ends with it.
    _serving: JoinSet<()>,
}

impl Receiver {
    /// One that does with the n-th request what the script says.
    pub(crate) async fn start(script: impl Fn(usize, &Got) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (counted, count) = watch::channel(0);
        let (got, script): (Arc<Mutex<Vec<Got>>>, Arc<Script>) = (Arc::default(), Arc::new(script));
        let (heard, counted) = (Arc::clone(&got), Arc::new(counted));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (heard, script, counted) =
                    (Arc::clone(&heard), Arc::clone(&script), Arc::clone(&counted));
                connections.spawn(async move {
                    // Whoever hangs up on it is not its trouble.
                    let _gone = serve(stream, &heard, &*script, &counted).await;
                });
            }
        });
        Self {
            port,
            got,
            count,
            _serving: serving,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Once it was sent so many.
    pub(crate) async fn has(&self, wanted: usize) {
        let mut count = self.count.clone();
        let there = count.wait_for(|count| *count >= wanted);
        tokio::time::timeout(Duration::from_secs(30), there)
            .await
            .unwrap()
            .unwrap();
    }
}

async fn serve(
    mut stream: TcpStream,
    heard: &Mutex<Vec<Got>>,
    script: &Script,
    counted: &watch::Sender<usize>,
) -> std::io::Result<()> {
    let got = hear(&mut stream).await?;
    let (number, act) = {
        let mut heard = heard.lock().unwrap();
        let number = heard.len();
        let act = script(number, &got);
        heard.push(got);
        (number, act)
    };
    counted.send_replace(number + 1);
    match act {
        Act::Say(status, headers) => {
            let head = format!("HTTP/1.1 {status} Said\r\n{headers}content-length: 2\r\n\r\nok");
            stream.write_all(head.as_bytes()).await
        }
        Act::Hang => std::future::pending().await,
        Act::Drip => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                .await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Act::Huge => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                .await?;
            loop {
                stream.write_all(&[b'x'; 65_536]).await?;
            }
        }
        Act::HugeHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            loop {
                stream.write_all(&[b'x'; 65_536]).await?;
            }
        }
        Act::Babble => stream.write_all(b"220 mail.example ESMTP\r\n").await,
        Act::Close => Ok(()),
    }
}

async fn hear(stream: &mut TcpStream) -> std::io::Result<Got> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Got {
        line,
        headers,
        body: bytes.split_off(head),
    })
}
