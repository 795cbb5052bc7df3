//! The server's address as people write it: `http://127.0.0.1:8700`, perhaps with a path in front of ours.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;

/// Where a server listens unless told otherwise; the same address `cresset serve` takes by default.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8700";

/// The checked address of a server, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    url: Url,
    /// A socket in the file system; the address is only what is said there.
    socket: Option<PathBuf>,
}

impl Target {
    /// The address of `path` (which starts with `/`) on this server.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// The socket in the file system, if it is one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// True when the server speaks TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// True when the server is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.url.host_str() {
            Some("localhost") => true,
            Some(host) => host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
            None => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(socket) = &self.socket {
            return f.pad(&format!("unix:{}", socket.display()));
        }
        f.pad(self.url.as_str().trim_end_matches('/'))
    }
}

/// The text is not the address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadTarget(String);

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTarget {}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let form = format!("write it as {DEFAULT_URL}");
        if let Some(path) = text.strip_prefix("unix:") {
            return socket(path);
        }
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                return Err(BadTarget(format!(
                    "not the address of a server ({error}); {form}"
                )));
            }
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadTarget(format!("not an http address; {form}")));
        }
        if url.host_str().is_none() || url.query().is_some() || url.fragment().is_some() {
            return Err(BadTarget(format!("not the address of a server; {form}")));
        }
        Ok(Self { url, socket: None })
    }
}

fn socket(path: &str) -> Result<Target, BadTarget> {
    let path = path.strip_prefix("//").unwrap_or(path);
    match (path.starts_with('/'), Url::parse("http://localhost")) {
        (true, Ok(url)) => Ok(Target {
            url,
            socket: Some(path.into()),
        }),
        _ => Err(BadTarget(
            "not the path of a socket; write it as unix:/run/cresset.sock".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_with_one_slash() {
        for text in ["http://host:1", "http://host:1/"] {
            assert_eq!(
                text.parse::<Target>().unwrap().join("/v1/models"),
                "http://host:1/v1/models"
            );
        }
        assert_eq!(
            "http://host/ml/".parse::<Target>().unwrap().join("/v1"),
            "http://host/ml/v1"
        );
    }

    #[test]
    fn what_is_not_a_server_is_refused_with_the_right_form() {
        for bad in [
            "localhost:8700",
            "unix:cresset.sock",
            "ftp://host",
            "http://host/?a=b",
            "",
            "http://",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_socket_in_the_file_system_is_a_server() {
        for text in ["unix:/run/x.sock", "unix:///run/x.sock"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), "unix:/run/x.sock");
            assert_eq!(target.socket(), Some(Path::new("/run/x.sock")));
            assert_eq!(target.join("/v1"), "http://localhost/v1");
            assert!(target.is_loopback());
        }
    }

    #[test]
    fn loopback_is_known_in_all_its_spellings() {
        for (text, loopback) in [
            ("http://localhost:1", true),
            ("http://127.0.0.2", true),
            ("http://[::1]:1", true),
            ("http://host", false),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
