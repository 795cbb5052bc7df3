//! The outbox in memory, by the order of what happened.

use std::collections::{BTreeMap, BTreeSet};

use cresset_task::{Callback, Event, EventId, ModelName, TaskId, Timestamp};
use tokio::sync::watch;

use crate::{
    DELIVERIES_MAX, Delivery, DeliveryCursor, DeliveryPage, DeliveryQuery, DeliveryState, Finished,
    HOSTS_LOOK_MAX, OutboxLoad, OutboxRequest, Redelivered, Sending, Sendings, Told, Tried, cut_note,
};

const DISABLED: &str = "the address answered 410 Gone before, and is disabled";

#[derive(Debug)]
struct Entry {
    delivery: Delivery,
    since: Timestamp,
    fence: u32,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    last: u64,
    all: BTreeMap<u64, Entry>,
    gone: BTreeMap<String, Timestamp>,
    load: watch::Sender<OutboxLoad>,
}

impl Outbox {
    /// An event of a task, for its callback.
    pub(super) fn tell(&mut self, id: EventId, model: &ModelName, callback: &Callback, at: Timestamp) {
        if !callback.events.has(id.event) || self.find(id).is_some() {
            return;
        }
        let waits = |entry: &Entry| entry.delivery.state == DeliveryState::Waiting;
        self.all
            .retain(|_, entry| entry.delivery.id.task != id.task || !waits(entry));
        let is_gone = self.gone.contains_key(callback.url.as_str());
        self.last += 1;
        let delivery = Delivery {
            id,
            model: model.clone(),
            url: callback.url.clone(),
            at,
            state: if is_gone {
                DeliveryState::Disabled
            } else {
                DeliveryState::Waiting
            },
            tries: 0,
            due_at: (!is_gone).then_some(at),
            settled_at: is_gone.then_some(at),
            status: None,
            note: is_gone.then(|| DISABLED.to_owned()),
        };
        let entry = Entry {
            delivery,
            since: at,
            fence: 0,
        };
        self.all.insert(self.last, entry);
        self.count();
    }

    fn count(&mut self) {
        let open = || {
            self.all
                .values()
                .map(|entry| &entry.delivery)
                .filter(|d| d.state.is_open())
        };
        let load = OutboxLoad {
            open: open().count() as u64,
            next_due: open().filter_map(|delivery| delivery.due_at).min(),
            oldest: open().map(|delivery| delivery.at).min(),
        };
        self.load.send_replace(load);
    }

    pub(super) fn load(&self) -> watch::Receiver<OutboxLoad> {
        self.load.subscribe()
    }

    pub(super) fn of(&self, host: &str) -> u64 {
        let all = self.all.values().map(|entry| &entry.delivery);
        all.filter(|d| d.state.is_open() && d.url.host() == host).count() as u64
    }

    fn find(&self, id: EventId) -> Option<u64> {
        let mut all = self.all.iter();
        all.find(|(_, entry)| entry.delivery.id == id)
            .map(|(seq, _)| *seq)
    }

    fn is_sending(&self, task: TaskId) -> bool {
        let mut all = self.all.values().map(|entry| &entry.delivery);
        all.any(|d| d.id.task == task && d.state == DeliveryState::Sending)
    }

    pub(super) fn lease(&mut self, request: &OutboxRequest) -> Sendings {
        let waiting = self.all.values().filter(|entry| entry.delivery.due_at.is_some());
        let hosts: BTreeSet<String> = waiting
            .map(|entry| entry.delivery.url.host().to_owned())
            .filter(|host| request.after.as_ref().is_none_or(|after| host > after))
            .collect();
        let mut answer = Sendings::default();
        let mut last = request.after.clone().unwrap_or_default();
        for (looked, host) in hosts.into_iter().enumerate() {
            if looked == HOSTS_LOOK_MAX || answer.sendings.len() >= request.max {
                answer.next = Some(last);
                break;
            }
            let room = request.rooms.get(&host).copied().unwrap_or(request.per_host);
            let mut due: Vec<_> = (self.all.iter())
                .filter(|(_, entry)| entry.delivery.url.host() == host)
                .filter_map(|(seq, entry)| Some((entry.delivery.due_at?, *seq)))
                .filter(|(due, _)| *due <= request.now)
                .collect();
            due.sort_unstable();
            let mut room = room.min(request.max - answer.sendings.len());
            for (_, seq) in due {
                if room == 0 {
                    break;
                }
                if let Some(sending) = self.send(seq) {
                    answer.sendings.push(sending);
                    room -= 1;
                }
            }
            last = host;
        }
        self.count();
        answer
    }

    /// `None` when something else of its task is being sent.
    fn send(&mut self, seq: u64) -> Option<Sending> {
        if self.is_sending(self.all.get(&seq)?.delivery.id.task) {
            return None;
        }
        let entry = self.all.get_mut(&seq)?;
        entry.fence += 1;
        let delivery = &mut entry.delivery;
        delivery.state = DeliveryState::Sending;
        delivery.due_at = None;
        delivery.tries += 1;
        Some(Sending {
            id: delivery.id,
            model: delivery.model.clone(),
            url: delivery.url.clone(),
            at: delivery.at,
            since: entry.since,
            tries: delivery.tries,
            fence: entry.fence,
        })
    }

