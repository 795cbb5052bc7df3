//! Redis as the broker: the lists of the queues, what is told, and what is heard. What is held is in `unacked`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cresset_celery::{Message, Outgoing, Route, Target, read_envelope, write_envelope};
use futures_util::StreamExt as _;
use redis::{RedisResult, Value};
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::{Line, Server, trouble, unusable};
use super::keys::{EVENTS, FLEET, Keys, PIDBOX, STEPS, binding};
use super::sentinel::{Tenure, lost};
use super::unacked::{Unacked, now_seconds};
use super::wake::Wake;
use crate::options::{Options, StartError};
use crate::transport::{Content, Delivery, Receipt, Transport, Trouble};

/// Messages of one command.
const CHUNK: usize = 500;
/// A reply that nobody reads by then has nobody who waits for it.
const REPLY_KEPT: Duration = Duration::from_secs(60);
/// How long ahead a table of bindings is said to be wanted; it is said again every minute.
const BINDING_KEPT: Duration = Duration::from_secs(3 * 3600);

const SERVICE: &str = "broker";

/// The broker.
pub(crate) struct RedisBroker {
    server: Server,
    connection: Line,
    keys: Keys,
    node: String,
    queues: Vec<String>,
    /// The lists of each queue, and what ends the records of their messages. In the order of the queues, then of the steps.
    lists: Vec<List>,
    unacked: Unacked,
    /// What our tags begin with, and how many fetches there were.
    tags: String,
    fetches: AtomicU64,
    /// The queue that is looked into first.
    first: AtomicUsize,
    visibility: Duration,
    wake: Arc<Wake>,
}

struct List {
    key: String,
    queue: String,
    end: String,
}

impl RedisBroker {
    /// Connects when it is first asked. `tracker` owns what waits for messages, until `stop`.
    pub(crate) fn new(
        server: Server,
        options: &Options,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let settings = &options.settings;
        let keys = Keys {
            prefix: settings.broker_key_prefix.clone(),
            db: server.db(),
        };
        let connection = server
            .line()
            .map_err(|error| unusable("broker", settings.broker.as_ref(), &error))?;
        let unacked = Unacked::new(connection.clone(), keys.clone(), options.is_fleet);
        let of = |queue: &String, step: u8| List {
            key: keys.list(queue, step.into()),
            queue: queue.clone(),
            end: format!(", \"\", {}]", json!(queue)),
        };
        let lists: Vec<_> = settings
            .queues
            .iter()
            .flat_map(|queue| STEPS.map(|step| of(queue, step)))
            .collect();
        let wake = Wake::new(stop);
        for list in &lists {
            tracker.spawn(Arc::clone(&wake).watch(server.clone(), list.key.clone()));
        }
        Ok(Self {
            server,
            connection,
            keys,
            node: options.node.clone(),
            queues: settings.queues.clone(),
            lists,
            unacked,
            tags: format!("{}-", uuid::Uuid::now_v7()),
            fetches: AtomicU64::new(0),
            first: AtomicUsize::new(0),
            visibility: settings.visibility_timeout,
            wake,
        })
    }

    /// The lists in the order in which they are emptied: all of the most urgent step, then the next; the queues in turn.
    fn order(&self) -> Vec<usize> {
        let first = self.first.fetch_add(1, Ordering::Relaxed);
        let queues = self.queues.len();
        let in_turn =
            |step: usize| (0..queues).map(move |at| (first.wrapping_add(at) % queues) * STEPS.len() + step);
        (0..STEPS.len()).flat_map(in_turn).collect()
    }

    fn list(&self, place: usize) -> Result<&List, Trouble> {
        self.lists.get(place).ok_or_else(|| Trouble {
            service: SERVICE,
            why: format!("there is no list {place}"),
        })
    }

