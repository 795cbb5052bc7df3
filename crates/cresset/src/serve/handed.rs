//! The listening sockets that a service manager keeps for us (sd_listen_fds(3)), told apart by their names.
//!
//! While one server stops and the next starts, callers wait in a socket's backlog instead of being refused. A name is the unit's
//! `FileDescriptorName=`; every socket that is handed over is used as its name says, or the start ends: one that nobody accepts
//! from would leave callers waiting for ever.

use std::net::TcpListener as StdTcp;
use std::os::unix::net::UnixListener as StdUnix;

use cresset_config::{Listen, ServerConfig};
use cresset_gateway::{Entrance, Tls};
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use tokio::net::{TcpListener, UnixListener};

use crate::exit::{Exit, Trouble};

/// The variable with the names, a colon between two.
const NAMES: &str = "LISTEN_FDNAMES";
/// What can be written where something is wrong.
const HINT: &str = "a socket unit says with FileDescriptorName= what its sockets are for: `http`, `https`, `unix` or `admin`; \
                    a single one without a name is `http`";

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Callers, over TCP; in TLS if `server.listen` would be.
    Http,
    /// Callers, over TCP and in TLS.
    Https,
    /// Callers, over a socket in the file system.
    Unix,
    /// Operators, over either.
    Admin,
}

impl Use {
    const ALL: [(&str, Self); 4] = [
        ("http", Self::Http),
        ("https", Self::Https),
        ("unix", Self::Unix),
        ("admin", Self::Admin),
    ];
}

/// An open socket.
#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What was handed over, by what it is for.
#[derive(Debug, Default)]
pub(super) struct HandedOver {
    sockets: Vec<(Use, Socket)>,
}

impl HandedOver {
    /// All that the service manager has bound for us. Must be called inside a tokio runtime.
    pub(super) fn take() -> Result<Self, Trouble> {
        let mut given = ListenFd::from_env();
        let names = std::env::var(NAMES).unwrap_or_default();
        let uses = uses(given.len(), &names).map_err(bad)?;
        let take = |(at, one): (usize, Use)| {
            let socket = socket(&mut given, at, one).map_err(|why| {
                bad(format!(
                    "number {} of {}, {}: {why}",
                    at + 1,
                    given.len(),
                    one.name()
                ))
            })?;
            Ok((one, socket))
        };
        let sockets = uses
            .into_iter()
            .enumerate()
            .map(take)
            .collect::<Result<_, Trouble>>()?;
        Ok(Self { sockets })
    }

    /// Whether there is one for callers: it stands for all of `server.listen`.
    pub(super) fn has_callers(&self) -> bool {
        self.sockets.iter().any(|(one, _)| *one != Use::Admin)
    }

    /// The entrances for callers, and those for operators.
    pub(super) fn entrances(
        self,
        config: &ServerConfig,
        tls: Option<&Tls>,
    ) -> Result<(Vec<Entrance>, Vec<Entrance>), Trouble> {
        let (mut callers, mut operators) = (Vec::new(), Vec::new());
        for (one, socket) in self.sockets {
            let wants_tls = match one {
                Use::Https if tls.is_none() => {
                    return Err(bad(
                        "`https` speaks TLS, and there is no certificate: set `server.tls_cert` and `server.tls_key`".into(),
                    ));
                }
                Use::Https => true,
                Use::Http => all_tls(&config.listen, tls),
                Use::Admin => all_tls(&config.admin_listen, tls),
                Use::Unix => false,
            };
            let entrance = match (socket, tls) {
                (Socket::Unix(listener), _) => Entrance::from(listener),
                (Socket::Tcp(listener), Some(tls)) if wants_tls => {
                    Entrance::from(listener).in_tls(tls.clone())
                }
                (Socket::Tcp(listener), _) => Entrance::from(listener),
            };
            match one {
                Use::Admin => operators.push(entrance),
                Use::Http | Use::Https | Use::Unix => callers.push(entrance),
            }
        }
        Ok((callers, operators))
    }
}

