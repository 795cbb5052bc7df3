//! A stream that hands on what the broker sends, frame by frame where a frame may have to be made safe first, and as it comes
//! otherwise.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::tame;

/// Type, channel and size of a frame come before its payload, one byte after it.
const HEAD: usize = 7;
const END: usize = 1;
const METHOD: u8 = 1;
const PROPERTIES: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// A frame that is held until all of it is there. Brokers allow 128 KiB unless they are told otherwise.
const FRAME_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one read.
const READ: usize = 64 * 1024;

/// The end of a stream, told both ways. The AMQP library keeps a thread for each stream, until the broker lets go of it: one that
/// takes connections and says nothing would have us keep more and more of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Cord {
    /// Cancelled when the stream has gone.
    pub(super) gone: CancellationToken,
    /// Cancelled to end the stream.
    pub(super) cut: CancellationToken,
}

/// The stream.
pub(super) struct Guard<S> {
    stream: S,
    frames: Frames,
    buffer: Vec<u8>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _gone: DropGuard,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, cord: Cord) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            buffer: vec![0; READ],
            cut: Box::pin(cord.cut.cancelled_owned()),
            _gone: cord.gone.drop_guard(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        loop {
            let count = this.frames.take(buf);
            if count > 0 || buf.is_empty() {
                return Poll::Ready(Ok(count));
            }
            let count = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut this.buffer))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            this.frames.put(this.buffer.get(..count).unwrap_or_default())?;
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx)
    }
}

/// Bytes on their way.
#[derive(Default)]
struct Frames {
    /// What can be handed on, and how much of it was.
    ready: Vec<u8>,
    taken: usize,
    /// The frame that is being collected.
    frame: Vec<u8>,
    /// Bytes of a frame that need not be looked at and are still to come.
    passing: usize,
    /// No frames: a broker that speaks another version says so in eight bytes, and ends.
    raw: bool,
}

impl Frames {
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let ready = self.ready.get(self.taken..).unwrap_or_default();
        let count = ready.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), ready.get(..count)) {
            to.copy_from_slice(from);
        }
        self.taken += count;
        if self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
        }
        count
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.raw {
                self.ready.extend(bytes);
                return Ok(());
            }
            if self.passing > 0 {
                let (now, later) = bytes.split_at(self.passing.min(bytes.len()));
                self.ready.extend(now);
                self.passing -= now.len();
                bytes = later;
                continue;
            }
            let wanted = self.wanted()?;
            let (now, later) = bytes.split_at((wanted - self.frame.len()).min(bytes.len()));
            self.frame.extend(now);
            bytes = later;
            if self.frame.len() == wanted {
                self.complete();
            }
        }
        Ok(())
    }

    /// How long what is collected is to become: a head, or all of the frame.
    fn wanted(&self) -> io::Result<usize> {
        let Some((type_, size)) = self.head() else {
            return Ok(HEAD);
        };
        if !matches!(type_, METHOD | PROPERTIES) {
            return Ok(HEAD);
        }
        if size > FRAME_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame is too large"));
        }
        Ok(HEAD + size + END)
    }

    fn head(&self) -> Option<(u8, usize)> {
        let [type_, _, _, a, b, c, d] = *self.frame.first_chunk::<HEAD>()?;
        Some((type_, u32::from_be_bytes([a, b, c, d]) as usize))
    }

    fn complete(&mut self) {
        let Some((type_, size)) = self.head() else {
            return;
        };
        let is_whole = self.frame.len() == HEAD + size + END;
        match (type_, self.frame.get_mut(HEAD..HEAD + size)) {
            (METHOD, Some(payload)) if is_whole => tame::method(payload),
            (PROPERTIES, Some(payload)) if is_whole => tame::properties(payload),
            // Only the head so far.
            (METHOD | PROPERTIES, _) => return,
            (BODY | HEARTBEAT, _) => self.passing = size + END,
            _ => self.raw = true,
        }
        self.ready.append(&mut self.frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(type_: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![type_, 0, 1];
        frame.extend((payload.len() as u32).to_be_bytes());
        frame.extend(payload);
        frame.push(0xce);
        frame
    }

    /// What comes out when so many bytes come in at once.
    fn through(bytes: &[u8], step: usize) -> Vec<u8> {
        let mut frames = Frames::default();
        let mut out = Vec::new();
        for some in bytes.chunks(step) {
            frames.put(some).unwrap();
            let mut buf = [0; 5];
            loop {
                match frames.take(&mut buf) {
                    0 => break,
                    count => out.extend(&buf[..count]),
                }
            }
        }
        out
    }

    #[test]
    fn frames_come_out_as_they_went_in_but_for_what_is_tamed() {
        let deliver = |key: u8| {
            let mut payload = b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x01\0\0\x01".to_vec();
            payload.push(key);
            frame(METHOD, &payload)
        };
        let body = frame(BODY, &[0xff; 100]);
        let before = [
            frame(HEARTBEAT, b""),
            deliver(0xff),
            body.clone(),
            frame(METHOD, b""),
        ]
        .concat();
        let after = [frame(HEARTBEAT, b""), deliver(b'?'), body, frame(METHOD, b"")].concat();
        // Wherever the bytes are torn.
        for step in 1..=before.len() {
            assert_eq!(through(&before, step), after, "{step}");
        }
    }

    #[test]
    fn another_protocol_goes_through_and_a_frame_without_end_does_not() {
        assert_eq!(
            through(b"AMQP\x00\x00\x09\x01 and more", 3),
            b"AMQP\x00\x00\x09\x01 and more"
        );
        let mut frames = Frames::default();
        assert!(frames.put(&[METHOD, 0, 1, 0xff, 0xff, 0xff, 0xff, 0]).is_err());
    }
}
