//! A task's times are kept: not before it is due, not after it expires, and no longer than its deadline.

use std::time::Duration;

use cresset_task::{Outcome, State, TaskRecord, Timestamp};

use super::{Found, SLACK, Scene};
use crate::history::Serial;

/// What the wall clock has shown since a task's times were set.
#[derive(Debug, Default)]
pub(super) struct Times {
    due_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    deadline_at: Option<Timestamp>,
    /// The latest instant shown since it has to wait for one.
    latest: i64,
    /// The latest since it is there.
    shown: i64,
    /// Since when it has been past its time without a break: in the queue, and wherever it is.
    expired: Option<Duration>,
    overdue: Option<Duration>,
    /// Since when it has been in the queue, or held.
    since: Duration,
    is_queued: bool,
    /// Since when it could be leased.
    pub(super) ready: Option<Duration>,
}

fn past(at: Option<Timestamp>, scene: &Scene, since: &mut Option<Duration>) {
    match at {
        Some(at) if at <= scene.wall.0 => {
            since.get_or_insert(scene.at);
        }
        _ => *since = None,
    }
}

impl Times {
    pub(super) fn of(scene: &Scene, record: &TaskRecord) -> Self {
        let mut times = Self {
            expires_at: record.expires_at,
            deadline_at: record.deadline_at,
            shown: scene.shown().as_micros(),
            ..Self::default()
        };
        times.moves(scene, record);
        times.see(scene);
        times
    }

    /// The clocks show this now.
    pub(super) fn see(&mut self, scene: &Scene) {
        self.latest = self.latest.max(scene.wall.0.as_micros());
        self.shown = self.shown.max(scene.wall.0.as_micros());
        past(self.expires_at, scene, &mut self.expired);
        past(self.deadline_at, scene, &mut self.overdue);
        let is_due = self.due_at.is_none_or(|due| due <= scene.wall.0);
        if self.is_queued && is_due && self.expired.is_none() {
            self.ready.get_or_insert(scene.at);
        } else {
            self.ready = None;
        }
    }

    /// The record is so now.
    pub(super) fn moves(&mut self, scene: &Scene, record: &TaskRecord) {
        let is_queued = matches!(record.state, State::Pending | State::Retry);
        if self.due_at != record.due_at {
            self.latest = scene.shown().as_micros();
        }
        self.due_at = record.due_at;
        if is_queued != self.is_queued {
            self.since = scene.at;
            self.ready = None;
        }
        self.is_queued = is_queued;
    }

    /// It is leased.
    pub(super) fn starts(&self, scene: &Scene, serial: Serial, was: &TaskRecord, found: &mut Found) {
        let is_due = was.due_at.is_none_or(|due| due.as_micros() <= self.latest);
        found.unless(is_due, || format!("task {serial} starts before it is due"));
        let expired = self.expired.is_some_and(|since| since + SLACK < scene.at);
        found.unless(!expired, || format!("task {serial} starts after it has expired"));
    }

    /// It is given to an instance.
    pub(super) fn runs(&self, scene: &Scene, serial: Serial, found: &mut Found) {
        found.unless(!self.is_late(scene, self.overdue), || {
            format!("task {serial} is run after its deadline")
        });
    }

    /// It has ended.
    pub(super) fn ends(&self, scene: &Scene, serial: Serial, record: &TaskRecord, found: &mut Found) {
        let Some(Outcome::Revoked { reason }) = &record.outcome else {
            return;
        };
        if reason.contains("expired") {
            found.unless(self.was_shown(self.expires_at), || {
                format!("task {serial} expires too soon")
            });
            found.unless(!self.is_late(scene, self.expired), || {
                format!("task {serial} is told too late that it has expired")
            });
        }
        if reason.contains("deadline") {
            found.unless(self.was_shown(self.deadline_at), || {
                format!("task {serial} is stopped too soon")
            });
            found.unless(!self.is_late(scene, self.overdue), || {
                format!("task {serial} is stopped too late")
            });
        }
    }

    /// Whether the wall clock has shown this time, be it that it has been set back since.
    fn was_shown(&self, at: Option<Timestamp>) -> bool {
        at.is_some_and(|at| at.as_micros() <= self.shown)
    }

    /// Whether the engine, which should act on it, has had time enough: since the time passed, since the task has been where
    /// it is, since this server began, and since the store last refused something.
    fn is_late(&self, scene: &Scene, since: Option<Duration>) -> bool {
        let Some(since) = since else { return false };
        let from = since.max(self.since).max(scene.life).max(scene.trouble);
        !scene.stops && from + SLACK < scene.at
    }
}
