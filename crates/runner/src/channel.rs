//! The control channel to one instance: frames over a Unix socket.
//!
//! Reading and writing go on together ([`Channel::next`] does both): an instance that is writing a large answer does not
//! read, and two sides that only write would wait for each other for ever. Nothing here knows what a frame is for.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::{Buf, Bytes, BytesMut};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::watched::watched;
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
    /// The runtime tells of what there is to read, and of nothing else: one that is told of room for writing as well is woken
    /// each time the instance has read something.
    socket: AsyncFd<OwnedFd>,
    /// The same socket, while it has taken less than there is to write: tells when it takes more.
    full: Option<AsyncFd<OwnedFd>>,
    reading: Reading,
    /// Bounded by the slots: two frames go in for each batch sent at most, and two or three others in a life.
    outbox: VecDeque<Outgoing>,
}

/// What has been read and was not taken yet.
struct Reading {
    /// Where the kernel puts bytes.
    scratch: Box<[u8]>,
    inbox: BytesMut,
    large: Option<LargeBody>,
}

/// What one read gave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Got {
    /// Nothing: there is nothing now.
    Nothing,
    /// All there was.
    All,
    /// As much as was asked for.
    Part,
}

impl Channel {
    /// A fresh channel: our end, and the one to give to the instance.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let channel = Self {
            socket: watched(ours.into(), Interest::READABLE)?,
            full: None,
            reading: Reading::new(),
            outbox: VecDeque::new(),
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
            if let Some(frame) = self.reading.parse()? {
                return Ok(frame);
            }
            tokio::select! {
                biased;
                room = has_room(self.full.as_ref()) => {
                    room.map_err(ChannelError::Io)?;
                    self.write_now();
                }
                ready = self.socket.readable() => {
                    let mut ready = ready.map_err(ChannelError::Io)?;
                    if self.reading.read(ready.get_inner().as_fd())? != Got::Part {
                        ready.clear_ready();
                    }
                }
            }
        }
    }

    /// The next frame that is already here, without waiting: for an instance that has died, whose end of the channel
    /// some child of its own may still hold open. Asks the kernel directly, as the runtime may not have heard yet.
    pub(crate) fn next_now(&mut self) -> Result<Option<Frame>, ChannelError> {
        loop {
            if let Some(frame) = self.reading.parse()? {
                return Ok(Some(frame));
            }
            if self.reading.read(self.socket.as_fd())? == Got::Nothing {
                return Ok(None);
            }
        }
    }

    fn write_now(&mut self) {
        while let Some(front) = self.outbox.front_mut() {
            match send(self.socket.as_fd(), front) {
                Ok(n) => {
                    front.bytes.advance(n);
                    front.fds.clear(); // they went with the first byte
                    if front.bytes.is_empty() {
                        self.outbox.pop_front();
                    }
                }
                Err(Errno::AGAIN) if self.full.is_some() => return,
                Err(Errno::AGAIN) => match self.watch_for_room() {
                    Ok(full) => {
                        self.full = Some(full);
                        return;
                    }
                    Err(error) => return self.nobody_reads(&error),
                },
                Err(Errno::INTR) => {}
                Err(error) => return self.nobody_reads(&error.into()),
            }
        }
        self.full = None;
    }

    fn watch_for_room(&self) -> io::Result<AsyncFd<OwnedFd>> {
        watched(self.socket.get_ref().try_clone()?, Interest::WRITABLE)
    }

    /// The instance is gone, or has closed its end. Reading will tell, after the last frame that it wrote.
    fn nobody_reads(&mut self, error: &io::Error) {
        tracing::debug!(%error, "writing to an instance failed");
        self.outbox.clear();
        self.full = None;
    }
}

impl Reading {
    fn new() -> Self {
        Self {
            scratch: vec![0; READ_CHUNK].into(),
            inbox: BytesMut::new(),
            large: None,
        }
    }

    /// Takes in what there is, and of a large body nothing past its end.
    fn read(&mut self, socket: BorrowedFd<'_>) -> Result<Got, ChannelError> {
        let room = self
            .large
            .as_ref()
            .map_or(READ_CHUNK, |large| large.missing().min(READ_CHUNK));
        loop {
            match rustix::net::recv(socket, &mut self.scratch[..room], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(ChannelError::Closed),
                Ok((n, _)) => {
                    let came = &self.scratch[..n];
                    match &mut self.large {
                        Some(large) => large.take(came),
                        None => self.inbox.extend_from_slice(came),
                    }
                    // Fewer bytes than there is room for are all that a stream has.
                    return Ok(if n < room { Got::All } else { Got::Part });
                }
                Err(Errno::AGAIN) => return Ok(Got::Nothing),
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(error) => return Err(ChannelError::Io(error.into())),
            }
        }
    }

    /// Takes a whole frame out of what has been read, if there is one.
    fn parse(&mut self) -> Result<Option<Frame>, ChannelError> {
        if let Some(large) = &self.large {
            if large.missing() > 0 {
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

impl LargeBody {
    fn missing(&self) -> usize {
        self.header.body_len as usize - self.body.len()
    }

    fn take(&mut self, came: &[u8]) {
        if self.body.capacity() - self.body.len() < came.len() {
            self.body.reserve(self.missing().min(BODY_STEP));
        }
        self.body.extend_from_slice(came);
    }
}

/// Waits until a socket that was full takes more; for ever when none was.
async fn has_room(full: Option<&AsyncFd<OwnedFd>>) -> io::Result<()> {
    match full {
        Some(full) => {
            // Whether it still has room is found out by writing.
            full.writable().await?.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}

fn send(socket: BorrowedFd<'_>, out: &Outgoing) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = out.fds.iter().map(AsFd::as_fd).collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&out.bytes)],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
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
