//! One input on its way through an instance, and who waits for its end.

use std::collections::HashSet;
use std::time::Duration;

use cresset_batch::{Class, Moment};
use cresset_config::{ModelConfig, ModelKind};
use cresset_runner::Name;
use cresset_task::{
    Attempt, CacheUse, HISTORY_MAX, Payload, Redelivery, RetryTerms, TaskId, Timestamp, Trace,
};
use tokio::sync::oneshot;

use crate::admission::Place;
use crate::api::{EngineError, Prediction};
use crate::cache::Lead;
use crate::late::{Late, Unborn};
use crate::live::Voice;

/// The answer to a caller on an open connection.
pub(crate) type Reply = oneshot::Sender<Answer>;

/// What a caller is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// How it has ended.
    Ended(Result<Prediction, EngineError>),
    /// Its limit has come; only told to those who take a task then.
    Late(Late),
}

/// Who waits.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A synchronous prediction. It keeps its place among those that wait until the item is gone.
    Caller {
        reply: Reply,
        place: Place,
        /// When the call arrived.
        since: Moment,
        /// Of our own: it says nothing of whether the model is used.
        is_canary: bool,
        /// How long it may take, and when that is over.
        limit: Duration,
        deadline: Moment,
        /// It becomes a task then.
        goes_on: bool,
    },
    /// A leased task.
    Queue(Leased),
}

/// A task that is ours to run.
#[derive(Clone, Debug)]
pub(crate) struct Leased {
    pub(crate) id: TaskId,
    pub(crate) attempt: Attempt,
    pub(crate) created_at: Timestamp,
    pub(crate) leased_at: Timestamp,
    pub(crate) priority: i8,
    /// Its place in the queue, in nanoseconds of the engine's clock.
    pub(crate) line: i64,
    /// How often it has been tried again by the retry policy.
    pub(crate) retries: u32,
    /// What a result cache may do with it.
    pub(crate) cache: CacheUse,
    /// How it is tried again, as far as that is not left to its model.
    pub(crate) retry: Option<Box<RetryTerms>>,
    /// It was a prediction, and is on its way into the store.
    pub(crate) unborn: Option<Unborn>,
}

impl Leased {
    /// What its end waits for, if the store does not have it yet.
    pub(crate) fn unborn(&self) -> Option<&Unborn> {
        self.unborn.as_ref().filter(|unborn| !unborn.is_over())
    }

    /// The attempt that the latest of so many deliveries under this lease is.
    pub(crate) fn delivery(&self, deliveries: u32) -> Attempt {
        Attempt(self.attempt.0.saturating_add(deliveries.saturating_sub(1)))
    }
}

/// An input in memory.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) payload: Payload,
    pub(crate) origin: Origin,
    /// How often it was handed to an instance.
    pub(crate) deliveries: u32,
    /// How often it was in a batch whose instance died of itself: exited, crashed, hung, ran out of memory.
    pub(crate) blame: u32,
    /// How often it was in a batch whose instance was killed from outside.
    pub(crate) killed: u32,
    /// When it was last handed to an instance.
    pub(crate) sent: Option<Moment>,
    /// Nobody wants its end any more, and whoever has it has been told so.
    pub(crate) unwanted: bool,
    /// Who reads along, or may.
    pub(crate) voice: Option<Box<Voice>>,
    /// Others may wait for its result.
    pub(crate) lead: Option<Box<Lead>>,
    /// The trace that its caller follows.
    pub(crate) trace: Option<Box<Trace>>,
    /// Pieces of its result that its latest run has given and nobody kept: those of a prediction whose caller does not read along.
    pub(crate) unheard: u64,
    /// Why it was handed to an instance more than once.
    pub(crate) history: Vec<Redelivery>,
}

