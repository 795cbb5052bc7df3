//! Histories made up by hand: good ones, until a test does something bad to them.

use std::time::Duration;

use cresset_engine::Stopped;
use cresset_task::{
    Attempt, BatchId, Code, Failure, InstanceId, Outcome, Payload, State, TaskId, TaskRecord, Timestamp,
};

use super::check;
use crate::history::{Entry, May, Order, Serial, What};

/// A history in the making: a good one, until a test does something bad to it.
pub(super) struct Tale {
    at: Duration,
    pub(super) jumped: i64,
    entries: Vec<Entry>,
}

pub(super) fn good() -> May {
    May {
        succeed: true,
        ..May::default()
    }
}

pub(super) fn order(serial: Serial) -> Order {
    Order {
        serial,
        may: good(),
        due_at: None,
        expires_at: None,
        deadline_at: None,
        keyed: false,
        queue_max: 2,
    }
}

impl Tale {
    pub(super) fn new() -> Self {
        let mut tale = Self {
            at: Duration::ZERO,
            jumped: 0,
            entries: Vec::new(),
        };
        tale.tell(What::Starts);
        tale
    }

    pub(super) fn wall(&self) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + self.at.as_micros() as i64 + self.jumped)
    }

    pub(super) fn tell(&mut self, what: What) {
        self.at += Duration::from_millis(1);
        let (at, wall) = (self.at, self.wall());
        self.entries.push(Entry { at, wall, what });
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.at += Duration::from_secs(seconds);
    }

    /// What is wrong with it, when it ends here.
    pub(super) fn offences(&self) -> Vec<String> {
        check(&self.entries).into_iter().map(|(_, what)| what).collect()
    }

    #[track_caller]
    pub(super) fn offends(&self, what: &str) {
        let offences = self.offences();
        assert!(offences.iter().any(|told| told.contains(what)), "{offences:?}");
    }

    /// A task that is accepted.
    pub(super) fn accepted(&mut self, order: Order) -> TaskRecord {
        let serial = order.serial;
        let record = self.record(&order);
        self.tell(What::Submitting { call: serial, order });
        self.changed(&record);
        self.told_accepted(serial, record.id);
        record
    }

    pub(super) fn told_accepted(&mut self, serial: Serial, id: TaskId) {
        self.tell(What::Accepted {
            call: serial,
            serial,
            id,
            state: State::Pending,
            replayed: false,
        });
    }

    pub(super) fn changed(&mut self, record: &TaskRecord) {
        self.tell(What::Changed(Box::new(record.clone())));
    }

    pub(super) fn started(&mut self, record: &mut TaskRecord) {
        record.state = State::Started;
        record.attempts = record.attempts.next();
        record.due_at = None;
        self.changed(record);
    }

    pub(super) fn ended(&mut self, record: &mut TaskRecord, outcome: Outcome) {
        record.state = match outcome {
            Outcome::Success(_) => State::Success,
            Outcome::Failure(_) => State::Failure,
            Outcome::Revoked { .. } => State::Revoked,
        };
        record.outcome = Some(outcome);
        self.changed(record);
    }

    pub(super) fn took(&mut self, batch: u64, serials: &[Serial]) {
        self.tell(What::Took {
            model: 0,
            instance: InstanceId(0),
            batch: BatchId(batch),
            serials: serials.to_vec(),
        });
    }

    pub(super) fn left(&mut self, batch: u64) {
        let batch = BatchId(batch);
        self.tell(What::Left { model: 0, batch });
    }

    pub(super) fn told(&mut self, batch: u64, serial: Serial) {
        let batch = BatchId(batch);
        self.tell(What::Told {
            model: 0,
            batch,
            serial,
        });
    }

    pub(super) fn looks(&mut self, call: u64, id: TaskId, wait: Option<Duration>) {
        self.tell(What::Looking { call, id, wait });
    }

    pub(super) fn looked(&mut self, call: u64, record: &TaskRecord) {
        let record = Box::new(record.clone());
        self.tell(What::Looked { call, record });
    }

    pub(super) fn cancelled(&mut self, id: TaskId, stopped: Stopped, state: State) {
        self.tell(What::Cancelled {
            call: 99,
            id,
            stopped,
            state,
        });
    }

    pub(super) fn predicts(&mut self, serial: Serial) {
        self.tell(What::Predicting {
            call: serial,
            serial,
            may: good(),
            limit: Duration::from_secs(1),
            goes_on: None,
        });
    }

    /// A prediction that becomes a task at its limit, which is a second away.
    pub(super) fn predicts_or_goes_on(&mut self, serial: Serial) {
        self.tell(What::Predicting {
            call: serial,
            serial,
            may: good(),
            limit: Duration::from_secs(1),
            goes_on: Some(order(serial)),
        });
    }

    /// The record of a task, as it is stored first.
    pub(super) fn record(&self, order: &Order) -> TaskRecord {
        let until = [order.expires_at, order.deadline_at].into_iter().flatten().min();
        TaskRecord {
            id: TaskId::fresh(),
            model: "a".parse().unwrap(),
            state: State::Pending,
            created_at: self.wall(),
            started_at: None,
            finished_at: None,
            due_at: order.due_at,
            expires_at: until,
            deadline_at: order.deadline_at,
            attempts: Attempt(0),
            retries: 0,
            history: Vec::new(),
            priority: 0,
            metadata: Some(format!("{{\"serial\":{}}}", order.serial).into()),
            version: None,
            replay_of: None,
            cached: false,
            retry: None,
            trace: None,
            outcome: None,
        }
    }

    pub(super) fn predicted(&mut self, serial: Serial, answer: Result<Serial, Code>) {
        self.tell(What::Predicted {
            call: serial,
            serial,
            answer,
        });
    }
}

pub(super) fn result(serial: Serial) -> Outcome {
    Outcome::Success(Payload::Json(serial.to_string().into()))
}

pub(super) fn revoked(reason: &str) -> Outcome {
    Outcome::Revoked {
        reason: reason.into(),
    }
}

pub(super) fn failed(code: Code) -> Outcome {
    Outcome::Failure(Failure {
        code,
        type_: "E".into(),
        message: "no".into(),
        traceback: None,
        stage: None,
        again: Default::default(),
    })
}

/// A task that has run and ended well.
pub(super) fn done(tale: &mut Tale) -> TaskRecord {
    let mut task = tale.accepted(order(1));
    tale.started(&mut task);
    tale.took(1, &[1]);
    tale.left(1);
    tale.ended(&mut task, result(1));
    task
}
