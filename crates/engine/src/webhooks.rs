//! Webhooks as the doors see them: who may be told, what was, once more, and on trial. They are written with what they tell of (by
//! the store), and sent by `cresset-webhook`, which this starts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_queue::{Backend, Delivery, DeliveryPage, DeliveryQuery, Redelivered};
use cresset_task::{Callback, CallbackUrl, EventId, TaskId, Timestamp};
use cresset_webhook::{Courier, Policy, Sender, Trouble, Words, Writer, message};
use tokio::time::Instant;

use crate::api::EngineError;
use crate::engine::Engine;

/// Webhooks that are open, at most, when another task with one is accepted: some 50 MB of the database.
const OPEN_MAX: u64 = 100_000;
/// The same for one host, so that one that is down for long leaves room to the others.
const OPEN_OF_HOST_MAX: u64 = 10_000;
/// When there may be room again: about as soon as one that was down is tried again.
const ROOM_AFTER: Duration = Duration::from_secs(60);

/// What came of a webhook on trial.
#[derive(Debug)]
pub struct Trial {
    /// Its name.
    pub id: String,
    /// What was answered, or why nothing was.
    pub reply: Result<cresset_webhook::Reply, Trouble>,
    /// How long it took.
    pub took: Duration,
}

impl Engine {
    /// Sends webhooks from now on. Without it none is accepted, and what an earlier server accepted waits.
    pub fn deliver(&self, courier: Courier, writer: Arc<dyn Writer>) {
        let shared = &self.inner.shared;
        let courier = Arc::new(courier);
        if shared.courier.set(Arc::clone(&courier)).is_err() {
            tracing::error!("webhooks are being sent already");
            return;
        }
        let sender = Sender::new(
            Arc::clone(&shared.backend) as Arc<dyn Backend>,
            courier,
            writer,
            Arc::new(self.inner.metrics.webhooks.clone()),
            Policy::default(),
            shared.draining.clone(),
        )
        .recorded_by(shared.spans.clone());
        self.inner.tracker.spawn(sender.run());
    }

    fn courier(&self) -> Result<&Arc<Courier>, EngineError> {
        self.inner.shared.courier.get().ok_or_else(|| {
            EngineError::BadCallback(
                "is not accepted, as this server has no webhook secrets; its operator sets `webhooks.secrets_file`".into(),
            )
        })
    }

    /// Whether webhooks can be sent there, as far as the address says.
    fn callable(&self, url: &CallbackUrl) -> Result<&Arc<Courier>, EngineError> {
        let courier = self.courier()?;
        if courier.refuses(url) {
            return Err(EngineError::BadCallback(format!(
                "leads to {}, an address that may not be called; the operator opens networks with `webhooks.allow`",
                url.host()
            )));
        }
        Ok(courier)
    }

    /// Whether a task with this callback can be accepted.
    pub(crate) fn admit_callback(&self, callback: Option<&Callback>) -> Result<(), EngineError> {
        let Some(Callback { url, .. }) = callback else {
            return Ok(());
        };
        self.callable(url)?;
        let backend = &self.inner.shared.backend;
        let of_host = backend.outbox_of(url.host());
        let open = backend.outbox().borrow().open;
        let (limit, what) = if of_host >= OPEN_OF_HOST_MAX {
            (OPEN_OF_HOST_MAX, format!("wait for {}", url.host()))
        } else if open >= OPEN_MAX {
            (OPEN_MAX, "wait".to_owned())
        } else {
            return Ok(());
        };
        Err(EngineError::OutboxFull {
            what,
            limit,
            retry_after: ROOM_AFTER,
        })
    }

    /// A page of what is to be told, was told or could not be; the newest first.
    pub async fn deliveries(&self, query: DeliveryQuery) -> Result<DeliveryPage, EngineError> {
        Ok(self.inner.shared.backend.deliveries(query).await?)
    }

    /// Has a webhook sent again, now, under its name. One that is being sent at this moment is left to that.
    pub async fn redeliver(&self, id: EventId) -> Result<Delivery, EngineError> {
        self.courier()?;
        let shared = &self.inner.shared;
        let again = shared
            .backend
            .redeliver(id, Timestamp::now())
            .await
            .inspect_err(|error| shared.store.failed(error))?;
        if again == Redelivered::Unknown {
            return Err(EngineError::UnknownWebhook(id));
        }
        self.delivery(id).await
    }

    async fn delivery(&self, id: EventId) -> Result<Delivery, EngineError> {
        let mut query = DeliveryQuery {
            task: Some(id.task),
            limit: cresset_queue::DELIVERIES_MAX,
            ..DeliveryQuery::default()
        };
        loop {
            let page = self.deliveries(query.clone()).await?;
            let found = page.deliveries.into_iter().find(|delivery| delivery.id == id);
            match (found, page.next) {
                (Some(delivery), _) => return Ok(delivery),
                (None, Some(next)) => query.after = Some(next),
                (None, None) => return Err(EngineError::UnknownWebhook(id)),
            }
        }
    }

    /// Sends a signed message there that tells of nothing, once, and says what came back.
    pub async fn try_webhook(&self, url: &CallbackUrl) -> Result<Trial, EngineError> {
        if self.inner.shared.draining.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        let courier = self.callable(url)?;
        let now = Timestamp::now();
        let words = Words {
            id: format!("test_{}", TaskId::fresh()),
            body: Bytes::from(message::body(message::TEST_KIND, now, b"{}")),
            trace: None,
        };
        let began = Instant::now();
        let reply = courier.post(url, &words, now).await;
        if let Err(Trouble::Refused(address)) = &reply {
            tracing::warn!(host = url.host(), %address, "a webhook on trial leads where none may go");
        }
        Ok(Trial {
            id: words.id,
            reply,
            took: began.elapsed(),
        })
    }
}
