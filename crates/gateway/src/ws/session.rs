//! One WebSocket, from its first message to its end.
//!
//! Nothing is queued here for slow readers. Tasks that are followed are read from the store when the connection has room for another
//! message, so a reader that is slow sees fewer of the states in between, and always the end; replies belong to messages that were read from the same
//! caller, and so many may be unanswered at once. A reader that takes nothing for `server.write_timeout` is cut off by the line below.

use std::collections::HashMap;
use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use cresset_engine::{EngineError, Event, Following, Place};
use cresset_task::{Code, Revision, TaskId};
use futures_util::future::{AbortHandle, Abortable, Aborted, BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::asks::{self, Ask, What};
use super::inner::{Answered, Inner};
use super::tells::{self, Bounds};
use crate::app::App;
use crate::auth::Pass;
use crate::problem::Problem;
use crate::task_json;

/// The largest message that is read, in bytes: what a connection may hold of HTTP that it has not understood yet, too. Larger inputs are for
/// `POST`, whose bodies are counted and spooled.
const MESSAGE_MAX: usize = 64 << 10;
/// Tasks followed on one connection.
const SUBSCRIPTIONS_MAX: usize = 4_096;
/// Messages read and not answered yet; no more are read until one is. A group commit of the store has room for more.
const REQUESTS_MAX: usize = 32;
/// Small, as most connections wait most of the time.
const READ_BUFFER: usize = 4 << 10;
/// So much is gathered before it is written, where there is more to say at once.
const WRITE_BUFFER: usize = 16 << 10;
/// As many messages are written before it is looked whether there is something to read.
const BURST: usize = 64;
/// How often a silent caller is asked whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// One that has not said anything, though it was asked so often, has gone. Counted, not timed: while a slow reader is written to
/// nothing is read from it.
const UNANSWERED_MAX: u32 = 2;
/// How long the last words to a caller may take: it may not read them.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a caller is told whose key has been revoked, or is past its time.
const OVER: &str = "the key that this was opened with is good no more";

/// What has happened on behalf of the caller.
enum Step {
    /// A message was dealt with; from here on a task is to be followed.
    Replied(Vec<u8>, Option<Start>),
    /// A task that is followed has moved.
    Moved(
        TaskId,
        Box<Following>,
        Result<Option<(Vec<u8>, bool)>, EngineError>,
    ),
}

/// A task to be followed, and what the caller has seen of it.
type Start = (TaskId, Option<Revision>);
type Work = BoxFuture<'static, Result<Step, Aborted>>;

/// Speaks to the end of the connection, or until told to stop.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    app: App,
    stream: S,
    ahead: Bytes,
    inner: Inner,
    pass: Pass,
    stop: CancellationToken,
) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let socket =
        WebSocketStream::from_partially_read(stream, ahead.to_vec(), Role::Server, Some(config)).await;
    let mut beats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut session = Session {
        app,
        inner,
        pass,
        socket,
        work: FuturesUnordered::new(),
        followed: HashMap::new(),
        requests: 0,
        heard: Instant::now(),
        asked: 0,
        beats,
    };
    match session.speak(&stop).await {
        Ok(Some(farewell)) => session.part(farewell).await,
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "a WebSocket broke"),
    }
}

struct Session<S> {
    app: App,
    inner: Inner,
    pass: Pass,
    socket: WebSocketStream<S>,
    /// What is under way: messages being dealt with, and tasks being followed.
    work: FuturesUnordered<Work>,
    followed: HashMap<TaskId, AbortHandle>,
    requests: usize,
    heard: Instant,
    /// Since then.
    asked: u32,
    beats: Interval,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Until one side ends it; gives the last words, if there are any.
    async fn speak(&mut self, stop: &CancellationToken) -> Result<Option<CloseFrame>, Error> {
        let hello = tells::hello(Bounds {
            message_bytes: MESSAGE_MAX,
            subscriptions: SUBSCRIPTIONS_MAX,
            requests: REQUESTS_MAX,
        });
        self.tell(hello).await?;
        loop {
            self.socket.flush().await?;
            // Each of these may be dropped: what has come stays where it is.
            let ended = tokio::select! {
                () = stop.cancelled() => Break(Some(farewell(CloseCode::Away, "the server stops"))),
                Some(step) = self.work.next(), if !self.work.is_empty() => {
                    self.steps(step).await?;
                    Continue(())
                }
                message = self.socket.next(), if self.requests < REQUESTS_MAX => match message {
                    Some(message) => self.hear(message).await?,
                    None => Break(None),
                },
                _ = self.beats.tick() => self.beat().await?,
            };
            // Who has asked is answered first, by 401.
            if self.requests == 0 && !self.pass.holds() {
                return Ok(Some(farewell(CloseCode::Policy, OVER)));
            }
            if let Break(farewell) = ended {
                return Ok(farewell);
            }
        }
    }

