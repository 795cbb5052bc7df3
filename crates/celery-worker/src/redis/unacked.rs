//! What is held: taken from its list, noted in a hash and an index so that nobody's death loses it, and then acknowledged, given
//! back, or, when its holder was not heard of for a visibility timeout, restored by whoever looks. Shared with real workers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cresset_celery::Route;
use cresset_task::Timestamp;
use redis::{RedisResult, Value};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::connect::Line;
use super::keys::Keys;
use super::scripts::BrokerScripts;

/// The hash, and its index.
const UNACKED: &str = "unacked";
const UNACKED_INDEX: &str = "unacked_index";
/// Behind both, where the queues are a fleet's: its workers keep what they hold known, so that it is missed within seconds. What real
/// workers hold, who do not, is left alone.
const OF_FLEET: &str = ".cresset";
/// A worker of a fleet that lives makes what it holds known more often.
const MISSED_AFTER: Duration = Duration::from_secs(7);
/// Messages that one look for lost ones restores at most: the next look comes soon.
const RESTORE_MAX: usize = 1_000;
/// Members of one command.
const CHUNK: usize = 500;

/// What is held at a broker.
pub(super) struct Unacked {
    connection: Line,
    keys: Keys,
    scripts: BrokerScripts,
    hash: String,
    index: String,
    clock: Clock,
}

/// By which it is told how long ago somebody was heard of.
enum Clock {
    /// Our own, as with Celery: hours matter.
    Own,
    /// The server's, since seconds do: what it said, and when.
    Servers(Mutex<Option<(f64, Instant)>>),
}

impl Unacked {
    pub(super) fn new(connection: Line, keys: Keys, is_fleet: bool) -> Self {
        let whose = if is_fleet { OF_FLEET } else { "" };
        Self {
            connection,
            hash: keys.key(&format!("{UNACKED}{whose}")),
            index: keys.key(&format!("{UNACKED_INDEX}{whose}")),
            keys,
            scripts: BrokerScripts::new(),
            clock: match is_fleet {
                true => Clock::Servers(Mutex::default()),
                false => Clock::Own,
            },
        }
    }

    /// At most `max` messages off these lists, each with what ends its records: tag, place of the list, message, and so on.
    pub(super) async fn take(
        &self,
        max: usize,
        tags: &str,
        lists: &[(&str, &str)],
    ) -> RedisResult<Vec<Vec<u8>>> {
        let now = self.now().await?;
        let mut call = self.scripts.fetch.key(&self.hash);
        call.key(&self.index).arg(now).arg(max).arg(tags);
        for (list, end) in lists {
            call.key(list).arg(end);
        }
        call.invoke_async(&mut self.connection.clone()).await
    }

    /// It is done with.
    pub(super) async fn acknowledge(&self, tag: &str) -> RedisResult<()> {
        let mut call = self.scripts.acknowledge.key(&self.hash);
        call.key(&self.index).arg(tag);
        let done = call.invoke_async::<Value>(&mut self.connection.clone()).await;
        done.map(drop)
    }

    /// Ours goes where it is taken next, marked as delivered before. Its record ends in so many bytes that are not the message's.
    pub(super) async fn give_back(&self, tag: &str, list: &str, end: usize) -> RedisResult<()> {
        let Some(record) = self.record(tag).await? else {
            // Somebody else has it by now.
            return Ok(());
        };
        let message = match lost(&record) {
            Some((_, _, message)) => message.into_bytes(),
            // What cannot be read cannot be marked.
            None => record
                .get(1..record.len().saturating_sub(end))
                .unwrap_or_default()
                .to_vec(),
        };
        self.put(tag, list, message, None).await.map(drop)
    }

    /// These are held still.
    pub(super) async fn keep(&self, tags: &[&str]) -> RedisResult<()> {
        self.look_at_clock().await?;
        let now = self.now().await?;
        for some in tags.chunks(CHUNK) {
            let mut command = redis::cmd("ZADD");
            command.arg(&self.index).arg("XX");
            for tag in some {
                command.arg(now).arg(tag);
            }
            command.query_async::<Value>(&mut self.connection.clone()).await?;
        }
        Ok(())
    }

    /// Those of whom nothing was heard for so long go back to where they came from; says how many.
    pub(super) async fn restore(&self, visibility: Duration) -> RedisResult<usize> {
        let before = self.now().await? - visibility.as_secs_f64();
        let tags: Vec<String> = redis::cmd("ZRANGEBYSCORE")
            .arg(&self.index)
            .arg("-inf")
            .arg(before)
            .arg("LIMIT")
            .arg(0)
            .arg(RESTORE_MAX)
            .query_async(&mut self.connection.clone())
            .await?;
        let mut restored = 0;
        for tag in tags {
            let (list, message) = match self.record(&tag).await?.as_deref().map(lost) {
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
                None => (self.hash.clone(), String::new()),
            };
            restored += self.put(&tag, &list, message.into_bytes(), Some(before)).await?;
        }
        Ok(restored)
    }

    /// How many messages are in these lists, and of those that are held, whatever list they are from, of how many nothing was heard for a
    /// while: they will be in their lists again.
    pub(super) async fn waiting(&self, lists: &[String]) -> RedisResult<u64> {
        let before = self.now().await? - MISSED_AFTER.as_secs_f64();
        let mut pipe = redis::pipe();
        pipe.atomic();
        for list in lists {
            pipe.llen(list);
        }
        pipe.zcount(&self.index, "-inf", before);
        let counts: Vec<u64> = pipe.query_async(&mut self.connection.clone()).await?;
        Ok(counts.iter().sum())
    }

    /// Now, as it is kept with what is held.
    async fn now(&self) -> RedisResult<f64> {
        let Clock::Servers(known) = &self.clock else {
            return Ok(now_seconds());
        };
        let said = *known.lock().unwrap_or_else(PoisonError::into_inner);
        match said {
            Some((seconds, since)) => Ok(seconds + since.elapsed().as_secs_f64()),
            None => self
                .look_at_clock()
                .await
                .map(|seconds| seconds.unwrap_or_else(now_seconds)),
        }
    }

    /// What the server's clock says, where that counts.
    async fn look_at_clock(&self) -> RedisResult<Option<f64>> {
        let Clock::Servers(known) = &self.clock else {
            return Ok(None);
        };
        let (seconds, micros): (u64, u64) = redis::cmd("TIME")
            .query_async(&mut self.connection.clone())
            .await?;
        let now = seconds as f64 + micros as f64 / 1e6;
        *known.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Instant::now()));
        Ok(Some(now))
    }

    async fn record(&self, tag: &str) -> RedisResult<Option<Vec<u8>>> {
        let mut command = redis::cmd("HGET");
        command.arg(&self.hash).arg(tag);
        command.query_async(&mut self.connection.clone()).await
    }

    /// Puts a message back, unless it is held no more, or its holder was heard of after `before`.
    async fn put(&self, tag: &str, list: &str, message: Vec<u8>, before: Option<f64>) -> RedisResult<usize> {
        let before = before.map(|before| before.to_string()).unwrap_or_default();
        let mut call = self.scripts.restore.key(&self.hash);
        call.key(&self.index).key(list);
        call.arg(tag).arg(message).arg(before);
        call.invoke_async(&mut self.connection.clone()).await
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
pub(super) fn now_seconds() -> f64 {
    Timestamp::now().as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use cresset_celery::read_envelope;

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
