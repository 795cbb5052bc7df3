//! Results as messages to the queue of whoever sent the task (`rpc://`). They are told once, and kept nowhere; Celery has no
//! chords with it either.

use std::sync::Arc;

use async_trait::async_trait;
use cresset_celery::{ChordSize, Head, Message, Outgoing, Properties, Status};

use crate::results::{ChordStep, Nowhere, Results, Stored};
use crate::transport::{Transport, Trouble};

/// Results as messages.
pub(crate) struct Rpc {
    pub(crate) transport: Arc<dyn Transport>,
}

#[async_trait]
impl Results for Rpc {
    async fn store(&self, head: &Head, _: &Status, text: String) -> Result<(), Trouble> {
        let Some(queue) = &head.reply_to else {
            return Ok(());
        };
        let properties = Properties {
            correlation_id: Some(head.id.clone()),
            delivery_mode: Some(1),
            priority: Some(0),
            ..Properties::default()
        };
        let message = Message::json(Default::default(), properties, text.into_bytes());
        let queue = queue.clone();
        self.transport.publish(&[Outgoing { queue, message }]).await
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
