//! Events on their way to whoever watches. Watching must not slow down what is watched: when events come faster than the broker
//! takes them, they are dropped, and that is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cresset_celery::{Event, Head, Identity, Message, Properties, TaskEvent};
use cresset_task::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::transport::Transport;

/// Events that wait for the broker: some seconds of a busy worker.
const WAITING_MAX: usize = 8_192;
/// Events in one message.
const TOGETHER_MAX: usize = 256;

/// Sends events.
pub(crate) struct Events {
    identity: Identity,
    on: AtomicBool,
    clock: AtomicU64,
    queue: mpsc::Sender<Value>,
    dropped: AtomicU64,
}

impl Events {
    /// The sender, and what it sends.
    pub(crate) fn new(identity: Identity, on: bool) -> (Self, mpsc::Receiver<Value>) {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let events = Self {
            identity,
            on: on.into(),
            clock: AtomicU64::new(0),
            queue,
            dropped: AtomicU64::new(0),
        };
        (events, waiting)
    }

    /// Switches task events, and says whether they were on.
    pub(crate) fn switch(&self, on: bool) -> bool {
        self.on.swap(on, Ordering::Relaxed)
    }

    /// The next count of the logical clock, after `heard`.
    pub(crate) fn tick(&self, heard: u64) -> u64 {
        self.clock.fetch_max(heard, Ordering::Relaxed);
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What the logical clock says.
    pub(crate) fn clock(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// An event of a task, if anybody watches.
    pub(crate) fn task(&self, head: &Head, what: TaskEvent<'_>) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let event = Event::Task(head, what).to_value(&self.identity, self.tick(0), Timestamp::now());
        if self.queue.try_send(event).is_err() && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("task events come faster than the broker takes them; some are dropped");
        }
    }

    /// An event of the worker itself. False: it could not be sent.
    pub(crate) async fn worker(&self, transport: &dyn Transport, event: Event<'_>) -> bool {
        let value = event.to_value(&self.identity, self.tick(0), Timestamp::now());
        self.send(transport, &event.routing_key(), &value).await
    }

    async fn send(&self, transport: &dyn Transport, routing_key: &str, body: &Value) -> bool {
        let headers = Map::from_iter([("hostname".into(), json!(self.identity.node))]);
        let properties = Properties {
            delivery_mode: Some(1),
            ..Properties::default()
        };
        let message = Message::json(headers, properties, body.to_string().into_bytes());
        let told = transport.tell(routing_key, &message).await;
        if let Err(error) = &told {
            tracing::debug!(error = %error, "event could not be sent");
        }
        told.is_ok()
    }
}

/// Sends what waits, until the sender has gone.
pub(crate) async fn run(
    events: Arc<Events>,
    transport: Arc<dyn Transport>,
    mut waiting: mpsc::Receiver<Value>,
    stop: tokio_util::sync::CancellationToken,
) {
    let mut some = Vec::new();
    loop {
        let count = tokio::select! {
            biased;
            count = waiting.recv_many(&mut some, TOGETHER_MAX) => count,
            () = stop.cancelled() => 0,
        };
        if count == 0 {
            return;
        }
        let body = Value::Array(std::mem::take(&mut some));
        events.send(&*transport, "task.multi", &body).await;
    }
}
