//! The stream of a connection, of whichever kind: TCP, TLS over it, or a socket in the file system.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::line::Stream;

/// How the records of a TLS handshake begin.
const HANDSHAKE: u8 = 22;

/// A connection as it was accepted.
pub(crate) enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One that is ready for HTTP.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Counted>>),
}

/// Why a handshake came to nothing.
pub(crate) enum NoTls {
    /// The caller does not speak TLS.
    Plain(Socket),
    Broken(io::Error),
}

impl Raw {
    /// As it is.
    pub(crate) fn plain(self) -> Socket {
        match self {
            Self::Tcp(stream) => Socket::Tcp(stream),
            Self::Unix(stream) => Socket::Unix(stream),
        }
    }

    /// Answers are written whole; waiting to fill a segment would only delay them.
    pub(crate) fn at_once(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Shakes hands.
    pub(crate) async fn in_tls(self, acceptor: TlsAcceptor) -> Result<Socket, NoTls> {
        let Self::Tcp(stream) = self else {
            return Ok(self.plain());
        };
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] != HANDSHAKE => return Err(NoTls::Plain(Socket::Tcp(stream))),
            Ok(_) => {}
            Err(error) => return Err(NoTls::Broken(error)),
        }
        let stream = Counted { stream, sent: 0 };
        match acceptor.accept(stream).await {
            Ok(stream) => Ok(Socket::Tls(Box::new(stream))),
            Err(error) => Err(NoTls::Broken(error)),
        }
    }
}

impl Stream for Socket {
    fn forget(&self) {
        // It fails only for a socket that is gone, and then there is nothing to forget.
        let _gone = match self {
            Self::Tcp(stream) => stream.set_zero_linger(),
            Self::Tls(stream) => stream.get_ref().0.stream.set_zero_linger(),
            Self::Unix(_) => Ok(()), // what is written is in the reader's hands
        };
    }

    fn sent(&self) -> u64 {
        match self {
            Self::Tls(stream) => stream.get_ref().0.sent,
            Self::Tcp(_) | Self::Unix(_) => 0,
        }
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $do:expr) => {
        match $self {
            Socket::Tcp($stream) => $do,
            Socket::Unix($stream) => $do,
            Socket::Tls($stream) => $do,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// The stream below TLS, which keeps what it is given for a while: here is what the other side has taken.
pub(crate) struct Counted {
    stream: TcpStream,
    sent: u64,
}

impl Counted {
    fn took(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.sent += bytes as u64;
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let counted = self.get_mut();
        let written = Pin::new(&mut counted.stream).poll_write(cx, buf);
        counted.took(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let counted = self.get_mut();
        let written = Pin::new(&mut counted.stream).poll_write_vectored(cx, bufs);
        counted.took(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