impl Item {
    pub(crate) fn new(payload: Payload, origin: Origin) -> Self {
        Self {
            payload,
            origin,
            deliveries: 0,
            blame: 0,
            killed: 0,
            sent: None,
            unwanted: false,
            voice: None,
            lead: None,
            trace: None,
            unheard: 0,
            history: Vec::new(),
        }
    }

    /// False once the caller has hung up, unless others wait for the result; a leased task is always wanted, if it is one.
    pub(crate) fn is_wanted(&self) -> bool {
        match &self.origin {
            Origin::Caller { reply, .. } => {
                !reply.is_closed() || self.lead.as_ref().is_some_and(|lead| lead.is_followed())
            }
            Origin::Queue(task) => !task.unborn.as_ref().is_some_and(Unborn::is_lost),
        }
    }

    /// Whether it becomes a task at its limit.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(self.origin, Origin::Caller { goes_on: true, .. })
    }

    /// Whose it is, for whoever runs it.
    pub(crate) fn name(&self) -> Name {
        match &self.origin {
            Origin::Caller { .. } => Name::default(),
            Origin::Queue(leased) => Name {
                task: Some(leased.id),
                priority: leased.priority,
                retries: leased.retries,
                is_first: leased.attempt == Attempt(1) && self.deliveries <= 1,
            },
        }
    }

    /// Whether anybody but us wants it.
    pub(crate) fn is_work(&self) -> bool {
        !matches!(self.origin, Origin::Caller { is_canary: true, .. })
    }

    /// Whether it is one of these tasks.
    pub(crate) fn is_among(&self, tasks: &HashSet<TaskId>) -> bool {
        match &self.origin {
            Origin::Caller { .. } => false,
            Origin::Queue(leased) => !tasks.is_empty() && tasks.contains(&leased.id),
        }
    }

    /// The attempt that its latest delivery is.
    pub(crate) fn attempt(&self) -> Attempt {
        match &self.origin {
            Origin::Caller { .. } => Attempt(self.deliveries),
            Origin::Queue(leased) => leased.delivery(self.deliveries),
        }
    }

    /// Whatever it has said is void: it is run again.
    pub(crate) fn void(&mut self, at: Timestamp) {
        self.unheard = 0;
        if let Some(voice) = &self.voice {
            voice.feed.void(self.attempt().next(), at);
        }
    }

    /// Remembers why it has to run once more.
    pub(crate) fn note(&mut self, at: Timestamp, reason: &str) {
        if self.history.len() == HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(Redelivery {
            attempt: self.attempt(),
            at,
            reason: reason.to_owned(),
        });
    }

    pub(crate) fn class(&self) -> Class {
        match self.origin {
            Origin::Caller { .. } => Class::Interactive,
            Origin::Queue(_) => Class::Bulk,
        }
    }
}

/// Checks an input against the model's declaration: the doors parse by it, but a queued task may be older than it.
pub(crate) fn check_fit(payload: &Payload, config: &ModelConfig) -> Result<(), String> {
    match (payload, config.kind()) {
        (Payload::Json(_), ModelKind::Object) => Ok(()),
        (Payload::Json(_), ModelKind::Tensor) => Err("the model takes tensors, the input is JSON".into()),
        (Payload::Tensors(_), ModelKind::Object) => Err("the model takes JSON, the input is tensors".into()),
        (Payload::Tensors(set), ModelKind::Tensor) => {
            if set.0.len() != config.inputs.len() {
                return Err(format!(
                    "the model takes {} inputs, got {}",
                    config.inputs.len(),
                    set.0.len()
                ));
            }
            for (spec, (name, tensor)) in config.inputs.iter().zip(&set.0) {
                if spec.name != *name || spec.dtype != tensor.dtype || !spec.admits(&tensor.shape) {
                    return Err(format!(
                        "input `{}` is {} {:?} by declaration, got `{name}` {} {:?}",
                        spec.name, spec.dtype, spec.shape, tensor.dtype, tensor.shape
                    ));
                }
            }
            Ok(())
        }
    }
}
