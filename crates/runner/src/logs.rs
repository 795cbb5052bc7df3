//! What instances print: their stdout and stderr, into the server's log.
//!
//! User code may print what it likes, as fast as it likes, without newlines if it likes. So lines have a length, an
//! instance has a rate, and both bounds say what they cost. The newest lines are kept for the report of a crash.
//! Nothing here ever blocks the instance: what exceeds the rate is read and dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use cresset_task::{InstanceId, ModelName};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A longer line is cut: a log is for reading.
const LINE_MAX: usize = 4096;
/// Lines for each second of an instance, on average ...
const LINES_PER_SECOND: f64 = 200.0;
/// ... and at once, as an import or a traceback may well print.
const LINES_BURST: f64 = 2000.0;
/// Lines kept for the report of a crash.
const KEPT: usize = 50;
/// What one read takes.
const READ_CHUNK: usize = 16 * 1024;
/// How long to wait for the last lines of an instance that is gone: a process that it left behind may hold the pipe.
const LAST_LINES_WAIT: Duration = Duration::from_millis(500);
/// The same, while jobs wait to be run again.
const NEWEST_WAIT: Duration = Duration::from_millis(50);

/// Cuts a stream of bytes into lines of bounded length. A carriage return ends a line too: progress bars use it.
#[derive(Debug, Default)]
struct LineCutter {
    line: Vec<u8>,
    dropped: usize,
}

impl LineCutter {
    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            let (text, ended) = match piece {
                [text @ .., b'\n' | b'\r'] => (text, true),
                text => (text, false),
            };
            let room = LINE_MAX - self.line.len();
            let (kept, lost) = text.split_at(text.len().min(room));
            self.line.extend_from_slice(kept);
            self.dropped += lost.len();
            if ended {
                self.end(&mut each);
            }
        }
    }

    /// The line so far is the whole line.
    fn end(&mut self, mut each: impl FnMut(String)) {
        let mut text = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        if self.dropped > 0 {
            text.push_str(&format!(" [... {} more bytes]", self.dropped));
        }
        self.line.clear();
        self.dropped = 0;
        if !text.is_empty() {
            each(text);
        }
    }
}

/// A bucket of lines that fills with time.
#[derive(Debug)]
pub(crate) struct Rate {
    lines: f64,
    at: Instant,
}

impl Rate {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            lines: LINES_BURST,
            at: now,
        }
    }

    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.lines = (self.lines + passed * LINES_PER_SECOND).min(LINES_BURST);
        let yes = self.lines >= 1.0;
        if yes {
            self.lines -= 1.0;
        }
        yes
    }
}

/// Who prints.
#[derive(Clone, Debug)]
struct Source {
    model: ModelName,
    instance: InstanceId,
    stream: &'static str,
}

impl Source {
    fn log(&self, text: &str) {
        tracing::info!(target: "cresset::model", model = %self.model, instance = %self.instance, stream = self.stream, "{text}");
    }

    fn log_dropped(&self, lines: u64) {
        tracing::warn!(
            target: "cresset::model", model = %self.model, instance = %self.instance, stream = self.stream, lines,
            "the instance prints faster than {LINES_PER_SECOND} lines a second, lines were dropped"
        );
    }
}

type Kept = Arc<Mutex<VecDeque<String>>>;

/// The readers of one instance's output. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Logs {
    readers: JoinSet<()>,
    kept: Kept,
}

impl Logs {
    /// Starts reading.
    pub(crate) fn start(model: &ModelName, instance: InstanceId, stdout: Receiver, stderr: Receiver) -> Self {
        let kept = Kept::default();
        let mut readers = JoinSet::new();
        for (stream, pipe) in [("stdout", stdout), ("stderr", stderr)] {
            let source = Source {
                model: model.clone(),
                instance,
                stream,
            };
            readers.spawn(read(source, pipe, kept.clone()));
        }
        Self { readers, kept }
    }

    /// The newest lines, after a short wait for those that a dead instance has left in its pipes.
    pub(crate) async fn newest(&mut self) -> Vec<String> {
        let all = async { while self.readers.join_next().await.is_some() {} };
        if tokio::time::timeout(NEWEST_WAIT, all).await.is_err() {
            tracing::debug!("the output of an instance did not end with it");
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }

    /// Reads what is left after the instance's end, and gives the newest lines.
    pub(crate) async fn finish(&mut self) -> Vec<String> {
        let all = async { while self.readers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_LINES_WAIT, all).await.is_err() {
            tracing::debug!("a process left behind by an instance holds its output open");
            self.readers.abort_all();
        }
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect()
    }
}

async fn read(source: Source, mut pipe: Receiver, kept: Kept) {
    let mut cutter = LineCutter::default();
    let mut rate = Rate::new(Instant::now());
    let mut over_rate = 0_u64;
    let mut take = |line: String, now: Instant| {
        if rate.allows(now) {
            if over_rate > 0 {
                source.log_dropped(std::mem::take(&mut over_rate));
            }
            source.log(&line);
        } else {
            over_rate += 1;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    };
    let mut buffer = BytesMut::with_capacity(READ_CHUNK);
    loop {
        match pipe.read_buf(&mut buffer).await {
            Ok(0) => break,
            Ok(_) => {
                let now = Instant::now();
                cutter.push(&buffer, |line| take(line, now));
                buffer.clear();
            }
            Err(e) => {
                tracing::warn!(model = %source.model, instance = %source.instance, stream = source.stream, error = %e,
                    "reading the output of an instance failed");
                break;
            }
        }
    }
    cutter.end(|line| take(line, Instant::now()));
    if over_rate > 0 {
        source.log_dropped(over_rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut cutter, mut out) = (LineCutter::default(), Vec::new());
        chunks.iter().for_each(|c| cutter.push(c, |l| out.push(l)));
        cutter.end(|l| out.push(l));
        out
    }

    #[test]
    fn lines_are_cut_at_line_ends_wherever_the_reads_end() {
        assert_eq!(
            lines(&[b"one\ntw", b"o\r\n\n", b"three"]),
            ["one", "two", "three"]
        );
        assert_eq!(lines(&[b"10%\r20%\r", b"\xff!\n"]), ["10%", "20%", "\u{fffd}!"]);
    }

    #[test]
    fn a_flood_without_newlines_is_one_cut_line() {
        let chunk: &[u8] = &[b'x'; 10_000];
        let got = lines(&[chunk; 50]);
        assert_eq!(got.len(), 1);
        assert!(got[0].ends_with(&format!("x [... {} more bytes]", 500_000 - LINE_MAX)));
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_its_bound(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6000), 0..5)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            for line in lines(&chunks) {
                // A byte that is not UTF-8 becomes three.
                prop_assert!(line.len() <= 3 * LINE_MAX + 40);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_allows_a_burst_and_then_so_many_each_second() {
        let mut rate = Rate::new(Instant::now());
        let allowed = |rate: &mut Rate| (0..100_000).filter(|_| rate.allows(Instant::now())).count();
        assert_eq!(allowed(&mut rate), LINES_BURST as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(allowed(&mut rate), LINES_PER_SECOND as usize);
    }
}