/// Whether what stands in the place of these speaks TLS.
fn all_tls(listens: &[Listen], tls: Option<&Tls>) -> bool {
    listens.iter().all(|listen| listen.is_tls(tls.is_some()))
}

impl Use {
    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, one)| *one == self)
            .map_or("", |(name, _)| *name)
    }
}

/// What each of so many sockets is for.
fn uses(count: usize, names: &str) -> Result<Vec<Use>, String> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = match names {
        "" => vec![""; count],
        names => names.split(':').collect(),
    };
    if names.len() != count {
        return Err(format!("there are {count}, and {} names in {NAMES}", names.len()));
    }
    let read = |name: &&str| match Use::ALL.iter().find(|(known, _)| known == name) {
        Some((_, one)) => Ok(*one),
        None if count == 1 && is_no_name(name) => Ok(Use::Http),
        None if is_no_name(name) => Err(format!(
            "there are {count}, and one has no name of its own ({name:?}): what it is for is not known"
        )),
        None => Err(format!(
            "one is called {name:?}, which is none of `http`, `https`, `unix` and `admin`"
        )),
    };
    names.iter().map(read).collect()
}

/// What systemd and others call a socket whose unit says no name.
fn is_no_name(name: &str) -> bool {
    matches!(name, "" | "unknown" | "stored" | "connection") || name.ends_with(".socket")
}

/// The socket at this place, which must be listening and of the kind that its name says.
fn socket(given: &mut ListenFd, at: usize, one: Use) -> Result<Socket, String> {
    let said = |error: std::io::Error| error.to_string();
    let unix = |found: StdUnix| -> Result<Socket, std::io::Error> {
        found.set_nonblocking(true)?;
        Ok(Socket::Unix(UnixListener::from_std(found)?))
    };
    let tcp = |found: StdTcp| -> Result<Socket, std::io::Error> {
        found.set_nonblocking(true)?;
        Ok(Socket::Tcp(TcpListener::from_std(found)?))
    };
    // One of the wrong kind is left in its place, so both can be tried.
    if let Ok(Some(found)) = given.take_unix_listener(at) {
        return match (one, socket_acceptconn(&found)) {
            (Use::Https, _) => Err("it is a socket in the file system, where nobody speaks TLS".into()),
            (_, Ok(true)) => unix(found).map_err(said),
            (_, Ok(false)) => Err("it does not listen".into()),
            (_, Err(error)) => Err(error.to_string()),
        };
    }
    match given.take_tcp_listener(at) {
        Ok(Some(_)) if one == Use::Unix => Err("it is a TCP port".into()),
        Ok(Some(found)) => match socket_acceptconn(&found) {
            Ok(true) => tcp(found).map_err(said),
            Ok(false) => Err("it does not listen".into()),
            Err(error) => Err(error.to_string()),
        },
        Ok(None) => Err("it was taken already".into()),
        Err(_) => Err("it is neither a TCP port nor a socket of streams in the file system".into()),
    }
}

fn bad(why: String) -> Trouble {
    Trouble::new(
        Exit::UNAVAILABLE,
        format!("cannot use the sockets that were handed over: {why}"),
    )
    .hint(HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_sockets_are_for() {
        use Use::{Admin, Http, Https, Unix};
        for (count, names, found) in [
            (0, "", &[][..]),
            (0, "http", &[]),
            (1, "", &[Http]),
            (1, "unknown", &[Http]),
            (1, "cresset.socket", &[Http]),
            (1, "admin", &[Admin]),
            (4, "http:unix:admin:https", &[Http, Unix, Admin, Https]),
            (3, "http:http:unix", &[Http, Http, Unix]),
        ] {
            assert_eq!(uses(count, names).as_deref(), Ok(found), "{names}");
        }
        for (count, names, why) in [
            (2, "", "there are 2, and one has no name of its own"),
            (2, "http:cresset.socket", "(\"cresset.socket\")"),
            (2, "http", "there are 2, and 1 names"),
            (1, "http:admin", "there are 1, and 2 names"),
            (1, "metrics", "one is called \"metrics\""),
            (2, "http:", "has no name of its own"),
        ] {
            let told = uses(count, names).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
