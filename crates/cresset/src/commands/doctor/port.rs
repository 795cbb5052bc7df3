//! Whether the address can be listened on, and who has it otherwise.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use cresset_config::{Address, ServerConfig};

use super::line::Lines;
use crate::serve::door;

/// `server` is whoever has the task store, if somebody has.
pub(super) fn look(config: &ServerConfig, server: Option<&str>, lines: &mut Lines) {
    for listen in config.listen.iter().chain(&config.admin_listen) {
        match &listen.at {
            Address::Tcp(at) => look_at(*at, listen.is_tls(config.tls_cert.is_some()), server, lines),
            Address::Unix(path) => look_for(path, lines),
        }
    }
    if let Err(trouble) = door::certificate(config) {
        lines.fail("port", trouble.to_string(), "mend it, or leave both settings out");
    }
}

/// The folder of a socket.
fn look_for(path: &Path, lines: &mut Lines) {
    match path.parent() {
        Some(folder) if folder.is_dir() => lines.ok("port", format!("{} has a folder", path.display())),
        _ => lines.fail(
            "port",
            format!("cannot listen on {}: its folder is not there", path.display()),
            "make the folder",
        ),
    }
}

fn look_at(listen: SocketAddr, is_tls: bool, server: Option<&str>, lines: &mut Lines) {
    match TcpListener::bind(listen) {
        Ok(_) => lines.ok("port", format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let who = holder(listen);
            let is_ours = who.as_ref().is_some_and(|(pid, _)| {
                server.is_some_and(|server| server.contains(&format!("(pid {pid})")))
            });
            let who = who.map_or_else(
                || "a process of somebody else".to_owned(),
                |(pid, name)| format!("{name} (pid {pid})"),
            );
            if is_ours {
                lines.ok("port", format!("{listen} is the running server's: {who}"));
            } else {
                lines.fail(
                    "port",
                    format!("{listen} is in use by {who}"),
                    "stop that, or choose another address with --listen HOST:PORT",
                );
            }
        }
        Err(error) => lines.fail(
            "port",
            format!("cannot listen on {listen}: {error}"),
            "choose an address of this machine with --listen HOST:PORT; ports below 1024 need a privilege",
        ),
    }
    if !listen.ip().is_loopback() {
        let lacks = if is_tls {
            "no authentication"
        } else {
            "neither authentication nor TLS"
        };
        lines.warn(
            "port",
            format!("{listen} can be reached from other machines, and there is {lacks}"),
            "listen on a private address, or behind a proxy that has both",
        );
    }
}

/// The process that listens on this port, as far as we may look.
fn holder(listen: SocketAddr) -> Option<(u32, String)> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, listen.port()))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(open) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let is_it = |entry: fs::DirEntry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            inodes.iter().any(|inode| target.to_string_lossy() == *inode)
        };
        if open.flatten().any(is_it) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

/// Inodes of sockets that listen on this port, from a table of /proc/net.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let ends = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row.len() > 9 && row[1].ends_with(&ends) && row[3] == LISTEN)
        .map(|row| row[9].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (pid, _) = holder(listener.local_addr().unwrap()).unwrap();
        assert_eq!(pid, std::process::id());
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:21FC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
            1: 0100007F:21FC 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n\
            2: 0100007F:21FD 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1\n";
        assert_eq!(listening(table, 8700), ["111"]);
        assert!(listening("", 8700).is_empty());
    }
}
