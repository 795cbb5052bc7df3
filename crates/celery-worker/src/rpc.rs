//! Results as messages to the queue of whoever sent the task (`rpc://`). They are told once, and kept nowhere; Celery has no
//! chords with it either.

use std::sync::Arc;

use async_trait::async_trait;
use cresset_celery::{ChordSize, Exception, Head, Meta, Properties, Status};
use cresset_task::Timestamp;

use crate::results::{ChordStep, Nowhere, Results, Stored};
use crate::transport::{Refused, Transport, Trouble};

/// Results as messages.
pub(crate) struct Rpc {
    pub(crate) transport: Arc<dyn Transport>,
}

#[async_trait]
impl Results for Rpc {
    async fn store(&self, meta: &Meta<'_>) -> Result<(), Trouble> {
        let head = meta.head;
        let Some(queue) = &head.reply_to else {
            return Ok(());
        };
        let properties = Properties {
            correlation_id: Some(head.id.clone()),
            // What a server of ours is told outlives the broker, as the task did.
            delivery_mode: Some(if head.is_ours { 2 } else { 1 }),
            priority: Some(0),
            ..Properties::default()
        };
        let message = |meta: &Meta<'_>| meta.message(properties.clone());
        let Some(Refused(why)) = self.transport.answer(queue, &message(meta), head.is_ours).await? else {
            return Ok(());
        };
        tracing::error!(why, "result is refused by the broker; its task fails");
        let exception = Exception::builtin("RuntimeError", &format!("the result cannot be sent: {why}"));
        let line = exception.line();
        let failed = Meta {
            head,
            status: &Status::Failure(exception, line),
            children: &[],
            done: Some(Timestamp::now()),
            extended: None,
        };
        // Whoever refuses that, too, has heard of it in the log.
        self.transport
            .answer(queue, &message(&failed), head.is_ours)
            .await
            .map(drop)
    }

    async fn success(&self, _: &str) -> Result<Option<Stored>, Trouble> {
        Ok(None)
    }

    async fn is_settled(&self, _: &str) -> Result<bool, Trouble> {
        Ok(true)
    }

    async fn chord_size(&self, size: &ChordSize) -> Result<(), Trouble> {
        Nowhere.chord_size(size).await
    }

    async fn chord_part(&self, head: &Head, group: &str, status: &Status) -> Result<ChordStep, Trouble> {
        Nowhere.chord_part(head, group, status).await
    }

    async fn chord_done(&self, _: &str) -> Result<(), Trouble> {
        Ok(())
    }
}
