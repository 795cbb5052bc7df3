//! How far a run is, for the person who waits: a bar where stderr is a terminal, a plain line now and then where not.

use std::fmt::Write;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::time::Instant;

use crate::out;

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// How often the bar is drawn, at most, each second.
const DRAWS_PER_SECOND: u8 = 10;

/// What a run has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Lines that an earlier run has done.
    pub(super) before: u64,
    /// Lines that gave a result, earlier ones included.
    pub(super) succeeded: u64,
    /// Lines that did not, earlier ones included.
    pub(super) failed: u64,
}

impl Counts {
    /// Lines that have their record.
    pub(super) fn done(self) -> u64 {
        self.succeeded + self.failed
    }
}

/// Shows the counts.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total: Arc<AtomicU64>,
    counting: Arc<AtomicBool>,
    known_total: Option<u64>,
    started: Instant,
    last_plain: Instant,
}

impl Progress {
    /// Starts to show, and to count the lines of `source` in the background if that is possible.
    pub(super) fn start(source: &Path) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
            bar.set_style(style("{spinner} {pos} done, {rate}, {msg}"));
            bar
        });
        let (total, counting) = (Arc::new(AtomicU64::new(UNKNOWN)), Arc::new(AtomicBool::new(true)));
        if source.is_file() {
            let (path, total, counting) = (source.to_owned(), Arc::clone(&total), Arc::clone(&counting));
            let counter = std::thread::Builder::new().name("cresset-count".to_owned());
            // Without a total there is only no ETA.
            let _ = counter.spawn(move || count_lines(&path, &counting, &total));
        }
        let now = Instant::now();
        Self {
            bar,
            total,
            counting,
            known_total: None,
            started: now,
            last_plain: now,
        }
    }

    /// Shows the counts, as often as is good to read.
    pub(super) fn show(&mut self, counts: Counts) {
        if self.known_total.is_none() {
            self.known_total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total != UNKNOWN);
            if let (Some(total), Some(bar)) = (self.known_total, &self.bar) {
                bar.set_length(total);
                bar.set_style(style("{wide_bar} {pos}/{len}, {rate}, {eta} left, {msg}"));
            }
        }
        if let Some(bar) = &self.bar {
            if bar.position() == 0 && counts.before > 0 {
                // The rate is of this run alone.
                bar.set_position(counts.before);
                bar.reset_eta();
            }
            bar.set_message(format!("{} failed", counts.failed));
            bar.set_position(counts.done());
        } else if self.last_plain.elapsed() >= PLAIN_EVERY {
            self.last_plain = Instant::now();
            out::note(&plain(counts, self.known_total, self.started.elapsed()));
        }
    }

    /// Says something without breaking the bar.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| out::note(text)),
            None => out::note(text),
        }
    }

    /// Takes the bar away and stops counting.
    pub(super) fn end(&self) {
        self.counting.store(false, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Since the start of this run.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The total before it is known.
const UNKNOWN: u64 = u64::MAX;

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates above are well formed")
        .with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            // A bar that cannot be written is not shown; the run goes on.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        })
}

/// Lines a second in this run.
pub(super) fn rate(counts: Counts, elapsed: Duration) -> f64 {
    (counts.done() - counts.before) as f64 / elapsed.as_secs_f64().max(0.001)
}

fn plain(counts: Counts, total: Option<u64>, elapsed: Duration) -> String {
    let rate = rate(counts, elapsed);
    let done = counts.done();
    let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
    let left = match total {
        Some(total) if rate > 0.0 && total > done => {
            format!(", about {:.0} s left", (total - done) as f64 / rate)
        }
        _ => String::new(),
    };
    format!("{done}{of} done, {rate:.1}/s{left}, {} failed", counts.failed)
}

/// Counts the lines that are not empty; gives up quietly, for the total is only an ornament.
fn count_lines(path: &PathBuf, counting: &AtomicBool, total: &AtomicU64) {
    let Ok(mut file) = std::fs::File::open(path) else {
        return;
    };
    let (mut lines, mut content, mut buffer) = (0_u64, false, vec![0; 1 << 20]);
    while counting.load(Ordering::Relaxed) {
        match file.read(&mut buffer) {
            Ok(0) => {
                total.store(lines + u64::from(content), Ordering::Relaxed);
                return;
            }
            Ok(bytes) => {
                for byte in &buffer[..bytes] {
                    match byte {
                        b'\n' => {
                            lines += u64::from(content);
                            content = false;
                        }
                        byte => content |= !byte.is_ascii_whitespace(),
                    }
                }
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_how_far_and_how_long() {
        let counts = Counts {
            before: 1000,
            succeeded: 1990,
            failed: 10,
        };
        assert_eq!(
            plain(counts, Some(5000), Duration::from_secs(10)),
            "2000 of 5000 done, 100.0/s, about 30 s left, 10 failed"
        );
        assert_eq!(
            plain(counts, None, Duration::from_secs(10)),
            "2000 done, 100.0/s, 10 failed"
        );
    }

    #[test]
    fn empty_lines_are_not_counted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1\n\n  \r\n2\n3").unwrap();
        let total = AtomicU64::new(UNKNOWN);
        count_lines(&file.path().to_owned(), &AtomicBool::new(true), &total);
        assert_eq!(total.into_inner(), 3);
    }

    #[test]
    fn the_templates_are_well_formed() {
        style("{spinner} {pos} done, {rate}, {msg}");
        style("{wide_bar} {pos}/{len}, {rate}, {eta} left, {msg}");
    }
}
