//! The loop of a run: admits lines while there is room, collects what workers bring, hands records on in order,
//! and stops in order when told to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::journal::{Entry, Journal};
use super::lines::Lines;
use super::output::{Output, Written};
use super::patience::Patience;
use super::progress::{Counts, Progress};
use super::signals::Signals;
use super::store::Store;
use super::window::Window;
use super::words::Words;
use super::worker::{End, Worker};
use crate::exit::{Exit, Trouble};
use crate::out;

/// How far other lines may run ahead of one that takes long, in multiples of what is in flight: records that wait for
/// it are held in memory.
const AHEAD: u64 = 16;
/// Bytes of inputs and records held at most (one line is always admitted).
const HELD_BYTES_MAX: usize = 256 << 20;
/// How long submits that are under way are waited for when the run is stopped.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Between two looks at the progress.
const TICK: Duration = Duration::from_millis(200);

/// Why the loop ended before the last line.
pub(super) enum Cut {
    /// A signal.
    Signal(Exit),
    /// Something that no line survives.
    Fatal(Trouble),
    /// The output has failed; it says why when it is finished.
    Output,
}

/// What a worker brings back.
type Brought = (u64, usize, End);

struct Driver {
    worker: Arc<Worker>,
    known: HashMap<u64, Entry>,
    in_flight: usize,
    workers: JoinSet<Brought>,
    window: Window<(Vec<u8>, bool)>,
    /// In order, to be handed to the output.
    ready: Vec<u8>,
    held_bytes: usize,
    counts: Counts,
    waiting: u64,
    cut: Option<Cut>,
}

/// Runs `options` to the end, or to where it can be gone on with.
pub(super) async fn drive(options: Options) -> Result<Exit, Trouble> {
    let mut lines = Lines::open(&options.source).await.map_err(|error| {
        Trouble::file("read", &options.source, &error).hint("check the path; `-` reads from stdin")
    })?;
    let mut signals = Signals::new()?;
    let store = Store::open(&options)?;
    let output = Output::start(store.target)?;
    let mut progress = Progress::start(&options.source);
    let (written, words) = (store.written, Words::new(&options));
    let mut driver = Driver::new(options, store.journal, store.known, written);
    driver
        .run(
            &mut lines,
            &output,
            &mut signals,
            &mut progress,
            written.last_line,
        )
        .await;
    let at_once = match driver.cut {
        Some(_) => driver.drain(&output, &mut signals, &progress).await,
        None => None,
    };
    let too_soon = |exit| {
        Err(Trouble::new(
            exit,
            "stopped at once, before all results were written",
        ))
    };
    let finished = match at_once {
        Some(exit) => too_soon(exit),
        None => tokio::select! {
            finished = output.finish() => finished,
            exit = signals.next() => too_soon(exit),
        },
    };
    progress.end();
    let Driver {
        worker,
        counts,
        waiting,
        cut,
        ..
    } = driver;
    let Some(worker) = Arc::into_inner(worker) else {
        return Err(Trouble::new(Exit::SOFTWARE, "a worker outlived its run"));
    };
    let journal = worker.journal;
    if let Err(trouble) = finished {
        journal.keep()?;
        return Err(trouble);
    }
    match cut {
        None => {
            journal.complete()?;
            out::note(&words.summary(counts, progress.elapsed()));
            Ok(if counts.failed == 0 {
                Exit::OK
            } else {
                Exit::TASK_FAILED
            })
        }
        Some(Cut::Fatal(trouble)) if journal.is_untouched() && counts.done() == 0 => {
            // Nothing has happened: leave nothing that is in the way of the next try.
            journal.complete()?;
            store.made.map_or(Ok(()), |path| {
                std::fs::remove_file(&path).map_err(|error| Trouble::file("remove", &path, &error))
            })?;
            Err(trouble)
        }
        Some(cut) => {
            journal.keep()?;
            Err(words.stopped(cut, counts, waiting))
        }
    }
}

impl Driver {
    fn new(options: Options, journal: Journal, known: HashMap<u64, Entry>, written: Written) -> Self {
        let Written {
            succeeded, failed, ..
        } = written;
        Self {
            worker: Arc::new(Worker {
                client: options.client,
                model: options.model,
                priority: options.priority,
                metadata: options.metadata,
                retry: options.retry,
                journal,
                patience: Patience::new(options.give_up_after, Instant::now()),
                stop: CancellationToken::new(),
            }),
            known,
            in_flight: options.in_flight,
            workers: JoinSet::new(),
            window: Window::new(),
            ready: Vec::new(),
            held_bytes: 0,
            counts: Counts {
                before: succeeded + failed,
                succeeded,
                failed,
            },
            waiting: 0,
            cut: None,
        }
    }

