//! The control channel to one instance: frames over a Unix socket.
//!
//! Reading and writing go on together ([`Channel::next`] does both): an instance that is writing a large answer does not
//! read, and two sides that only write would wait for each other for ever. Nothing here knows what a frame is for.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::wire::{HEADER_LEN, Header, WireError};

/// What one read asks for. Frames of ordinary batches are far smaller, so one call reads several.
const READ_CHUNK: usize = 64 * 1024;
/// A body larger than the buffer grows in steps of this: a length that is only promised costs no memory.
const BODY_STEP: usize = 1 << 20;
/// Descriptors that go with one frame at most: HELLO has that of the slab and that of the board.
const FDS_MAX: usize = 2;

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) body: Bytes,
}

/// Why no more frames come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The other side closed it, between frames or in the middle of one.
    #[error("the control channel was closed")]
    Closed,
    #[error("reading the control channel")]
    Io(#[source] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
}

struct Outgoing {
    bytes: Bytes,
    fds: Vec<OwnedFd>,
}

/// A body that did not fit the read buffer.
struct LargeBody {
    header: Header,
    body: BytesMut,
}

/// Our end of the channel.
pub(crate) struct Channel {
    stream: UnixStream,
    inbox: BytesMut,
    large: Option<LargeBody>,
    /// Bounded by the slots: two frames go in for each batch sent at most, and two or three others in a life.
    outbox: VecDeque<Outgoing>,
    /// Writing failed: the instance is gone or closed its end. What it wrote before is still to be read.
    deaf: bool,
}

impl Channel {
    /// A fresh channel: our end, and the one to give to the instance.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let channel = Self {
            stream: UnixStream::from_std(ours)?,
            inbox: BytesMut::with_capacity(READ_CHUNK),
            large: None,
            outbox: VecDeque::new(),
            deaf: false,
        };
        Ok((channel, theirs.into()))
    }

    /// Queues a frame and writes what the socket takes at once; `next` writes the rest.
    /// At most [`FDS_MAX`] descriptors go with it.
    pub(crate) fn push(&mut self, frame: Bytes, fds: Vec<OwnedFd>) {
        debug_assert!(fds.len() <= FDS_MAX);
        self.outbox.push_back(Outgoing { bytes: frame, fds });
        self.write_now();
    }

    /// The next frame. Also writes what is queued. Cancel-safe: bytes read or written are accounted for before the
    /// future can be dropped.
    pub(crate) async fn next(&mut self) -> Result<Frame, ChannelError> {
        loop {
            if let Some(frame) = self.parse()? {
                return Ok(frame);
            }
            let writing = !self.outbox.is_empty() && !self.deaf;
            let interest = if writing {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            let ready = self.stream.ready(interest).await.map_err(ChannelError::Io)?;
            if ready.is_writable() && writing {
                self.write_now();
            }
            if ready.is_readable() || ready.is_read_closed() {
                let (buffer, room) = read_buffer(&mut self.inbox, &mut self.large);
                match self.stream.try_read_buf(&mut buffer.limit(room)) {
                    Ok(0) => return Err(ChannelError::Closed),
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(ChannelError::Closed),
                    Err(e) => return Err(ChannelError::Io(e)),
                }
            }
        }
    }

    /// The next frame that is already here, without waiting: for an instance that has died, whose end of the channel
    /// some child of its own may still hold open. Asks the kernel directly, as the runtime may not have heard yet.
    pub(crate) fn next_now(&mut self) -> Result<Option<Frame>, ChannelError> {
        loop {
            if let Some(frame) = self.parse()? {
                return Ok(Some(frame));
            }
            let (buffer, room) = read_buffer(&mut self.inbox, &mut self.large);
            let start = buffer.len();
            let room = room.min(READ_CHUNK);
            buffer.resize(start + room, 0);
            let got = rustix::net::recv(self.stream.as_fd(), &mut buffer[start..], RecvFlags::DONTWAIT);
            let kept = got.map_or(0, |(n, _)| n);
            buffer.truncate(start + kept);
            match got {
                Ok((0, _)) => return Err(ChannelError::Closed),
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(e) => return Err(ChannelError::Io(e.into())),
            }
        }
    }

    fn write_now(&mut self) {
        while let Some(front) = self.outbox.front_mut() {
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                send(&self.stream, front).map_err(io::Error::from)
            });
            match sent {
                Ok(n) => {
                    front.bytes.advance(n);
                    front.fds.clear(); // they went with the first byte
                    if front.bytes.is_empty() {
                        self.outbox.pop_front();
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    // Reading will tell: the end of the channel, after the last frame that was written.
                    tracing::debug!(error = %e, "writing to an instance failed");
                    self.deaf = true;
                    self.outbox.clear();
                    return;
                }
            }
        }
    }

    /// Takes a whole frame out of what has been read, if there is one.
    fn parse(&mut self) -> Result<Option<Frame>, ChannelError> {
        if let Some(large) = &self.large {
            if large.body.len() < large.header.body_len as usize {
                return Ok(None);
            }
            return Ok(self.large.take().map(|l| Frame {
                header: l.header,
                body: l.body.freeze(),
            }));
        }
        let Some(head) = self.inbox.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::decode(head)?;
        let len = header.body_len as usize;
        let here = &self.inbox[HEADER_LEN..];
        if let Some(body) = here.get(..len) {
            // A copy, so that a small result kept for a day does not keep the whole read buffer alive.
            let body = Bytes::copy_from_slice(body);
            self.inbox.advance(HEADER_LEN + len);
            return Ok(Some(Frame { header, body }));
        }
        if HEADER_LEN + len > READ_CHUNK {
            let mut body = BytesMut::with_capacity(len.min(BODY_STEP));
            body.extend_from_slice(here);
            self.inbox.clear();
            self.large = Some(LargeBody { header, body });
        }
        Ok(None)
    }
}

