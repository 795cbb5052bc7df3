//! What an instance says of the batch that it runs, before it answers: how far its items have come, pieces of their results,
//! and lines about them. It is passed on as it comes; nothing is kept here.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::hand_over::off_thread;
use super::{Finish, Instance};
use crate::check;
use crate::port::{Chunk, LogLine, PROGRESS_EVERY, PoolEvent, Report};
use crate::wire::{self, Header, decode_chunks, decode_lines, decode_progress};

/// Reports that come sooner after one another are not passed on: an instance that keeps to what it was told is far slower, so
/// this is for one that does not.
const SOONEST: Duration = Duration::from_millis(PROGRESS_EVERY.as_millis() as u64 / 2);

impl Instance<'_> {
    /// A PROGRESS frame.
    pub(super) async fn on_progress(&mut self, header: &Header, body: &[u8]) -> Result<(), Finish> {
        let batch = self.flights.answered_by(header).map_err(Finish::protocol)?.batch;
        let reports = decode_progress(header, body)?;
        let now = Instant::now();
        if self.reported.is_some_and(|at| now < at + SOONEST) {
            return Ok(());
        }
        self.reported = Some(now);
        let instance = self.place.id;
        let reports = reports.into_iter().map(report).collect();
        self.shared
            .emit(PoolEvent::Progress {
                instance,
                batch,
                reports,
            })
            .await;
        Ok(())
    }

    /// A LOGS frame.
    pub(super) async fn on_logs(&mut self, header: &Header, body: &[u8]) -> Result<(), Finish> {
        let batch = self.flights.answered_by(header).map_err(Finish::protocol)?.batch;
        let mut lines = decode_lines(header, body)?;
        let (now, sent) = (Instant::now(), lines.len());
        lines.retain(|_| self.line_rate.allows(now));
        if lines.len() < sent {
            let (model, dropped) = (&self.shared.config.name, sent - lines.len());
            tracing::debug!(%model, instance = %self.place.id, dropped, "an instance sends more log lines than are read");
        }
        if lines.is_empty() {
            return Ok(());
        }
        let instance = self.place.id;
        let lines = lines
            .into_iter()
            .map(|wire::WireLine { items, level, text }| LogLine { items, level, text })
            .collect();
        self.shared
            .emit(PoolEvent::Logs {
                instance,
                batch,
                lines,
            })
            .await;
        Ok(())
    }

    /// A CHUNKS frame.
    pub(super) async fn on_chunks(&mut self, header: &Header, body: Bytes) -> Result<(), Finish> {
        if !self.shared.config.stream.enabled {
            return Err(Finish::protocol(
                "a CHUNKS frame from a model that gives its results whole",
            ));
        }
        let batch = self.flights.answered_by(header).map_err(Finish::protocol)?.batch;
        let head = *header;
        let read = move || -> Result<_, check::BrokenRules> {
            let chunks = decode_chunks(&head, &body)?;
            chunks.iter().try_for_each(|chunk| check::chunk(&chunk.text))?;
            Ok(chunks)
        };
        let chunks = off_thread(header.body_len.into(), read)
            .await
            .map_err(Finish::protocol)?;
        self.flights.count(&chunks).map_err(Finish::protocol)?;
        let instance = self.place.id;
        let chunks = chunks
            .into_iter()
            .map(|wire::WireChunk { item, text, .. }| Chunk { item, text })
            .collect();
        self.shared
            .emit(PoolEvent::Chunks {
                instance,
                batch,
                chunks,
            })
            .await;
        Ok(())
    }
}

fn report(report: wire::Report) -> Report {
    let wire::Report {
        items,
        fraction,
        message,
    } = report;
    Report {
        items,
        fraction,
        message,
    }
}
