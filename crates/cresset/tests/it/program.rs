//! Starting the program.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

/// The program with these arguments, in an environment of its own.
pub(crate) fn cresset(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cresset"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CRESSET_")
            || name.to_string_lossy().to_lowercase().ends_with("_proxy")
        {
            command.env_remove(name);
        }
    }
    command
}

/// How it ended, as text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            exit: output.status.code().expect("it exits by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit {}\n--- stdout\n{}--- stderr\n{}",
            self.exit, self.stdout, self.stderr
        )
    }
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    Ended::of(cresset(args).output().unwrap())
}

/// Runs it to its end, with this on its stdin.
pub(crate) fn run_with(args: &[&str], stdin: &str) -> Ended {
    let mut child = cresset(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    let ended = end(child);
    // It may have ended without reading all.
    let _ = writer.join().unwrap();
    ended
}

/// Waits for a started one.
pub(crate) fn end(child: Child) -> Ended {
    Ended::of(child.wait_with_output().unwrap())
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}