    /// What has happened, and what else has happened by now.
    async fn steps(&mut self, first: Result<Step, Aborted>) -> Result<(), Error> {
        self.step(first).await?;
        for _ in 1..BURST {
            match self.work.next().now_or_never() {
                Some(Some(step)) => self.step(step).await?,
                _ => break,
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: Result<Step, Aborted>) -> Result<(), Error> {
        match step {
            Ok(Step::Replied(text, follow)) => {
                self.requests -= 1;
                self.tell(text).await?;
                if let Some((id, seen)) = follow
                    && !self.followed.contains_key(&id)
                {
                    let place = Place {
                        revision: seen,
                        ..Place::default()
                    };
                    let following = Box::new(self.app.engine.follow(id, place));
                    self.follow_on(id, following);
                }
            }
            // The connection is about to end.
            Ok(Step::Moved(..)) if !self.pass.holds() => {}
            Ok(Step::Moved(id, following, Ok(Some((text, is_end))))) => {
                match is_end {
                    true => _ = self.followed.remove(&id),
                    false => self.follow_on(id, following),
                }
                self.tell(text).await?;
            }
            // The end had been seen before; or the server stops, and says so to all.
            Ok(Step::Moved(id, _, Ok(None))) => _ = self.followed.remove(&id),
            Ok(Step::Moved(id, _, Err(error))) => {
                self.followed.remove(&id);
                let (_, body) = Problem::from(error).alone();
                self.tell(tells::unsubscribed(id, &body)).await?;
            }
            // No longer followed, as the caller wished.
            Err(Aborted) => {}
        }
        Ok(())
    }

    /// Waits for the next move of a task.
    fn follow_on(&mut self, id: TaskId, mut following: Box<Following>) {
        let app = self.app.clone();
        let moved = async move {
            let news = match following.next().await {
                Ok(Some(Event::Live(piece))) => Ok(Some((tells::live(id, piece), false))),
                Ok(Some(Event::State(view))) => {
                    let is_end = view.record.state.is_terminal();
                    let tracebacks = app.options.show_tracebacks;
                    let weight = task_json::weight(&view);
                    let write = move || tells::status(&view, tracebacks);
                    // The only way for it to fail: the runtime shuts down.
                    let text = app.codec(weight, write).await.ok();
                    Ok(text.map(|text| (text, is_end)))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            Step::Moved(id, following, news)
        };
        let (handle, registration) = AbortHandle::new_pair();
        self.work.push(Abortable::new(moved, registration).boxed());
        self.followed.insert(id, handle);
    }

    /// A message, or what there was instead of one.
    async fn hear(
        &mut self,
        message: Result<Message, Error>,
    ) -> Result<ControlFlow<Option<CloseFrame>>, Error> {
        (self.heard, self.asked) = (Instant::now(), 0);
        let farewell = match message {
            Ok(Message::Text(text)) => {
                self.ask(&text).await?;
                return Ok(Continue(()));
            }
            // Answered by the library.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {
                return Ok(Continue(()));
            }
            Ok(Message::Binary(_)) => {
                farewell(CloseCode::Unsupported, "messages are JSON, in frames of text")
            }
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => farewell(
                CloseCode::Size,
                "a message may have 65536 bytes; submit larger inputs with POST",
            ),
            Err(Error::Utf8(_)) => farewell(CloseCode::Invalid, "frames of text must be UTF-8"),
            Err(Error::Protocol(error)) => farewell(CloseCode::Protocol, &error.to_string()),
            // Closed as it should be, by the caller.
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(Break(None)),
            Err(error) => return Err(error),
        };
        Ok(Break(Some(farewell)))
    }

    /// Begins what a message asks for.
    async fn ask(&mut self, text: &Utf8Bytes) -> Result<(), Error> {
        let Ask { reference, what } = match asks::read(text) {
            Ok(ask) => ask,
            Err((reference, problem)) => {
                let (status, body) = problem.alone();
                return self.tell(tells::reply(reference, status, &body)).await;
            }
        };
        let follows = matches!(what, What::Subscribe { .. } | What::Submit { follow: true, .. });
        if follows && self.followed.len() + self.requests >= SUBSCRIPTIONS_MAX {
            let detail = format!(
                "at most {SUBSCRIPTIONS_MAX} tasks are followed on one connection; unsubscribe from some, or open another"
            );
            let (status, body) = Problem::new(Code::ClientLimit, detail).alone();
            return self.tell(tells::reply(reference, status, &body)).await;
        }
        let reference = reference.map(str::to_owned);
        let inner = self.inner.clone();
        let work = match what {
            What::Submit {
                model,
                task,
                idempotency_key,
                follow,
            } => {
                let task = Bytes::copy_from_slice(task.as_bytes());
                let key = idempotency_key.map(|key| key.into_owned());
                async move {
                    let answered = inner.submit(&model, task, key).await;
                    let start = answered.location.filter(|_| follow).map(|id| (id, None));
                    replied(reference, &answered, start)
                }
                .boxed()
            }
            What::Subscribe { id, seen } => async move {
                match inner.may_follow(id).await {
                    Ok(()) => {
                        let text = tells::reply(reference.as_deref(), StatusCode::OK, &tells::about(id));
                        Step::Replied(text, Some((id, seen)))
                    }
                    Err(answered) => replied(reference, &answered, None),
                }
            }
            .boxed(),
            What::Unsubscribe { id } => {
                if let Some(following) = self.followed.remove(&id) {
                    following.abort();
                }
                let text = tells::reply(reference.as_deref(), StatusCode::OK, &tells::about(id));
                return self.tell(text).await;
            }
            What::Cancel { id } => async move { replied(reference, &inner.cancel(id).await, None) }.boxed(),
        };
        self.requests += 1;
        self.work.push(work.map(Ok).boxed());
        Ok(())
    }

    /// Asks a caller that has been silent for a while whether it is there, and gives up one that is not.
    async fn beat(&mut self) -> Result<ControlFlow<Option<CloseFrame>>, Error> {
        if self.asked >= UNANSWERED_MAX {
            let words = "nothing was heard, though it was asked for twice";
            return Ok(Break(Some(farewell(CloseCode::Away, words))));
        }
        if self.heard.elapsed() >= HEARTBEAT {
            self.asked += 1;
            self.socket.feed(Message::Ping(Bytes::new())).await?;
        }
        Ok(Continue(()))
    }

    /// Says something, as soon as the caller has room for it. It is written when there is no more to say.
    async fn tell(&mut self, text: Vec<u8>) -> Result<(), Error> {
        let text = Utf8Bytes::try_from(Bytes::from(text)).map_err(|error| Error::Utf8(error.to_string()))?;
        self.socket.feed(Message::Text(text)).await
    }

    /// Says why, and gives the caller a moment to read it.
    async fn part(&mut self, farewell: CloseFrame) {
        let socket = &mut self.socket;
        let words = async {
            socket.close(Some(farewell)).await?;
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
            Ok::<(), Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, words).await {
            tracing::debug!(%error, "the last words on a WebSocket were not heard");
        }
    }
}

fn replied(reference: Option<String>, answered: &Answered, follow: Option<Start>) -> Step {
    let text = tells::reply(reference.as_deref(), answered.status, &answered.body);
    Step::Replied(text, follow)
}

fn farewell(code: CloseCode, reason: &str) -> CloseFrame {
    CloseFrame {
        code,
        reason: reason.into(),
    }
}
