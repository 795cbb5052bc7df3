//! The bytes of one connection, and how long each side may keep the other waiting.
//!
//! ```text
//!            first byte of a head              whole head                 answer given
//!   [idle] ------------------------> [head] ------------------> [busy] ------------------> [idle]
//!    idle_timeout: closed            head_timeout: 408           a body is read in `upload`
//! ```
//!
//! In every phase: a reader that does not take an answer at `min_rate` is cut off. hyper has one timer for idleness and
//! heads together, and none for readers, so the timers are here, where the bytes are.
//!
//! The phases are told by both ends: this side sees bytes, [`Phase`] is told by the service when it has a head and when
//! an answer has been given. All of it runs in the task of the connection.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::answers::Share;
use crate::ws::Handover;

/// How long each side may keep the other waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Between two requests, and before the first.
    pub(crate) idle: Duration,
    /// From the first byte of a head to its last.
    pub(crate) head: Duration,
    /// An answer that is not taken at `min_rate` for so long is given up.
    pub(crate) write: Duration,
    /// Bytes a second.
    pub(crate) min_rate: u64,
}

/// Why a connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// TLS was not agreed on.
    Handshake,
    /// Nothing was asked.
    Idle,
    /// A head did not come to its end.
    Head,
    /// An answer was not taken.
    Write,
}

impl GivenUp {
    /// The label in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::Head => "head",
            Self::Write => "write",
        }
    }
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// Where a connection is between two requests. One for each, shared with the service that answers on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    phase: AtomicU8,
    /// Whether there are shares: mostly there are none, and each flush asks.
    holds: AtomicBool,
    /// Of answers that have been given, and may not have been taken.
    shares: Mutex<Vec<Share>>,
    /// What goes on here once the last answer is out, if not HTTP.
    next: Mutex<Option<Handover>>,
}

impl Phase {
    fn get(&self) -> u8 {
        self.0.phase.load(Ordering::Relaxed)
    }

    fn set(&self, phase: u8) {
        self.0.phase.store(phase, Ordering::Relaxed);
    }

    /// A head is there; a request has begun.
    pub(crate) fn asked(&self) {
        self.set(BUSY);
    }

    /// Keeps the share of an answer until the socket has taken it.
    pub(crate) fn hold(&self, share: Share) {
        self.shares().push(share);
        self.0.holds.store(true, Ordering::Relaxed);
    }

    /// The answer on its way is the last one of HTTP here.
    pub(crate) fn hand_over(&self, handover: Handover) {
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(handover);
    }

    /// All that has been given has been taken.
    fn let_go(&self) {
        if self.0.holds.swap(false, Ordering::Relaxed) {
            self.shares().clear();
        }
    }

    // One task has both ends, so nobody waits here, and nothing under the lock can panic.
    fn shares(&self) -> MutexGuard<'_, Vec<Share>> {
        self.0.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its answer has been given, to the last byte.
    pub(crate) fn answered(&self) {
        self.set(IDLE);
    }
}

/// What a line needs of a stream beside reading and writing.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Makes the kernel forget what has been written and not taken, once this is dropped.
    fn forget(&self);

    /// For one that keeps what it is given for a while: how much the other side has taken, ever.
    fn sent(&self) -> u64 {
        0
    }
}

/// One connection's bytes, under a watch.
pub(crate) struct Line<S: Stream, T: Ending> {
    stream: S,
    phase: Phase,
    patience: Patience,
    /// When the phase, as far as it waits for bytes, is over; and which one that is.
    read_until: Option<(u8, Instant)>,
    /// When so many bytes must have been taken since the reader was first found slow.
    write_until: Option<Instant>,
    taken: u64,
    /// What the stream had sent when it was last asked.
    sent: u64,
    /// Something was written since the first byte of this head: an answer to an earlier request, or hyper's to this one.
    spoke: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    ending: T,
}

/// Who is told when a line is given up, and has the words for those who are answered without a request.
pub(crate) trait Ending: Unpin {
    /// Told once.
    fn given_up(&mut self, why: GivenUp);
    /// The whole answer to a slow head.
    fn too_slow(&mut self) -> Vec<u8>;
}

impl<S: Stream, T: Ending> Line<S, T> {
    pub(crate) fn new(stream: S, phase: Phase, patience: Patience, ending: T) -> Self {
        Self {
            stream,
            phase,
            patience,
            read_until: None,
            write_until: None,
            taken: 0,
            sent: 0,
            spoke: false,
            alarm: None,
            ending,
        }
    }

    /// True when the caller has sent a part of a head, and has heard nothing since.
    pub(crate) fn may_answer_head(&self) -> bool {
        self.phase.get() == HEAD && !self.spoke
    }