    /// Until the last record is handed to the output, or a cut.
    async fn run(
        &mut self,
        lines: &mut Lines,
        output: &Output,
        signals: &mut Signals,
        progress: &mut Progress,
        last_written: u64,
    ) {
        let mut ended = false;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while self.cut.is_none() && !(ended && self.workers.is_empty() && self.ready.is_empty()) {
            // Every branch is cancel-safe: `Lines` keeps what it has read, `JoinSet` and the channel theirs.
            tokio::select! {
                room = output.room(), if !self.ready.is_empty() => self.hand_over(room),
                Some(joined) = self.workers.join_next(), if !self.workers.is_empty() => self.collect(joined),
                line = lines.next(), if !ended && self.has_room() => match line {
                    Ok(Some(line)) if line.number <= last_written => {}
                    Ok(Some(line)) => self.admit(line),
                    Ok(None) => ended = true,
                    Err(error) => self.cut = Some(Cut::Fatal(
                        Trouble::new(Exit::IO, format!("cannot read the input: {error}")),
                    )),
                },
                exit = signals.next() => self.cut = Some(Cut::Signal(exit)),
                _ = tick.tick() => progress.show(self.counts),
            }
        }
    }

    fn hand_over(&mut self, room: Result<mpsc::Permit<'_, Vec<u8>>, ()>) {
        match room {
            Ok(room) => {
                self.held_bytes -= self.ready.len();
                room.send(std::mem::take(&mut self.ready));
            }
            Err(()) => self.cut = Some(Cut::Output),
        }
    }

    fn has_room(&self) -> bool {
        self.workers.len() < self.in_flight
            && self.window.open() < (self.in_flight as u64).saturating_mul(AHEAD)
            && (self.held_bytes < HELD_BYTES_MAX || self.window.open() == 0)
    }

    fn admit(&mut self, line: super::lines::Line) {
        let sequence = self.window.admit();
        let bytes = line.text.as_ref().map_or(0, |text| text.len());
        self.held_bytes += bytes;
        let known = self.known.remove(&line.number);
        let worker = Arc::clone(&self.worker);
        self.workers
            .spawn(async move { (sequence, bytes, worker.run(line, known).await) });
    }

    fn collect(&mut self, joined: Result<Brought, tokio::task::JoinError>) {
        let (sequence, bytes, end) = match joined {
            Ok(brought) => brought,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                return self.fatal(Trouble::new(Exit::SOFTWARE, format!("a worker broke: {error}")));
            }
        };
        self.held_bytes -= bytes;
        match end {
            End::Done(record) => match record.render() {
                Ok(text) => {
                    self.held_bytes += text.len();
                    for (text, success) in self.window.put(sequence, (text, record.is_success())) {
                        self.ready.extend_from_slice(&text);
                        *(if success {
                            &mut self.counts.succeeded
                        } else {
                            &mut self.counts.failed
                        }) += 1;
                    }
                }
                Err(error) => self.fatal(Trouble::new(
                    Exit::SOFTWARE,
                    format!("cannot write a record: {error}"),
                )),
            },
            End::LeftWaiting => self.waiting += 1,
            End::NotSubmitted => {}
            End::Fatal(trouble) => self.fatal(trouble),
        }
    }

    /// The first one counts; the others are its echo.
    fn fatal(&mut self, trouble: Trouble) {
        if !matches!(self.cut, Some(Cut::Fatal(_))) {
            self.cut = Some(Cut::Fatal(trouble));
        }
    }

    /// Tells the workers to stop, waits for them, and hands over what came into order meanwhile. Too long a time ends
    /// the waiting; so does a further signal, which is given back: then nothing else is to be waited for either.
    async fn drain(&mut self, output: &Output, signals: &mut Signals, progress: &Progress) -> Option<Exit> {
        self.worker.stop.cancel();
        if matches!(self.cut, Some(Cut::Signal(_))) {
            progress.say("stopping; once more to stop at once");
        }
        let deadline = Instant::now() + STOP_GRACE;
        let mut at_once = None;
        while !self.workers.is_empty() || (!self.ready.is_empty() && !matches!(self.cut, Some(Cut::Output))) {
            tokio::select! {
                room = output.room(), if !self.ready.is_empty() => self.hand_over(room),
                Some(joined) = self.workers.join_next() => self.collect(joined),
                exit = signals.next() => {
                    at_once = Some(exit);
                    break;
                }
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        self.workers.shutdown().await;
        at_once
    }
}
