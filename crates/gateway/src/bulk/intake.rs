//! The lines of a batch on their way in: read as they come, understood, accepted group by group.
//!
//! What has come is accepted before more is waited for, so a slow sender's lines do not lie here; and no more is read than has
//! been accepted, so a full queue is felt by the sender.

use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use cresset_config::ModelConfig;
use cresset_engine::{BULK_LINES_MAX, Bulk, BulkLine, EngineError};
use cresset_task::CacheUse;
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::order::{self, Form};
use crate::problem::Problem;
use crate::promise;
use crate::upload::{LineText, Lines};

/// A group is accepted when its lines have this many bytes: as much as a piece of a body, so that what waits here is little.
const GROUP_BYTES: usize = 1 << 20;
/// How long there may be no room for a single line before the sender is told so: longer than a full queue of quick tasks takes.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(600);
/// How soon it is looked whether there is room again, and at the latest, each time twice as late: what a quick model needs for some
/// tasks, and what the sender of many does not notice.
const ROOM_LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// What is noted of a line that is wrong is cut to this: its results are read with all the others.
const WRONG_MAX: usize = 2_000;

/// What is true of all lines.
pub(super) struct Terms<'a> {
    pub(super) config: Arc<ModelConfig>,
    pub(super) cache: CacheUse,
    pub(super) parts: &'a Parts,
}

/// A batch that takes lines.
struct Intake<'a> {
    app: &'a App,
    bulk: Bulk,
    terms: Terms<'a>,
    /// The number of the first line of the group.
    first: u64,
    group: Vec<LineText>,
    bytes: usize,
}

/// Reads all lines; the batch has all of them when this is well.
pub(super) async fn take(app: &App, mut lines: Lines, bulk: Bulk, terms: Terms<'_>) -> Result<(), Problem> {
    let (accepted, mut read) = (bulk.accepted, 0_u64);
    let mut intake = Intake {
        app,
        first: accepted,
        bulk,
        terms,
        group: Vec::new(),
        bytes: 0,
    };
    loop {
        while let Some(line) = lines.next() {
            if read >= accepted {
                intake.add(line).await?;
            }
            read += 1;
        }
        intake.accept().await?;
        if !lines.more().await? {
            break;
        }
    }
    if let Some(line) = lines.last() {
        if read >= accepted {
            intake.add(line).await?;
        }
        read += 1;
    }
    intake.accept().await?;
    Ok(app.engine.bulk_seal(intake.bulk.id, read).await?)
}

impl Intake<'_> {
    async fn add(&mut self, line: LineText) -> Result<(), Problem> {
        if let LineText::Whole(text) = &line {
            self.bytes += text.len();
        }
        self.group.push(line);
        if self.group.len() >= BULK_LINES_MAX || self.bytes >= GROUP_BYTES {
            self.accept().await?;
        }
        Ok(())
    }

    /// Has the group accepted, waiting for room where there is none.
    async fn accept(&mut self) -> Result<(), Problem> {
        let mut group = self.understood().await?;
        let (soonest, latest) = ROOM_LOOKS;
        let (mut since, mut look) = (Instant::now(), soonest);
        while !group.is_empty() {
            match self
                .app
                .engine
                .bulk_add(&self.bulk, self.first, group.clone())
                .await
            {
                Ok(count) => {
                    group.drain(..count);
                    self.first += count as u64;
                    (since, look) = (Instant::now(), soonest);
                }
                Err(error) if passes(&error) && since.elapsed() < ROOM_WAIT_MAX => {
                    // Nothing is lost by dropping either: what waits here is not accepted.
                    tokio::select! {
                        () = sleep(look) => look = latest.min(look * 2),
                        () = self.app.stop.cancelled() => return Err(EngineError::ShuttingDown.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The group as it is submitted, and an empty one in its place.
    async fn understood(&mut self) -> Result<Vec<BulkLine>, Problem> {
        let (group, bytes) = (std::mem::take(&mut self.group), std::mem::take(&mut self.bytes));
        let (config, limit) = (Arc::clone(&self.terms.config), self.app.options.max_body_bytes);
        let orders = move || -> Vec<_> {
            let order = |line| match line {
                LineText::Whole(text) => order::parse(&text, &config, Form::Submit).map_err(|p| p.in_short()),
                LineText::TooLong(bytes) => Err(format!(
                    "a line may have at most {limit} bytes (`limits.max_body_bytes`); this one has {bytes}"
                )),
            };
            group.into_iter().map(order).collect()
        };
        let orders = self.app.codec(bytes, orders).await?;
        let Terms { config, cache, parts } = &self.terms;
        let line = |order: Result<order::Order, String>| match order {
            Ok(order) => Ok(Box::new(promise::submission(
                config.name.clone(),
                order,
                *cache,
                None,
                parts,
            ))),
            Err(wrong) => Err(short(wrong)),
        };
        Ok(orders.into_iter().map(line).collect())
    }
}

/// Whether there may be room later.
fn passes(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::QueueFull { .. }
            | EngineError::ServerFull { .. }
            | EngineError::ClientLimit { .. }
            | EngineError::OutboxFull { .. }
            | EngineError::ModelUnavailable { .. }
    )
}

fn short(mut wrong: String) -> String {
    if wrong.len() > WRONG_MAX {
        wrong.truncate(wrong.floor_char_boundary(WRONG_MAX));
        wrong.push_str("...");
    }
    wrong
}
