//! Bodies that are sent as they are read: a file, or stdin. They are never in memory whole.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use reqwest::{Body, Method, RequestBuilder, header};
use serde_json::value::RawValue;
use tokio_util::io::ReaderStream;

use super::{Accepted, CALL_TIMEOUT, CallError, Client, SubmitBody, segment};
use crate::exit::Trouble;

/// Read and sent at once.
const PIECE: usize = 256 << 10;
/// The slowest line that a file is sent over, in bytes a second: on a slower one a call counts as lost.
const SLOWEST: u64 = 64 << 10;

/// What is to be sent: the file at a path, or stdin when it is `-`.
#[derive(Debug)]
pub(crate) struct Upload {
    path: PathBuf,
    file: tokio::fs::File,
    /// Of a file; what comes through a pipe has none.
    size: Option<u64>,
    /// Why reading broke off, if it did: to the HTTP client it is a lost connection.
    broken: Arc<OnceLock<String>>,
}

impl Upload {
    /// Opens it, so that a wrong path is told before a server is asked.
    pub(crate) async fn open(path: &Path) -> Result<Self, Trouble> {
        let opened = async {
            if path.as_os_str() == "-" {
                let stdin = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
                return Ok((tokio::fs::File::from_std(stdin), None));
            }
            let file = tokio::fs::File::open(path).await?;
            let about = file.metadata().await?;
            if about.is_dir() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            let size = about.is_file().then_some(about.len());
            Ok((file, size))
        };
        let (file, size) = opened.await.map_err(|error| {
            Trouble::file("read", path, &error).hint("check the path; `-` reads from stdin")
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            broken: Arc::default(),
        })
    }

    /// Whether it can be read again from the start.
    pub(crate) fn is_file(&self) -> bool {
        self.size.is_some()
    }

    /// `request` with it as its body. Its length is said where it is known, so that too large a one is refused at once.
    fn put(self, request: RequestBuilder) -> RequestBuilder {
        let broken = self.broken;
        let pieces = ReaderStream::with_capacity(self.file, PIECE).inspect_err(move |error| {
            // The first one counts.
            let _ = broken.set(error.to_string());
        });
        let request = request.body(Body::wrap_stream(pieces));
        match self.size {
            Some(size) => request.header(header::CONTENT_LENGTH, size),
            None => request,
        }
    }

    /// How a call that sends it ended badly: by the reading, or by the call itself.
    fn watch(&self) -> impl FnOnce(CallError) -> CallError + use<> {
        let (path, broken) = (self.path.clone(), Arc::clone(&self.broken));
        move |error| match broken.get() {
            Some(why) => CallError::Unread {
                path: path.display().to_string(),
                why: why.clone(),
            },
            None => error,
        }
    }

    fn time_limit(&self) -> Option<Duration> {
        let size = self.size?;
        Some(CALL_TIMEOUT + Duration::from_secs(size / SLOWEST))
    }
}

/// JSON as the value of a header: on one line, in ASCII.
pub(super) fn header_json(raw: &RawValue) -> String {
    let mut text = String::with_capacity(raw.get().len());
    let mut units = [0; 2];
    for char in raw.get().chars() {
        match char {
            // Inside a string they are escaped: these are between values.
            '\n' | '\r' | '\t' => text.push(' '),
            char if char.is_ascii() => text.push(char),
            char => {
                for unit in char.encode_utf16(&mut units) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text
}

impl Client {
    /// Submits a file as it is, of this type, with the options of `body`.
    pub(crate) async fn submit_file(
        &self,
        model: &str,
        content_type: &str,
        upload: Upload,
        options: &SubmitBody<'_>,
    ) -> Result<(Accepted, Bytes), CallError> {
        let path = format!("/v1/models/{}/tasks", segment(model));
        let mut request = self
            .request(Method::POST, &path)
            .header(header::CONTENT_TYPE, content_type)
            .query(&options.parameters());
        for (name, value) in options.headers() {
            request = request.header(name, value);
        }
        if let Some(limit) = upload.time_limit() {
            request = request.timeout(limit);
        }
        let watch = upload.watch();
        self.read(upload.put(request)).await.map_err(watch)
    }

    /// Sends a batch's lines.
    pub(super) async fn send_lines<T: serde::de::DeserializeOwned>(
        &self,
        request: RequestBuilder,
        upload: Upload,
    ) -> Result<(T, Bytes), CallError> {
        let watch = upload.watch();
        // The server reads as fast as its queue has room: no time is too long.
        self.read(upload.put(request)).await.map_err(watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_a_header_is_ascii_on_one_line() {
        let raw: Box<RawValue> = serde_json::from_str("{\"a\":\n\t\"ä\\n\u{1f600}\"}").unwrap();
        let text = header_json(&raw);
        assert_eq!(text, "{\"a\":  \"\\u00e4\\n\\ud83d\\ude00\"}");
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["a"], "ä\n\u{1f600}");
    }
}