    async fn make_known(&self) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        let until = (now_seconds() + BINDING_KEPT.as_secs_f64()) * 1e3;
        for queue in &self.queues {
            let member = binding(queue, queue);
            pipe.cmd("SADD")
                .arg(self.keys.bindings(queue))
                .arg(&member)
                .ignore();
            pipe.cmd("SADD")
                .arg(self.keys.permanent_bindings(queue))
                .arg(&member)
                .ignore();
        }
        let pidbox = binding("", &format!("{}.{PIDBOX}", self.node));
        pipe.cmd("SADD")
            .arg(self.keys.bindings(PIDBOX))
            .arg(pidbox)
            .ignore();
        pipe.cmd("ZADD")
            .arg(self.keys.binding_deadlines())
            .arg(until)
            .arg(PIDBOX)
            .ignore();
        pipe.query_async(&mut self.connection.clone()).await
    }

    /// To whoever listens to the exchange now.
    async fn say(&self, exchange: &str, routing_key: &str, message: &Message) -> Result<(), Trouble> {
        let route = Route {
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
        };
        let text = write_envelope(message, &route, &uuid::Uuid::now_v7().to_string());
        let mut command = redis::cmd("PUBLISH");
        command.arg(self.keys.channel(exchange, routing_key)).arg(text);
        let done = command.query_async::<Value>(&mut self.connection.clone()).await;
        done.map(drop).map_err(trouble(SERVICE))
    }

    async fn hear_fleet(&self, words: &mpsc::Sender<Vec<u8>>, heard: &CancellationToken) -> RedisResult<()> {
        let (mut pubsub, mut tenure) = self.server.listen().await?;
        pubsub.subscribe(self.keys.channel(FLEET, "")).await?;
        self.server.look(&self.connection).await;
        heard.cancel();
        let mut coming = pubsub.on_message();
        while let Some(message) = until(coming.next(), &mut tenure).await? {
            if words.send(message.get_payload_bytes().to_vec()).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn hear(&self, requests: &mpsc::Sender<Message>, heard: &CancellationToken) -> RedisResult<()> {
        let (mut pubsub, mut tenure) = self.server.listen().await?;
        pubsub.subscribe(self.keys.channel(PIDBOX, "")).await?;
        heard.cancel();
        let mut coming = pubsub.on_message();
        while let Some(message) = until(coming.next(), &mut tenure).await? {
            let Ok((message, _)) = read_envelope(message.get_payload_bytes()) else {
                tracing::warn!("remote control request that cannot be read");
                continue;
            };
            if requests.send(message).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What comes next, from a server that is still the one.
async fn until<T>(next: impl Future<Output = Option<T>>, tenure: &mut Tenure) -> RedisResult<Option<T>> {
    tokio::select! {
        next = next => Ok(next),
        () = tenure.over() => Err(lost("another server is the master now")),
    }
}

#[async_trait]
impl Transport for RedisBroker {
    async fn fetch(&self, max: usize) -> Result<Vec<Delivery>, Trouble> {
        let order = self.order();
        let fetch = self.fetches.fetch_add(1, Ordering::Relaxed);
        let tags = format!("{}{fetch}-", self.tags);
        let lists = order.iter().map(|place| {
            self.list(*place)
                .map(|list| (list.key.as_str(), list.end.as_str()))
        });
        let lists: Vec<_> = lists.collect::<Result<_, _>>()?;
        let taken = self.unacked.take(max, &tags, &lists).await;
        let flat = taken.map_err(trouble(SERVICE))?;
        let mut deliveries = Vec::with_capacity(flat.len() / 3);
        let mut parts = flat.into_iter();
        while let (Some(tag), Some(at), Some(envelope)) = (parts.next(), parts.next(), parts.next()) {
            let at = String::from_utf8_lossy(&at).parse().unwrap_or(usize::MAX);
            let place = order.get(at).copied().unwrap_or(usize::MAX);
            deliveries.push(Delivery {
                epoch: 0,
                tag: String::from_utf8_lossy(&tag).into_owned(),
                queue: self.list(place)?.queue.clone(),
                place,
                content: Content::Envelope(envelope),
            });
        }
        Ok(deliveries)
    }

    async fn arrival(&self) {
        self.wake.arrival().await;
    }

    async fn acknowledge(&self, receipt: &Receipt) -> Result<(), Trouble> {
        let done = self.unacked.acknowledge(&receipt.tag).await;
        done.map_err(trouble(SERVICE))
    }

    async fn give_back(&self, receipt: &Receipt) -> Result<(), Trouble> {
        let list = self.list(receipt.place)?;
        let done = self
            .unacked
            .give_back(&receipt.tag, &list.key, list.end.len())
            .await;
        done.map_err(trouble(SERVICE))
    }

    async fn keep(&self, held: &[Receipt]) -> Result<(), Trouble> {
        let tags: Vec<_> = held.iter().map(|receipt| receipt.tag.as_str()).collect();
        self.unacked.keep(&tags).await.map_err(trouble(SERVICE))
    }

    async fn restore(&self) -> Result<usize, Trouble> {
        let restored = self.unacked.restore(self.visibility).await;
        restored.map_err(trouble(SERVICE))
    }

    async fn publish(&self, messages: &[Outgoing]) -> Result<(), Trouble> {
        for some in messages.chunks(CHUNK) {
            let mut pipe = redis::pipe();
            for Outgoing { queue, message } in some {
                let route = Route {
                    exchange: String::new(),
                    routing_key: queue.clone(),
                };
                let list = self.keys.list(queue, message.properties.priority.unwrap_or(0));
                let tag = uuid::Uuid::now_v7().to_string();
                pipe.cmd("LPUSH")
                    .arg(list)
                    .arg(write_envelope(message, &route, &tag))
                    .ignore();
            }
            let done: RedisResult<()> = pipe.query_async(&mut self.connection.clone()).await;
            done.map_err(trouble(SERVICE))?;
        }
        Ok(())
    }

    async fn waiting(&self, queue: &str) -> Result<u64, Trouble> {
        let lists = STEPS.map(|step| self.keys.list(queue, step.into()));
        let waiting = self.unacked.waiting(&lists).await;
        waiting.map_err(trouble(SERVICE))
    }

    async fn broadcast(&self, message: &Message) -> Result<(), Trouble> {
        self.say(PIDBOX, "", message).await
    }

    async fn check(&self) -> Result<(), Trouble> {
        let asked = redis::cmd("PING")
            .query_async::<Value>(&mut self.connection.clone())
            .await;
        asked.map(drop).map_err(trouble(SERVICE))
    }

    async fn announce(&self) -> Result<(), Trouble> {
        self.make_known().await.map_err(trouble(SERVICE))
    }

    async fn tell(&self, routing_key: &str, message: &Message) -> Result<(), Trouble> {
        self.say(EVENTS, routing_key, message).await
    }

    async fn reply(&self, target: &Target, message: &Message) -> Result<(), Trouble> {
        let Target {
            exchange,
            routing_key,
            ..
        } = target;
        let route = Route {
            exchange: exchange.clone(),
            routing_key: routing_key.clone(),
        };
        let list = self.keys.key(&format!("{routing_key}.{exchange}"));
        let text = write_envelope(message, &route, &uuid::Uuid::now_v7().to_string());
        let mut pipe = redis::pipe();
        pipe.cmd("LPUSH").arg(&list).arg(text).ignore();
        pipe.cmd("EXPIRE").arg(&list).arg(REPLY_KEPT.as_secs()).ignore();
        let done: RedisResult<()> = pipe.query_async(&mut self.connection.clone()).await;
        done.map_err(trouble(SERVICE))
    }

    async fn listen(
        &self,
        requests: &mpsc::Sender<Message>,
        heard: &CancellationToken,
    ) -> Result<(), Trouble> {
        self.hear(requests, heard).await.map_err(trouble(SERVICE))
    }

    async fn call(&self, words: &[u8]) -> Result<(), Trouble> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(self.keys.channel(FLEET, "")).arg(words);
        let done = command.query_async::<Value>(&mut self.connection.clone()).await;
        done.map(drop).map_err(trouble(SERVICE))
    }

    async fn overhear(
        &self,
        words: &mpsc::Sender<Vec<u8>>,
        heard: &CancellationToken,
    ) -> Result<(), Trouble> {
        self.hear_fleet(words, heard).await.map_err(trouble(SERVICE))
    }

    fn moves(&self) -> Option<watch::Receiver<u64>> {
        Some(self.server.moves())
    }

    fn describe(&self) -> Json {
        let place = self.server.place();
        let (hostname, port) = match place
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse::<u16>()))
        {
            Some((host, Ok(port))) => (host, json!(port)),
            _ => (place.as_str(), Json::Null),
        };
        json!({"transport": "redis", "hostname": hostname, "port": port, "virtual_host": self.keys.db.to_string(),
            "userid": null, "ssl": false, "heartbeat": 0})
    }
}
