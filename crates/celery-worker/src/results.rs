//! A result backend, as the door needs it.
//!
//! Promises: once a success is stored for an id, no later write changes it. A part of a chord counts once, however often it is
//! told; exactly one teller of a complete chord is told so, until it says that it has dealt with it.

use async_trait::async_trait;
use cresset_celery::{ChordSize, Head, Meta, Status};
use serde_json::value::RawValue;

use crate::transport::Trouble;

/// Where a chord stands after a part of it was told.
#[derive(Debug)]
pub(crate) enum ChordStep {
    /// Parts are missing, or another deals with it.
    Wait,
    /// All parts are there: what each said, in order, as `[1, id, state, result]`.
    Complete(Vec<String>),
}

/// What is stored of a task that has succeeded.
pub(crate) struct Stored {
    pub(crate) result: Box<RawValue>,
}

/// A result backend.
#[async_trait]
pub(crate) trait Results: Send + Sync + 'static {
    /// Stores a state, and tells whoever waits.
    async fn store(&self, meta: &Meta<'_>) -> Result<(), Trouble>;

    /// What is stored of a task, if it is a success; for a backend that counts no chords, without the result.
    async fn success(&self, id: &str) -> Result<Option<Stored>, Trouble>;

    /// Whether a state is stored that a revocation must leave alone.
    async fn is_settled(&self, id: &str) -> Result<bool, Trouble>;

    /// It counts no parts of chords: a task (`celery.chord_unlock`) looks again and again whether all of them have ended, and sends the body.
    fn has_no_counters(&self) -> bool {
        false
    }

    /// Makes the size of a chord's header known.
    async fn chord_size(&self, size: &ChordSize) -> Result<(), Trouble>;

    /// A part of a chord has ended.
    async fn chord_part(&self, head: &Head, group: &str, status: &Status) -> Result<ChordStep, Trouble>;

    /// The chord's body has been sent, or failed.
    async fn chord_done(&self, group: &str) -> Result<(), Trouble>;
}

/// No backend: results are thrown away. Chords need one, and say so.
pub(crate) struct Nowhere;

impl Nowhere {
    fn trouble() -> Trouble {
        Trouble {
            service: "results",
            why: "a chord needs a result backend, and there is none".into(),
        }
    }
}

#[async_trait]
impl Results for Nowhere {
    async fn store(&self, _: &Meta<'_>) -> Result<(), Trouble> {
        Ok(())
    }

    async fn success(&self, _: &str) -> Result<Option<Stored>, Trouble> {
        Ok(None)
    }

    async fn is_settled(&self, _: &str) -> Result<bool, Trouble> {
        Ok(true)
    }

    async fn chord_size(&self, _: &ChordSize) -> Result<(), Trouble> {
        tracing::warn!(error = %Self::trouble(), "chord cannot be completed");
        Ok(())
    }

    async fn chord_part(&self, _: &Head, _: &str, _: &Status) -> Result<ChordStep, Trouble> {
        tracing::warn!(error = %Self::trouble(), "chord cannot be completed");
        Ok(ChordStep::Wait)
    }

    async fn chord_done(&self, _: &str) -> Result<(), Trouble> {
        Ok(())
    }
}