    pub(super) fn settle(&mut self, tried: Tried) -> Finished {
        let is_held = |entry: &Entry| {
            entry.delivery.id == tried.id
                && entry.delivery.state == DeliveryState::Sending
                && entry.fence == tried.fence
        };
        let Some(seq) = self
            .all
            .iter()
            .find(|(_, entry)| is_held(entry))
            .map(|(seq, _)| *seq)
        else {
            return Finished::Stale;
        };
        let mut later = self.all.range(seq + 1..);
        let has_later = later.any(|(_, entry)| entry.delivery.id.task == tried.id.task);
        if has_later && matches!(tried.told, Told::Again(_)) {
            self.all.remove(&seq);
        }
        let mut gone = None;
        if let Some(Entry { delivery, .. }) = self.all.get_mut(&seq) {
            delivery.status = tried.status;
            delivery.note = tried.note.map(cut_note);
            delivery.settled_at = Some(tried.at);
            delivery.state = match tried.told {
                Told::Delivered => DeliveryState::Delivered,
                Told::Failed => DeliveryState::Failed,
                Told::Disabled => {
                    gone = Some(delivery.url.as_str().to_owned());
                    DeliveryState::Disabled
                }
                Told::Again(due) => {
                    delivery.due_at = Some(due);
                    delivery.settled_at = None;
                    DeliveryState::Waiting
                }
            };
        }
        if let Some(url) = gone {
            self.disable(&url, tried.at);
        }
        self.count();
        Finished::Recorded
    }

    fn disable(&mut self, url: &str, at: Timestamp) {
        self.gone.insert(url.to_owned(), at);
        let waiting = self.all.values_mut().map(|entry| &mut entry.delivery);
        for delivery in waiting.filter(|d| d.due_at.is_some() && d.url.as_str() == url) {
            delivery.state = DeliveryState::Disabled;
            delivery.due_at = None;
            delivery.settled_at = Some(at);
            delivery.note = Some(DISABLED.to_owned());
        }
    }

    pub(super) fn redeliver(&mut self, id: EventId, now: Timestamp) -> Redelivered {
        let found = self.find(id).and_then(|seq| self.all.get_mut(&seq));
        let Some(Entry { delivery, since, .. }) = found else {
            return Redelivered::Unknown;
        };
        if delivery.state == DeliveryState::Sending {
            return Redelivered::UnderWay;
        }
        delivery.state = DeliveryState::Waiting;
        delivery.tries = 0;
        delivery.due_at = Some(now);
        delivery.settled_at = None;
        *since = now;
        self.gone.remove(delivery.url.as_str());
        self.count();
        Redelivered::Queued
    }

    pub(super) fn list(&self, query: &DeliveryQuery) -> DeliveryPage {
        let limit = query.limit.clamp(1, DELIVERIES_MAX);
        let before = query.after.map_or(u64::MAX, |DeliveryCursor(place)| place);
        let matches = |d: &Delivery| {
            query.state.is_none_or(|state| d.state == state)
                && query.task.is_none_or(|task| d.id.task == task)
                && query.host.as_ref().is_none_or(|host| d.url.host() == host)
        };
        let mut found = (self.all.range(..before).rev()).filter(|(_, entry)| matches(&entry.delivery));
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let next = page.last().map(|(seq, _)| DeliveryCursor(**seq));
        DeliveryPage {
            deliveries: page
                .into_iter()
                .map(|(_, entry)| entry.delivery.clone())
                .collect(),
            next: next.filter(|_| found.next().is_some()),
        }
    }

    pub(super) fn purge(&mut self, limit: usize, is_old: impl Fn(&Timestamp) -> bool) -> usize {
        let settled: Vec<u64> = (self.all.iter())
            .filter(|(_, entry)| entry.delivery.settled_at.as_ref().is_some_and(&is_old))
            .take(limit)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in &settled {
            self.all.remove(seq);
        }
        let gone: Vec<String> = (self.gone.iter())
            .filter(|(_, at)| is_old(at))
            .take(limit - settled.len())
            .map(|(url, _)| url.clone())
            .collect();
        for url in &gone {
            self.gone.remove(url);
        }
        settled.len() + gone.len()
    }

    /// The process that held all leases has ended.
    pub(super) fn reopen(&mut self, now: Timestamp) {
        let all = self.all.values_mut().map(|entry| &mut entry.delivery);
        for delivery in all.filter(|d| d.state == DeliveryState::Sending) {
            delivery.state = DeliveryState::Waiting;
            delivery.due_at = Some(now);
        }
        self.count();
    }
}

impl super::tables::Tables {
    /// An event of this task.
    pub(super) fn tell(&mut self, seq: u64, event: Event, attempt: u32, at: Timestamp) {
        let Some(task) = self.tasks.get(&seq) else {
            return;
        };
        if let Some(callback) = &task.callback {
            let id = EventId {
                task: task.record.id,
                event,
                attempt,
            };
            self.outbox.tell(id, &task.record.model, callback, at);
        }
    }
}
