//! Reads a request body within its bounds: size, memory that all bodies may take together, and the pace of its sender.
//!
//! ```text
//!   small:  pieces ---> memory, counted piece by piece ----------------------> parsed
//!   large:  pieces ---> a file (`spool`) ---> its turn for memory (`budget`) ---> parsed
//! ```
//!
//! A body that is refused is not kept. Its rest is read and thrown away for a short while, though: closing a socket
//! with unread bytes makes the kernel reset the connection, and the caller would see a broken pipe instead of the
//! problem document.

mod budget;
mod lines;
mod pace;
mod packed;
mod spool;

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use cresset_task::Code;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::app::App;
use crate::coding::Coding;
use crate::duration;
use crate::problem::Problem;

pub(crate) use self::budget::{Budget, Held};
pub(crate) use self::lines::{LineText, Lines};
use self::pace::Pace;
use self::packed::Packed;
pub(crate) use self::spool::Spool;
pub use self::spool::SpoolOptions;

/// How long the rest of a refused body is read and thrown away: a caller on a usable line has read the answer by then.
const LINGER: Duration = Duration::from_secs(5);

/// How much of it at most: a caller that sends on regardless is cut off.
const LINGER_BYTES: usize = 256 << 20;

/// What is set aside for a body before its pieces come: an announced length is only a claim.
const FIRST_CAPACITY_MAX: usize = 1 << 20;

/// How long a body that has come whole waits for memory at most: as long as a prediction does by default.
const MEMORY_WAIT: Duration = Duration::from_secs(30);

/// A request body that has not been read, or not to its end.
pub(crate) struct Upload {
    app: App,
    body: Body,
    /// The caller waits for `100 Continue` and has not sent anything: there is nothing to throw away.
    held_back: bool,
    packed: Option<Box<Packed>>,
}

/// A whole request body; its bytes count as held until this is dropped.
pub(crate) struct Received {
    /// The body.
    pub(crate) bytes: Bytes,
    /// Its share of the bytes held.
    pub(crate) held: Held,
}

/// The head of a request whose body means nothing: it is read away.
pub(crate) fn bare(app: &App, request: Request) -> Parts {
    let (parts, body) = request.into_parts();
    drop(Upload::new(app, &parts.headers, body));
    parts
}

impl Upload {
    /// Nothing is read yet.
    pub(crate) fn new(app: &App, headers: &HeaderMap, body: Body) -> Self {
        Self {
            app: app.clone(),
            body,
            held_back: headers.contains_key(header::EXPECT),
            packed: None,
        }
    }