/// Where the next bytes go, and how many at most: the read buffer, or the large body and never past its end.
fn read_buffer<'a>(inbox: &'a mut BytesMut, large: &'a mut Option<LargeBody>) -> (&'a mut BytesMut, usize) {
    match large {
        Some(LargeBody { header, body }) => {
            let missing = header.body_len as usize - body.len();
            body.reserve(missing.min(BODY_STEP));
            (body, missing)
        }
        None => {
            inbox.reserve(READ_CHUNK);
            (inbox, READ_CHUNK)
        }
    }
}

fn send(stream: &UnixStream, out: &Outgoing) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = out.fds.iter().map(AsFd::as_fd).collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    rustix::net::sendmsg(
        stream.as_fd(),
        &[IoSlice::new(&out.bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream as StdStream;

    use super::*;
    use crate::wire::Kind;

    fn pair() -> (Channel, StdStream) {
        let (channel, theirs) = Channel::pair().unwrap();
        (channel, StdStream::from(theirs))
    }

    fn note(len: usize) -> Vec<u8> {
        let mut frame = Header {
            batch: 1,
            ..Header::plain(Kind::DoneObjects, len as u32)
        }
        .encode()
        .to_vec();
        frame.extend((0..len).map(|i| (i % 251) as u8));
        frame
    }

    #[tokio::test]
    async fn frames_of_every_size_arrive_whole_and_in_order() {
        let (mut channel, mut theirs) = pair();
        let sizes = [
            0,
            1,
            1000,
            READ_CHUNK - HEADER_LEN,
            READ_CHUNK - HEADER_LEN + 1,
            READ_CHUNK,
            3 * BODY_STEP + 7,
            5,
        ];
        let writer = std::thread::spawn(move || {
            for size in sizes {
                theirs.write_all(&note(size)).unwrap();
            }
        });
        for size in sizes {
            let frame = channel.next().await.unwrap();
            assert_eq!(&frame.body[..], &note(size)[HEADER_LEN..]);
        }
        assert!(matches!(channel.next().await, Err(ChannelError::Closed)));
        writer.join().unwrap();
    }

    #[tokio::test]
    async fn large_frames_in_both_directions_do_not_wait_for_each_other() {
        let (mut channel, mut theirs) = pair();
        let big = note(4 << 20);
        channel.push(big.clone().into(), Vec::new());
        let echo = std::thread::spawn(move || {
            theirs.write_all(&note(4 << 20)).unwrap(); // writes all before it reads anything
            let mut got = vec![0; (4 << 20) + HEADER_LEN];
            theirs.read_exact(&mut got).unwrap();
            theirs.write_all(&note(1)).unwrap();
            got
        });
        assert_eq!(channel.next().await.unwrap().body.len(), 4 << 20);
        assert_eq!(channel.next().await.unwrap().body.len(), 1);
        assert!(echo.join().unwrap() == big);
    }

    #[tokio::test]
    async fn what_was_written_before_the_end_is_read_though_somebody_keeps_the_channel_open() {
        let (mut channel, mut theirs) = pair();
        let _held_by_a_grandchild = theirs.try_clone().unwrap();
        theirs.write_all(&note(100_000)).unwrap();
        theirs.write_all(&note(3)).unwrap();
        theirs.write_all(&note(50)[..40]).unwrap();
        drop(theirs);
        assert_eq!(channel.next_now().unwrap().unwrap().body.len(), 100_000);
        assert_eq!(channel.next_now().unwrap().unwrap().body.len(), 3);
        assert!(channel.next_now().unwrap().is_none());
    }

    #[tokio::test]
    async fn writing_to_a_closed_channel_still_reads_what_came_before() {
        let (mut channel, mut theirs) = pair();
        theirs.write_all(&note(9)).unwrap();
        drop(theirs);
        channel.push(note(10).into(), Vec::new());
        assert_eq!(channel.next().await.unwrap().body.len(), 9);
        assert!(matches!(channel.next().await, Err(ChannelError::Closed)));
    }

    #[tokio::test]
    async fn bad_headers_and_lengths_over_the_limit_are_refused_before_any_body() {
        for bad in [[0xff; HEADER_LEN], Header::plain(Kind::Note, u32::MAX).encode()] {
            let (mut channel, mut theirs) = pair();
            theirs.write_all(&bad).unwrap();
            assert!(matches!(channel.next().await, Err(ChannelError::Wire(_))));
        }
    }

    #[tokio::test]
    async fn a_descriptor_travels_with_the_first_byte_of_its_frame() {
        let (mut channel, mut theirs) = pair();
        channel.push(note(10).into(), Vec::new());
        let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&file, b"inside").unwrap();
        channel.push(note(20).into(), vec![file]);
        let reader = std::thread::spawn(move || {
            theirs.read_exact(&mut [0; HEADER_LEN + 10]).unwrap();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
            let mut first = [0; 1];
            let mut buffers = [std::io::IoSliceMut::new(&mut first)];
            rustix::net::recvmsg(&theirs, &mut buffers, &mut control, RecvFlags::empty()).unwrap();
            let Some(rustix::net::RecvAncillaryMessage::ScmRights(mut fds)) = control.drain().next() else {
                panic!("no descriptor came");
            };
            let fd = fds.next().unwrap();
            let mut text = [0; 6];
            rustix::io::pread(&fd, &mut text, 0).unwrap();
            assert_eq!(&text, b"inside");
        });
        // Nothing comes back, but waiting for it is what writes.
        assert!(matches!(channel.next().await, Err(ChannelError::Closed)));
        reader.join().unwrap();
    }
}
