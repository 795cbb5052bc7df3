//! Redis as the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cresset_celery::{Message, Outgoing, Route, Target, read_envelope, write_envelope};
use cresset_task::Timestamp;
use futures_util::StreamExt as _;
use redis::aio::ConnectionManager;
use redis::{Client, RedisResult, Value};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::{manager, trouble};
use super::keys::{EVENTS, Keys, PIDBOX, STEPS, binding};
use super::scripts::BrokerScripts;
use super::wake::Wake;
use crate::options::{Options, StartError};
use crate::transport::{Content, Delivery, Receipt, Transport, Trouble};

/// The hash of what is held, and its index.
const UNACKED: &str = "unacked";
const UNACKED_INDEX: &str = "unacked_index";
/// Messages that one look for lost ones restores at most: the next look comes soon.
const RESTORE_MAX: usize = 1_000;
/// Members of one command.
const CHUNK: usize = 500;
/// A reply that nobody reads by then has nobody who waits for it.
const REPLY_KEPT: Duration = Duration::from_secs(60);
/// How long ahead a table of bindings is said to be wanted; it is said again every minute.
const BINDING_KEPT: Duration = Duration::from_secs(3 * 3600);

const SERVICE: &str = "broker";

/// The broker.
pub(crate) struct RedisBroker {
    client: Client,
    connection: ConnectionManager,
    keys: Keys,
    node: String,
    queues: Vec<String>,
    /// The lists of each queue, and what ends the records of their messages. In the order of the queues, then of the steps.
    lists: Vec<List>,
    scripts: BrokerScripts,
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
        client: Client,
        options: &Options,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let settings = &options.settings;
        let keys = Keys {
            prefix: settings.broker_key_prefix.clone(),
            db: client.get_connection_info().redis_settings().db(),
        };
        let connection = manager(&client).map_err(|error| StartError::Url {
            setting: "broker",
            url: settings
                .broker
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            why: error.to_string(),
        })?;
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
            tracker.spawn(Arc::clone(&wake).watch(client.clone(), list.key.clone()));
        }
        Ok(Self {
            client,
            connection,
            keys,
            node: options.node.clone(),
            queues: settings.queues.clone(),
            lists,
            scripts: BrokerScripts::new(),
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

    async fn put_back_lost(&self) -> RedisResult<usize> {
        let mut connection = self.connection.clone();
        let before = now_seconds() - self.visibility.as_secs_f64();
        let tags: Vec<String> = redis::cmd("ZRANGEBYSCORE")
            .arg(self.keys.key(UNACKED_INDEX))
            .arg("-inf")
            .arg(before)
            .arg("LIMIT")
            .arg(0)
            .arg(RESTORE_MAX)
            .query_async(&mut connection)
            .await?;
        let mut restored = 0;
        for tag in tags {
            let record: Option<Vec<u8>> = redis::cmd("HGET")
                .arg(self.keys.key(UNACKED))
                .arg(&tag)
                .query_async(&mut connection)
                .await?;
            let (list, message) = match record.as_deref().map(lost) {
                Some(Some((route, priority, message))) => {
                    (self.keys.list(&route.routing_key, priority), message)
                }
                // What cannot be read cannot be sent to anybody: only the index forgets it.
                Some(None) => {
                    tracing::warn!(
                        tag,
                        "record of a lost message cannot be read; it is left where it is"
                    );
                    continue;
                }
                None => (self.keys.key(UNACKED), String::new()),
            };
            let done: usize = self
                .scripts
                .restore
                .key(self.keys.key(UNACKED))
                .key(self.keys.key(UNACKED_INDEX))
                .key(list)
                .arg(&tag)
                .arg(message)
                .arg(before)
                .invoke_async(&mut connection)
                .await?;
            restored += done;
        }
        Ok(restored)
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

    async fn hear(&self, requests: &mpsc::Sender<Message>) -> RedisResult<()> {
        let mut pubsub = self.client.get_async_pubsub().await?;
        pubsub.subscribe(self.keys.channel(PIDBOX, "")).await?;
        let mut heard = pubsub.on_message();
        while let Some(message) = heard.next().await {
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

/// What a record in the hash says: where its message goes, how urgent it is, and the message, marked.
fn lost(record: &[u8]) -> Option<(Route, i64, String)> {
    let (mut envelope, exchange, routing_key): (Json, String, String) =
        serde_json::from_slice(record).ok()?;
    let priority = envelope
        .pointer("/properties/priority")
        .and_then(Json::as_i64)
        .unwrap_or(0);
    let map = envelope.as_object_mut()?;
    let mark = |place: &mut Json| {
        drop(
            place
                .as_object_mut()
                .map(|map| map.insert("redelivered".into(), json!(true))),
        )
    };
    mark(map.entry("headers").or_insert_with(|| json!({})));
    let properties = map.entry("properties").or_insert_with(|| json!({}));
    mark(
        properties
            .as_object_mut()?
            .entry("delivery_info")
            .or_insert_with(|| json!({})),
    );
    Some((
        Route {
            exchange,
            routing_key,
        },
        priority,
        envelope.to_string(),
    ))
}

/// Now, as Celery's parties keep it at the broker.
fn now_seconds() -> f64 {
    Timestamp::now().as_micros() as f64 / 1e6
}

#[async_trait]
impl Transport for RedisBroker {
    async fn fetch(&self, max: usize) -> Result<Vec<Delivery>, Trouble> {
        let order = self.order();
        let mut call = self.scripts.fetch.prepare_invoke();
        call.key(self.keys.key(UNACKED)).key(self.keys.key(UNACKED_INDEX));
        let fetch = self.fetches.fetch_add(1, Ordering::Relaxed);
        call.arg(now_seconds())
            .arg(max)
            .arg(format!("{}{fetch}-", self.tags));
        for place in &order {
            let list = self.list(*place)?;
            call.key(&list.key).arg(&list.end);
        }
        let mut connection = self.connection.clone();
        let flat: Vec<Vec<u8>> = call
            .invoke_async(&mut connection)
            .await
            .map_err(trouble(SERVICE))?;
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
        let call = self
            .scripts
            .acknowledge
            .key(self.keys.key(UNACKED))
            .key(self.keys.key(UNACKED_INDEX))
            .arg(&receipt.tag)
            .invoke_async::<Value>(&mut self.connection.clone())
            .await;
        call.map(drop).map_err(trouble(SERVICE))
    }

    async fn give_back(&self, receipt: &Receipt) -> Result<(), Trouble> {
        let list = self.list(receipt.place)?;
        let call = self
            .scripts
            .give_back
            .key(self.keys.key(UNACKED))
            .key(self.keys.key(UNACKED_INDEX))
            .key(&list.key)
            .arg(&receipt.tag)
            .arg(list.end.len())
            .invoke_async::<Value>(&mut self.connection.clone())
            .await;
        call.map(drop).map_err(trouble(SERVICE))
    }

    async fn keep(&self, held: &[Receipt]) -> Result<(), Trouble> {
        let now = now_seconds();
        for some in held.chunks(CHUNK) {
            let mut command = redis::cmd("ZADD");
            command.arg(self.keys.key(UNACKED_INDEX)).arg("XX");
            for receipt in some {
                command.arg(now).arg(&receipt.tag);
            }
            let done = command.query_async::<Value>(&mut self.connection.clone()).await;
            done.map_err(trouble(SERVICE))?;
        }
        Ok(())
    }

    async fn restore(&self) -> Result<usize, Trouble> {
        self.put_back_lost().await.map_err(trouble(SERVICE))
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

    async fn listen(&self, requests: &mpsc::Sender<Message>) -> Result<(), Trouble> {
        self.hear(requests).await.map_err(trouble(SERVICE))
    }

    fn describe(&self) -> Json {
        let (hostname, port) = match self.client.get_connection_info().addr() {
            redis::ConnectionAddr::Tcp(host, port) | redis::ConnectionAddr::TcpTls { host, port, .. } => {
                (host.clone(), json!(port))
            }
            other => (other.to_string(), Json::Null),
        };
        json!({"transport": "redis", "hostname": hostname, "port": port, "virtual_host": self.keys.db.to_string(),
            "userid": null, "ssl": false, "heartbeat": 0})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_message_is_marked_and_goes_to_where_it_came_from() {
        let record = r#"[{"body": "W10=", "headers": {"id": "1", "stamps": {}}, "properties": {"priority": 3, "delivery_info": {"exchange": ""}}}, "", "q"]"#;
        let (route, priority, message) = lost(record.as_bytes()).unwrap();
        assert_eq!((route.routing_key.as_str(), priority), ("q", 3));
        let (message, _) = read_envelope(message.as_bytes()).unwrap();
        assert!(message.properties.redelivered);
        assert_eq!(message.headers["stamps"], json!({}));
        assert!(lost(b"[1]").is_none() && lost(b"nothing").is_none());
    }
}