    /// Reads the body to its end, and out of its coding.
    pub(crate) async fn read(mut self, coding: Option<Coding>) -> Result<Received, Problem> {
        let limit = self.app.options.max_body_bytes;
        let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(too_large(limit, &format!("this one announces {announced}")));
        }
        self.held_back = false; // asking for the first piece sends `100 Continue`
        if let Some(coding) = coding {
            self.packed = Some(Box::new(Packed::begin(&self.app, coding)?));
        }
        let mut held = self.app.budget.share();
        let mut pace = Pace::new(self.app.options.body_timeout, self.app.options.min_rate);
        // Nearly every body is one piece, and is kept as it came, without a copy.
        let first = self.piece(0, &mut pace).await?.unwrap_or_default();
        if self.packed.is_none() && self.body.is_end_stream() {
            held.grow(first.len())?;
            return Ok(Received { bytes: first, held });
        }
        let above = self.app.spool.as_ref().map_or(usize::MAX, Spool::above);
        if announced > above {
            return self.spool(first, held, pace).await;
        }
        held.grow(first.len())?;
        let mut whole =
            BytesMut::with_capacity(announced.clamp(first.len(), FIRST_CAPACITY_MAX.max(first.len())));
        whole.extend_from_slice(&first);
        drop(first);
        while let Some(piece) = self.piece(whole.len(), &mut pace).await? {
            held.grow(piece.len())?;
            whole.extend_from_slice(&piece);
            if whole.len() > above {
                return self.spool(whole.freeze(), held, pace).await;
            }
        }
        Ok(Received {
            bytes: whole.freeze(),
            held,
        })
    }

    /// Goes on with a file, beginning with what is there; and reads it back when it is whole.
    async fn spool(mut self, so_far: Bytes, small: Held, mut pace: Pace) -> Result<Received, Problem> {
        let app = self.app.clone();
        let Some(spool) = &app.spool else {
            return Err(Problem::new(Code::Internal, "there is no spool"));
        };
        let mut buffer = app.buffers.share();
        buffer.grow(spool::BUFFER_BYTES)?;
        let mut spooling = spool.begin(&app).await?;
        spooling.add(&app, spool, &so_far).await?;
        drop((so_far, small));
        while let Some(piece) = self.piece(spooling.len(), &mut pace).await? {
            spooling.add(&app, spool, &piece).await?;
        }
        let held = app.budget.share_of(spooling.len(), MEMORY_WAIT).await?;
        let bytes = spooling.read_back(&app).await?;
        drop(buffer);
        Ok(Received { bytes, held })
    }

    /// The next piece; `None` at the end. `so_far` bytes came before it.
    async fn piece(&mut self, so_far: usize, pace: &mut Pace) -> Result<Option<Bytes>, Problem> {
        match self.packed.take() {
            None => self.next(so_far, pace).await,
            Some(mut packed) => {
                let piece = self.unpacked(&mut packed, so_far, pace).await?;
                self.packed = Some(packed);
                Ok(piece)
            }
        }
    }

    /// The same of a body in a coding: what counts is what is in it.
    async fn unpacked(
        &mut self,
        packed: &mut Packed,
        so_far: usize,
        pace: &mut Pace,
    ) -> Result<Option<Bytes>, Problem> {
        let limit = self.app.options.max_body_bytes;
        loop {
            let Some(piece) = packed.step()? else {
                match self.next(packed.came, pace).await? {
                    Some(more) => packed.take(more),
                    None if packed.ended => return Ok(None),
                    None => packed.ended = true,
                }
                continue;
            };
            if so_far + piece.len() > limit {
                return Err(too_large(limit, "this one is longer once it is unpacked"));
            }
            // Between two steps nobody may be waited for, and others have their turn.
            tokio::task::yield_now().await;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// The next piece as it comes.
    async fn next(&mut self, so_far: usize, pace: &mut Pace) -> Result<Option<Bytes>, Problem> {
        let limit = self.app.options.max_body_bytes;
        let piece = self.frame(so_far, pace).await?;
        match &piece {
            Some(piece) if so_far + piece.len() > limit => Err(too_large(limit, "this one is longer")),
            _ => Ok(piece),
        }
    }

    /// The same, however long the body becomes.
    async fn frame(&mut self, so_far: usize, pace: &mut Pace) -> Result<Option<Bytes>, Problem> {
        loop {
            let broken = |why: String| {
                Problem::new(
                    Code::MalformedBody,
                    format!("the body broke off after {so_far} bytes: {why}"),
                )
            };
            let frame = match pace.wait(next_frame(&mut self.body)).await {
                Some(Some(Ok(frame))) => frame,
                Some(Some(Err(error))) => return Err(broken(error.to_string())),
                Some(None) => return Ok(None),
                None => return Err(self.too_slow(so_far)),
            };
            // Frames that are not data are trailers, which mean nothing here.
            let Ok(piece) = frame.into_data() else { continue };
            pace.came(piece.len());
            return Ok(Some(piece));
        }
    }
}

impl Upload {
    fn too_slow(&self, so_far: usize) -> Problem {
        let span = duration::show(self.app.options.body_timeout);
        let rate = self.app.options.min_rate;
        Problem::new(
            Code::RequestTimeout,
            format!(
                "{so_far} bytes of the body came, the last of them too slowly: in each {span} (`server.body_timeout`) \
                 it must move on by {rate} bytes a second (`server.min_rate`), or end"
            ),
        )
    }
}

async fn next_frame(body: &mut Body) -> Option<Result<hyper::body::Frame<Bytes>, axum::Error>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

fn too_large(limit: usize, this: &str) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!("a body may have at most {limit} bytes; {this}"),
    )
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.held_back || self.body.is_end_stream() {
            return;
        }
        // Without a runtime the server is gone, and the connection with it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let body = std::mem::take(&mut self.body);
        self.app
            .tracker
            .spawn_on(discard(body, self.app.stop.clone()), &runtime);
    }
}

/// Reads and throws away, within the bounds above; a stop ends it at once.
async fn discard(mut body: Body, stop: tokio_util::sync::CancellationToken) {
    let all = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = next_frame(&mut body).await {
            left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => left,
                None => return,
            };
        }
    };
    // Both may be dropped at any point: what is read here is lost by intent.
    tokio::select! {
        _ = timeout(LINGER, all) => {}
        () = stop.cancelled() => {}
    }
}
