//! Where the records go: a thread that only writes, behind a bounded channel, so that a slow pipe or disk holds up
//! nothing but the reading of more lines. A file is locked against a second run, and can be gone on with.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot};

use crate::exit::{Exit, Trouble};
use crate::out;

/// Writes that may wait for the thread. Each is one batch of records that came into order together.
const WRITES_WAITING: usize = 8;

/// What an earlier run has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The last line of the input that has its record; 0 for none.
    pub(super) last_line: u64,
    /// Records that are successes.
    pub(super) succeeded: u64,
    /// Records that are not.
    pub(super) failed: u64,
}

/// Opened, not yet written to.
#[derive(Debug)]
pub(super) enum Target {
    /// Standard output.
    Stdout,
    /// A file, locked, at its end.
    File(File, PathBuf),
}

/// A new file; never over an old one.
pub(super) fn create(path: &Path) -> Result<Target, Trouble> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Trouble::new(
                Exit::CANNOT_CREATE,
                format!("{} is there already", path.display()),
            )
            .hint("go on with that run by adding --resume, or name another file"),
            _ => Trouble::new(
                Exit::CANNOT_CREATE,
                format!("cannot make {}: {error}", path.display()),
            ),
        })?;
    lock(&file, path)?;
    Ok(Target::File(file, path.to_owned()))
}

/// The file of an earlier run, behind its last whole record; a new one if there is none.
pub(super) fn resume(path: &Path) -> Result<(Target, Written), Trouble> {
    let failed = |error: std::io::Error| Trouble::file("go on with", path, &error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    lock(&file, path)?;
    let (written, good) = scan(&file, path)?;
    file.set_len(good)
        .and_then(|()| file.seek(SeekFrom::Start(good)))
        .map_err(failed)?;
    Ok((Target::File(file, path.to_owned()), written))
}

fn lock(file: &File, path: &Path) -> Result<(), Trouble> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Trouble::new(
            Exit::CANNOT_CREATE,
            format!("another run is writing to {}", path.display()),
        )
        .hint("wait for it to end, or name another file")),
        Err(TryLockError::Error(error)) => Err(Trouble::file("lock", path, &error)),
    }
}

#[derive(serde::Deserialize)]
struct Head {
    line: u64,
    status: String,
}

/// Reads all records; gives what they say, and the length of the file up to the last whole one.
fn scan(file: &File, path: &Path) -> Result<(Written, u64), Trouble> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut written, mut good, mut text) = (Written::default(), 0_u64, Vec::new());
    for row in 1_u64.. {
        text.clear();
        let bytes = reader
            .read_until(b'\n', &mut text)
            .map_err(|error| Trouble::file("read", path, &error))?;
        if text.last() != Some(&b'\n') {
            // Nothing more, or a record that was cut off in the middle: it will be written again.
            break;
        }
        match serde_json::from_slice::<Head>(&text) {
            Ok(head) if head.line > written.last_line => {
                written.last_line = head.line;
                *(if head.status == "SUCCESS" {
                    &mut written.succeeded
                } else {
                    &mut written.failed
                }) += 1;
            }
            _ => {
                return Err(Trouble::new(
                    Exit::DATA,
                    format!("{}:{row}: not a record of such a run", path.display()),
                )
                .hint("name the file that `cresset submit --jsonl ... --output FILE` was writing"));
            }
        }
        good += bytes as u64;
    }
    Ok((written, good))
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Output {
    send: mpsc::Sender<Vec<u8>>,
    end: oneshot::Receiver<Result<(), Trouble>>,
}

impl Output {
    /// Starts the thread that writes.
    pub(super) fn start(target: Target) -> Result<Self, Trouble> {
        let (send, receive) = mpsc::channel(WRITES_WAITING);
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new()
            .name("cresset-output".to_owned())
            .spawn(move || {
                // The driver that does not wait for the end does not want it.
                let _ = ended.send(write_all(target, receive));
            })
            .map_err(|error| {
                Trouble::new(
                    Exit::SOFTWARE,
                    format!("cannot start the writing thread: {error}"),
                )
            })?;
        Ok(Self { send, end })
    }

    /// Room for one more write; `Err` when writing has failed ([`Output::finish`] says why). Cancel-safe.
    pub(super) async fn room(&self) -> Result<mpsc::Permit<'_, Vec<u8>>, ()> {
        self.send.reserve().await.map_err(|_| ())
    }

    /// Waits until all is written (a file: also on the disk).
    pub(super) async fn finish(self) -> Result<(), Trouble> {
        drop(self.send);
        self.end
            .await
            .unwrap_or_else(|_| Err(Trouble::new(Exit::SOFTWARE, "the writing thread went away")))
    }
}

fn write_all(target: Target, mut receive: mpsc::Receiver<Vec<u8>>) -> Result<(), Trouble> {
    match target {
        Target::Stdout => {
            let mut stdout = std::io::stdout().lock();
            while let Some(bytes) = receive.blocking_recv() {
                stdout
                    .write_all(&bytes)
                    .and_then(|()| stdout.flush())
                    .map_err(|error| match error.kind() {
                        ErrorKind::BrokenPipe => {
                            Trouble::new(Exit::IO, "stopped: nobody reads the results from stdout any more")
                                .hint("write them to a file with --output FILE")
                        }
                        _ => out::stdout_trouble(&error),
                    })?;
            }
            Ok(())
        }
        Target::File(mut file, path) => {
            let failed = |error: std::io::Error| Trouble::file("write", &path, &error);
            while let Some(bytes) = receive.blocking_recv() {
                file.write_all(&bytes).map_err(failed)?;
            }
            file.sync_all().map_err(failed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_on_starts_behind_the_last_whole_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let whole = "{\"line\":1,\"status\":\"SUCCESS\",\"result\":1}\n{\"line\":4,\"status\":\"FAILURE\"}\n";
        std::fs::write(&path, format!("{whole}{{\"line\":5,\"sta")).unwrap();
        let (target, written) = resume(&path).unwrap();
        assert_eq!(
            written,
            Written {
                last_line: 4,
                succeeded: 1,
                failed: 1
            }
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        let busy = resume(&path).unwrap_err();
        assert_eq!(busy.exit(), Exit::CANNOT_CREATE, "{busy}");
        drop(target);
    }

    #[test]
    fn a_file_that_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        for text in [
            "hello\n",
            "{\"line\":2,\"status\":\"SUCCESS\"}\n{\"line\":2,\"status\":\"SUCCESS\"}\n",
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(resume(&path).unwrap_err().exit(), Exit::DATA);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(create(&path).unwrap_err().exit(), Exit::CANNOT_CREATE);
    }
}
