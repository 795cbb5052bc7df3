//! Submit and wait: a task is posted, then asked for on the same connection until it has ended.
//!
//! Against a server that waits itself (`?wait=`) one question is enough; against one that does not, `--poll-ms` is the
//! pause between two.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::Failure;
use crate::client::Client;
use crate::closed::AFTER_ERROR;
use crate::options::SubmitWait;
use crate::run::{Loads, Start, lock, share};
use crate::tally::{Kind, Tally, micros};

/// How the server in front of us speaks of tasks.
#[derive(Debug)]
struct Dialect {
    /// The key with its quotes.
    id_key: Vec<u8>,
    before_id: Vec<u8>,
    after_id: Vec<u8>,
    done: Vec<u8>,
    failed: Vec<Vec<u8>>,
    poll: Duration,
}

/// A task's end.
struct End {
    kind: Kind,
    status: u16,
    submitted: Instant,
}

/// Connections for each thread.
pub(crate) fn start(options: &SubmitWait, start: Start) -> Result<Loads, Failure> {
    let (before, after) = options
        .result_path
        .split_once("{id}")
        .ok_or("--result-path must say where the {id} stands")?;
    let dialect = Arc::new(Dialect {
        id_key: format!("\"{}\"", options.id_key).into_bytes(),
        before_id: before.into(),
        after_id: after.into(),
        done: options.done.clone().into_bytes(),
        failed: options
            .failed
            .iter()
            .map(|text| text.clone().into_bytes())
            .collect(),
        poll: Duration::from_millis(options.poll_ms),
    });
    let common = &options.common;
    let start = Arc::new(start);
    let mut loads = Loads::default();
    for index in 0..common.threads {
        let (start, dialect) = (Arc::clone(&start), Arc::clone(&dialect));
        let connections = share(common.connections, common.threads, index);
        loads.loads.push(Box::new(move |set, tally| {
            for number in 0..connections {
                set.spawn(connection(
                    Arc::clone(&start),
                    Arc::clone(&dialect),
                    number,
                    Arc::clone(tally),
                ));
            }
            Ok(())
        }));
    }
    Ok(loads)
}

/// One caller. Tasks whose end is known within the window count.
async fn connection(start: Arc<Start>, dialect: Arc<Dialect>, number: usize, tally: Arc<Mutex<Tally>>) {
    let mut client = Client::new(start.target.address);
    let mut question = Vec::new();
    let requests = start.requests.iter().cycle().skip(number % start.requests.len());
    tokio::time::sleep_until(start.first.into()).await;
    for request in requests {
        let began = Instant::now();
        match task(&mut client, request, &mut question, &start, &dialect, &tally).await {
            Ok(end) => {
                let now = Instant::now();
                if start.window.holds(now) {
                    let mut tally = lock(&tally);
                    tally.answered(end.kind, end.status, now - began, now);
                    if end.kind == Kind::Ok {
                        tally.submit.saturating_record(micros(end.submitted - began));
                    }
                }
            }
            Err(error) => {
                if start.window.holds(Instant::now()) {
                    lock(&tally).failed(&error);
                }
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// One task's life.
async fn task(
    client: &mut Client,
    request: &[u8],
    question: &mut Vec<u8>,
    start: &Start,
    dialect: &Dialect,
    tally: &Mutex<Tally>,
) -> io::Result<End> {
    let answer = client.exchange(request).await?;
    let (status, submitted) = (answer.status, Instant::now());
    let kind = Kind::of(status);
    if kind != Kind::Ok {
        if kind == Kind::Error {
            lock(tally).show(status, answer.body);
        }
        return Ok(End {
            kind,
            status,
            submitted,
        });
    }
    let id = id(answer.body, &dialect.id_key)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer to a submit has no id"))?;
    start
        .target
        .get(question, [&dialect.before_id, id, &dialect.after_id]);
    loop {
        if !dialect.poll.is_zero() {
            tokio::time::sleep(dialect.poll).await;
        }
        let answer = client.exchange(question).await?;
        let (status, body) = (answer.status, answer.body);
        let holds = |text: &[u8]| memmem::find(body, text).is_some();
        if holds(&dialect.done) {
            return Ok(End {
                kind: Kind::Ok,
                status,
                submitted,
            });
        }
        if Kind::of(status) != Kind::Ok || dialect.failed.iter().any(|text| holds(text)) {
            lock(tally).show(status, body);
            return Ok(End {
                kind: Kind::Error,
                status,
                submitted,
            });
        }
    }
}

/// The value of a key, text or number. It is looked for, not parsed: the first one is the one.
fn id<'a>(body: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = &body[memmem::find(body, key)? + key.len()..];
    let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b',' | b'}' | b' '))?;
    (end > 0).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_as_text_and_as_number() {
        assert_eq!(
            id(br#"{"task_id":"a-1","x":1}"#, b"\"task_id\""),
            Some(&b"a-1"[..])
        );
        assert_eq!(
            id(br#"{"x": 1, "task_id" : 17}"#, b"\"task_id\""),
            Some(&b"17"[..])
        );
        assert_eq!(id(br#"{"task_id": ""}"#, b"\"task_id\""), None);
        assert_eq!(id(b"{}", b"\"task_id\""), None);
    }
}
