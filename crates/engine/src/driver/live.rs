//! What models say of the items that run, on its way to those who read along. Nobody is waited for: a reader who is slow
//! misses something, and is told so (see `live`).

use std::sync::Arc;

use cresset_batch::Entry;
use cresset_runner::{Chunk, LogLine, Report};
use cresset_task::{BatchId, Timestamp};

use super::Driver;
use crate::item::{Item, Origin};
use crate::live::{Feed, Line, Progress, Voice};
use crate::shared::Shared;

impl Driver {
    /// Items of this batch have come so far. Of a batch that has ended nothing is heard.
    pub(super) fn on_progress(&mut self, batch: BatchId, reports: Vec<Report>) {
        let Some(flight) = self.flights.get_mut(&batch) else {
            return;
        };
        let at = Timestamp::now();
        for report in reports {
            let progress = Progress {
                fraction: report.fraction,
                message: report.message.map(Arc::from),
                at,
            };
            let say = |item: &mut Item| {
                if let Some(feed) = feed(&self.shared, item, self.served.config.stream.replay_bytes) {
                    feed.say(progress.clone());
                }
            };
            each(&mut flight.entries, report.items.as_deref(), say);
        }
        self.served.progress.moved();
    }

    /// Lines about items of this batch: they go with their tasks. A prediction's caller reads none.
    pub(super) fn on_lines(&mut self, batch: BatchId, lines: Vec<LogLine>) {
        let Some(flight) = self.flights.get_mut(&batch) else {
            return;
        };
        self.served.progress.moved();
        if !flight.entries.iter().any(|entry| is_task(&entry.item)) {
            return;
        }
        let (limit, at) = (self.served.config.stream.replay_bytes, Timestamp::now());
        let mut has_room = true;
        for LogLine { items, level, text } in lines {
            let text: Arc<str> = text.into();
            let write = |item: &mut Item| {
                let attempt = item.attempt();
                if is_task(item)
                    && let Some(feed) = feed(&self.shared, item, limit)
                {
                    let text = Arc::clone(&text);
                    has_room &= feed.write(Line {
                        level,
                        text,
                        at,
                        attempt,
                    });
                }
            };
            each(&mut flight.entries, items.as_deref(), write);
        }
        if !has_room {
            self.shared.feeds.squeeze();
        }
    }

    /// Pieces of the results of this batch.
    pub(super) fn on_chunks(&mut self, batch: BatchId, chunks: Vec<Chunk>) {
        let Some(flight) = self.flights.get_mut(&batch) else {
            return;
        };
        let limit = self.served.config.stream.replay_bytes;
        let mut has_room = true;
        for Chunk { item, text } in chunks {
            let Some(entry) = flight.entries.get_mut(item as usize) else {
                continue;
            };
            match feed(&self.shared, &mut entry.item, limit) {
                Some(feed) => has_room &= feed.push(text),
                None => entry.item.unheard += 1,
            }
        }
        if !has_room {
            self.shared.feeds.squeeze();
        }
        self.served.progress.moved();
    }
}

fn is_task(item: &Item) -> bool {
    matches!(item.origin, Origin::Queue(_))
}

/// The items of a batch that something is said of; `None` is all of them.
fn each(entries: &mut [Entry<Item>], items: Option<&[u32]>, mut say: impl FnMut(&mut Item)) {
    match items {
        None => entries.iter_mut().for_each(|entry| say(&mut entry.item)),
        Some(items) => {
            for at in items {
                if let Some(entry) = entries.get_mut(*at as usize) {
                    say(&mut entry.item);
                }
            }
        }
    }
}

/// Where an item says what it says; `None` when nobody reads along, or wants it any more.
fn feed<'a>(shared: &Arc<Shared>, item: &'a mut Item, limit: usize) -> Option<&'a Feed> {
    if item.unwanted {
        return None;
    }
    if let (None, Origin::Queue(task)) = (&item.voice, &item.origin) {
        let voice = Voice::of_task(shared, task.id, item.attempt(), limit, item.unheard);
        item.voice = Some(Box::new(voice));
    }
    item.voice.as_deref().map(|voice| &*voice.feed)
}
