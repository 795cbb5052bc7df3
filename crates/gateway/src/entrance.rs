//! Where callers come in: TCP or a socket in the file system, plain or in TLS, for everybody or for operators.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use rustix::fs::Mode;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

use crate::connection::Raw;
use crate::router::Audience;
use crate::tls::Tls;

/// Connections that the kernel finishes before we accept them; it cuts this to its own limit (`net.core.somaxconn`).
/// With the usual 128, some of a few hundred callers that come at once are dropped, and try again after a second.
const BACKLOG: u32 = 65_535;

/// One place where callers come in.
#[derive(Debug)]
pub struct Entrance {
    listener: Listener,
    pub(crate) tls: Option<Tls>,
    pub(crate) audience: Audience,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    /// One that was handed over has no name of ours to take away.
    Unix(UnixListener, Option<Name>),
}

/// The name of a socket in the file system: it goes when its server goes.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    /// Device and inode: another server may have taken the name.
    file: (u64, u64),
}

impl Entrance {
    /// Opens a port. Must be called inside a tokio runtime.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        bind(address).map(Self::from)
    }

    /// Opens a socket in the file system, which whoever has these permissions may use. What a server left there that is gone is
    /// replaced; the socket of one that is not is [`ErrorKind::AddrInUse`]. Must be called inside a tokio runtime.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        let listener = match bind_unix(path, mode) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path) => {
                std::fs::remove_file(path)?;
                bind_unix(path, mode)?
            }
            other => other?,
        };
        // The mode of the process was on it until now, which can only have taken permissions away.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        let made = std::fs::symlink_metadata(path)?;
        let name = Name {
            path: path.to_owned(),
            file: (made.dev(), made.ino()),
        };
        Ok(Self {
            listener: Listener::Unix(listener, Some(name)),
            tls: None,
            audience: Audience::Everybody,
        })
    }

    /// The same in TLS.
    #[must_use]
    pub fn in_tls(self, tls: Tls) -> Self {
        Self {
            tls: Some(tls),
            ..self
        }
    }

    /// The same without what is for operators.
    #[must_use]
    pub fn for_callers(self) -> Self {
        Self {
            audience: Audience::Callers,
            ..self
        }
    }

    /// Only for those who look how the server stands: it takes no work from callers.
    #[must_use]
    pub fn for_lookers(self) -> Self {
        Self {
            audience: Audience::Lookers,
            ..self
        }
    }

    /// The port that others than this machine may reach, if it is one.
    #[must_use]
    pub fn open_port(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok().filter(|at| !at.ip().is_loopback()),
            Listener::Unix(..) => None,
        }
    }

    /// The next caller.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Raw, Option<IpAddr>)>> {
        Poll::Ready(match &self.listener {
            Listener::Tcp(listener) => {
                ready!(listener.poll_accept(cx)).map(|(stream, at)| (Raw::Tcp(stream), Some(at.ip())))
            }
            Listener::Unix(listener, _) => {
                ready!(listener.poll_accept(cx)).map(|(stream, _)| (Raw::Unix(stream), None))
            }
        })
    }
}

impl From<TcpListener> for Entrance {
    /// One that is open already.
    fn from(listener: TcpListener) -> Self {
        Self {
            listener: Listener::Tcp(listener),
            tls: None,
            audience: Audience::Everybody,
        }
    }
}

impl From<UnixListener> for Entrance {
    /// One that is open already, and whose name somebody else takes away.
    fn from(listener: UnixListener) -> Self {
        Self {
            listener: Listener::Unix(listener, None),
            tls: None,
            audience: Audience::Everybody,
        }
    }
}

impl fmt::Display for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.listener {
            Listener::Unix(_, Some(name)) => write!(f, "unix:{}", name.path.display()),
            Listener::Unix(listener, None) => match listener.local_addr() {
                Ok(at) => match at.as_pathname() {
                    Some(path) => write!(f, "unix:{}", path.display()),
                    None => f.write_str("unix:(a socket without a path)"),
                },
                Err(error) => write!(f, "unix:({error})"),
            },
            Listener::Tcp(listener) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                match listener.local_addr() {
                    Ok(at) => write!(f, "{scheme}://{at}"),
                    Err(error) => write!(f, "{scheme}://({error})"),
                }
            }
        }
    }
}

/// Opens the port. Apart from [`serve`](crate::serve), so that a taken port is known before models are loaded. Must be called
/// inside a tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // Before it has a name, so that nobody else can come in between.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

/// True for the socket of a server that is gone.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

impl Drop for Name {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        if !found.is_ok_and(|found| (found.dev(), found.ino()) == self.file) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a socket cannot be removed");
        }
    }
}