    /// What goes on here now that HTTP is over. From then on only readers are watched.
    pub(crate) fn handed_over(&self) -> Option<Handover> {
        let mut next = self.phase.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.take().inspect(|_| self.phase.asked())
    }

    /// True when something was written since the last head began.
    pub(crate) fn has_spoken(&self) -> bool {
        self.spoke
    }

    /// The stream, no longer watched.
    pub(crate) fn into_stream(self) -> S {
        self.stream
    }

    /// True once it is `until`; else the task is woken then, or sooner.
    fn is_over(&mut self, cx: &mut Context<'_>, until: Instant) -> bool {
        if Instant::now() >= until {
            return true;
        }
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        // One that rings too soon is put off when it rings: that is cheaper than moving it with each request.
        if alarm.is_elapsed() || alarm.deadline() > until {
            alarm.as_mut().reset(until);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return true;
            }
            alarm.as_mut().reset(until);
        }
        false
    }

    fn give_up(&mut self, why: GivenUp) -> io::Error {
        self.ending.given_up(why);
        io::Error::new(io::ErrorKind::TimedOut, why.name())
    }

    /// Nothing has come; is it time to give up?
    fn keep_reading(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let phase = self.phase.get();
        if phase == BUSY {
            return Poll::Pending;
        }
        let until = match self.read_until {
            Some((of, until)) if of == phase => until,
            _ => {
                let wait = if phase == IDLE {
                    self.patience.idle
                } else {
                    self.patience.head
                };
                let until = Instant::now() + wait;
                self.read_until = Some((phase, until));
                until
            }
        };
        if !self.is_over(cx, until) {
            return Poll::Pending;
        }
        if phase == IDLE {
            return Poll::Ready(self.give_up(GivenUp::Idle));
        }
        let answer = self.ending.too_slow();
        // Nothing else is on its way out, so the socket has room for it; if not, the reader is slow as well.
        let _not_taken = Pin::new(&mut self.stream).poll_write(cx, &answer);
        Poll::Ready(self.give_up(GivenUp::Head))
    }

    /// So much has been taken.
    fn wrote(&mut self, bytes: usize) {
        self.spoke |= bytes > 0;
        if self.write_until.is_none() {
            return;
        }
        self.taken += bytes as u64;
        if self.taken >= self.quota() {
            self.write_until = None;
        }
    }

    /// What must be taken in each span of the patience.
    fn quota(&self) -> u64 {
        let seconds = self.patience.write.as_secs_f64();
        ((self.patience.min_rate as f64 * seconds) as u64).max(1)
    }

    /// Nothing was taken; is it time to give up?
    fn keep_writing(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let until = match self.write_until {
            Some(until) => until,
            None => {
                self.taken = 0;
                *self.write_until.insert(Instant::now() + self.patience.write)
            }
        };
        if !self.is_over(cx, until) {
            return Poll::Pending;
        }
        self.stream.forget();
        Poll::Ready(self.give_up(GivenUp::Write))
    }
}

impl<S: Stream, T: Ending> AsyncRead for Line<S, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut line.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before && line.phase.get() == IDLE {
                    line.phase.set(HEAD);
                    line.read_until = None;
                    line.spoke = false;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Ready(Err(ready!(line.keep_reading(cx)))),
        }
    }
}

impl<S: Stream, T: Ending> AsyncWrite for Line<S, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let line = self.get_mut();
        match Pin::new(&mut line.stream).poll_write(cx, buf) {
            Poll::Pending => Poll::Ready(Err(ready!(line.keep_writing(cx)))),
            Poll::Ready(written) => {
                line.wrote(*written.as_ref().unwrap_or(&0));
                Poll::Ready(written)
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let line = self.get_mut();
        match Pin::new(&mut line.stream).poll_write_vectored(cx, bufs) {
            Poll::Pending => Poll::Ready(Err(ready!(line.keep_writing(cx)))),
            Poll::Ready(written) => {
                line.wrote(*written.as_ref().unwrap_or(&0));
                Poll::Ready(written)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        match Pin::new(&mut line.stream).poll_flush(cx) {
            Poll::Pending => {
                let sent = line.stream.sent();
                let more = sent - std::mem::replace(&mut line.sent, sent);
                line.wrote(usize::try_from(more).unwrap_or(usize::MAX));
                Poll::Ready(Err(ready!(line.keep_writing(cx))))
            }
            flushed => {
                // It is asked for when all has been written: the reader has taken it.
                line.write_until = None;
                line.phase.let_go();
                flushed
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
