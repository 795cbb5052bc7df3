//! What a request says beside its input, the same in both of its forms: keys of a JSON body, parameters of a query.

use std::time::Duration;

use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_task::{Callback, CallbackUrl, Events, RetryTerms, Timestamp};

use super::{Form, fields, retry};
use crate::schema::FieldError;

/// Everything but the input.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// 0 unless told.
    pub(crate) priority: i8,
    /// The caller's object, as it was written.
    pub(crate) metadata: Option<Bytes>,
    /// How long a prediction may take.
    pub(crate) timeout: Option<Duration>,
    /// A task starts no sooner.
    pub(crate) due_at: Option<Timestamp>,
    /// A task starts no later.
    pub(crate) expires_at: Option<Timestamp>,
    /// A task ends no later.
    pub(crate) deadline_at: Option<Timestamp>,
    /// How a task is tried again, as far as that is not left to its model.
    pub(crate) retry: Option<Box<RetryTerms>>,
    /// Whom to tell of a task.
    pub(crate) callback_url: Option<CallbackUrl>,
    /// Of what.
    pub(crate) callback_events: Option<Events>,
}

/// A value as the request has it.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    /// Of a key of a body.
    Json(&'a str),
    /// Of a parameter of a query.
    Text(&'a str),
}

impl Form {
    /// The keys that a JSON body may have beside `input`.
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Submit => &[
                "input",
                "priority",
                "metadata",
                "eta",
                "countdown",
                "expires",
                "deadline",
                "retry",
                "callback_url",
                "callback_events",
            ],
            Self::Predict => &["input", "timeout"],
        }
    }

    /// The query parameters of a request with a binary body.
    pub(super) const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Submit => &[
                "priority",
                "eta",
                "countdown",
                "expires",
                "deadline",
                "callback_url",
                "callback_events",
            ],
            Self::Predict => &["timeout"],
        }
    }
}

impl Options {
    /// Takes one option of a body by its name, which is one of the form's; else each wrong field of it.
    pub(super) fn take(
        &mut self,
        name: &str,
        raw: &str,
        config: &ModelConfig,
        now: Timestamp,
    ) -> Result<(), Vec<FieldError>> {
        if name == "retry" {
            self.retry = retry::read(name, raw, config)?;
            return Ok(());
        }
        let wrong = |message| FieldError {
            field: name.to_owned(),
            message,
        };
        self.set(name, Raw::Json(raw), config, now)
            .map_err(|message| vec![wrong(message)])
    }

    /// Takes one option that is a single value by its name, which is one of the form's. `now` is when the request came.
    pub(super) fn set(
        &mut self,
        name: &str,
        raw: Raw<'_>,
        config: &ModelConfig,
        now: Timestamp,
    ) -> Result<(), String> {
        match name {
            "priority" => self.priority = fields::priority(raw)?,
            "metadata" => self.metadata = Some(fields::metadata(raw)?),
            "timeout" => self.timeout = Some(fields::timeout(raw, config.limits.predict_timeout)?),
            "eta" | "countdown" if self.due_at.is_some() => {
                return Err("is given with the other: a start is an `eta` or a `countdown`".into());
            }
            "eta" => self.due_at = Some(fields::eta(raw)?),
            "countdown" => self.due_at = Some(now.plus(fields::countdown(raw)?)),
            "expires" => self.expires_at = Some(fields::end(raw, now)?),
            "deadline" => self.deadline_at = Some(fields::end(raw, now)?),
            "callback_url" => self.callback_url = Some(fields::callback_url(raw)?),
            "callback_events" => self.callback_events = Some(fields::callback_events(raw)?),
            _ => unreachable!("the forms hold the names above"),
        }
        Ok(())
    }

    /// Whom to tell of a task, and of what.
    pub(crate) fn callback(&mut self) -> Option<Callback> {
        let url = self.callback_url.take()?;
        let events = self.callback_events.unwrap_or_default();
        Some(Callback { url, events })
    }

    /// What no option shows alone: the wrong one, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.callback_events.is_some() && self.callback_url.is_none() {
            let words = "is given without `callback_url`: there is nobody to tell";
            return Err(("callback_events", words.into()));
        }
        let Some(due) = self.due_at else { return Ok(()) };
        for (name, end) in [("expires", self.expires_at), ("deadline", self.deadline_at)] {
            if let Some(end) = end.filter(|end| *end <= due) {
                let words = format!("is {end}, no later than its start at {due}: it would never run");
                return Err((name, words));
            }
        }
        Ok(())
    }
}
