//! Redis as the result backend.

use std::time::Duration;

use async_trait::async_trait;
use cresset_celery::{ChordSize, Head, Meta, Status, is_tensors};
use cresset_config::Celery;
use redis::{RedisResult, Value};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::connect::{Line, Server, trouble, unusable};
use super::keys::{reply_channel, result_key, result_prefix};
use super::scripts::BackendScripts;
use crate::options::StartError;
use crate::results::{ChordStep, Results, Stored};
use crate::transport::Trouble;

/// How long a chord's parts are kept, as in Celery; with results that are kept for ever, too.
const CHORD_KEPT: Duration = Duration::from_secs(86_400);
/// Whoever has found a chord complete has so long to send its body; then another part that is told again may.
const CLAIM_KEPT: Duration = Duration::from_secs(6);
/// A part that is told again so long after finds that all is done.
const DONE_KEPT: Duration = Duration::from_secs(300);

const SERVICE: &str = "result backend";

/// The backend.
pub(crate) struct RedisResults {
    connection: Line,
    scripts: BackendScripts,
    prefix: String,
    expires: Duration,
}

/// A stored result, as far as we look into one.
#[derive(Deserialize)]
struct Known {
    status: String,
    result: Box<RawValue>,
}

impl RedisResults {
    /// Connects when it is first asked.
    pub(crate) fn new(server: &Server, settings: &Celery) -> Result<Self, StartError> {
        let connection = server
            .line()
            .map_err(|error| unusable("result_backend", settings.result_backend.as_ref(), &error))?;
        Ok(Self {
            connection,
            scripts: BackendScripts::new(),
            prefix: result_prefix(settings),
            expires: settings.result_expires,
        })
    }

    fn task(&self, id: &str) -> String {
        result_key(&self.prefix, id)
    }

    fn group(&self, id: &str, part: &str) -> String {
        format!("{}celery-taskset-meta-{id}{part}", self.prefix)
    }

    async fn stored(&self, id: &str) -> Result<Option<Known>, Trouble> {
        let mut command = redis::cmd("GET");
        command.arg(self.task(id));
        let text: Option<Vec<u8>> = command
            .query_async(&mut self.connection.clone())
            .await
            .map_err(trouble(SERVICE))?;
        if text.as_deref().is_some_and(is_tensors) {
            return Ok(Some(Known {
                status: "SUCCESS".into(),
                // Nothing of ours follows a task.
                result: RawValue::NULL.to_owned(),
            }));
        }
        // What cannot be read is not ours to trust: it counts as nothing, and is written over.
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    async fn tell_part(&self, head: &Head, group: &str, status: &Status) -> RedisResult<Vec<String>> {
        let state = status.name();
        let id = json!(head.id);
        let member = format!("[1, {id}, \"{state}\", {}]", status.result());
        let (name, place) = match head.group_index {
            Some(index) => (format!("{}:{index}", head.id), index.to_string()),
            None => (format!("{}:+inf", head.id), "+inf".into()),
        };
        let mut call = self.scripts.chord_part.prepare_invoke();
        for part in [".j", ".t", ".s", ".d", ".c"] {
            call.key(self.group(group, part));
        }
        call.arg(name)
            .arg(member)
            .arg(place)
            .arg(CHORD_KEPT.as_secs())
            .arg(CLAIM_KEPT.as_secs())
            .arg(uuid::Uuid::now_v7().simple().to_string());
        call.invoke_async(&mut self.connection.clone()).await
    }
}

#[async_trait]
impl Results for RedisResults {
    async fn store(&self, meta: &Meta<'_>) -> Result<(), Trouble> {
        let key = self.task(&meta.head.id);
        // A server of ours has one channel for all of its results.
        let channel = match &meta.head.reply_to {
            Some(name) if meta.head.is_ours => reply_channel(&self.prefix, name),
            _ => key.clone(),
        };
        let call = self
            .scripts
            .store
            .key(key)
            .arg(meta.bytes())
            .arg(self.expires.as_secs())
            .arg(channel)
            .invoke_async::<Value>(&mut self.connection.clone())
            .await;
        call.map(drop).map_err(trouble(SERVICE))
    }

    async fn success(&self, id: &str) -> Result<Option<Stored>, Trouble> {
        let stored = self.stored(id).await?;
        let success = stored.filter(|known| known.status == "SUCCESS");
        Ok(success.map(|known| Stored { result: known.result }))
    }

    async fn is_settled(&self, id: &str) -> Result<bool, Trouble> {
        let stored = self.stored(id).await?;
        Ok(stored.is_some_and(|known| {
            !matches!(
                known.status.as_str(),
                "PENDING" | "RECEIVED" | "RETRY" | "REJECTED"
            )
        }))
    }

    async fn chord_size(&self, size: &ChordSize) -> Result<(), Trouble> {
        let mut pipe = redis::pipe();
        pipe.cmd("DEL").arg(self.group(&size.group, ".c")).ignore();
        pipe.cmd("SET")
            .arg(self.group(&size.group, ".s"))
            .arg(size.size)
            .arg("EX")
            .arg(CHORD_KEPT.as_secs())
            .ignore();
        let done: RedisResult<()> = pipe.query_async(&mut self.connection.clone()).await;
        done.map_err(trouble(SERVICE))
    }

    async fn chord_part(&self, head: &Head, group: &str, status: &Status) -> Result<ChordStep, Trouble> {
        let mut told = self
            .tell_part(head, group, status)
            .await
            .map_err(trouble(SERVICE))?;
        let is_complete = told.first().is_some_and(|first| first == "1");
        Ok(match is_complete {
            true => ChordStep::Complete(told.split_off(1)),
            false => ChordStep::Wait,
        })
    }

    async fn chord_done(&self, group: &str) -> Result<(), Trouble> {
        let mut drop_all = redis::cmd("DEL");
        for part in [".j", ".t", ".s", ".d"] {
            drop_all.arg(self.group(group, part));
        }
        let mut pipe = redis::pipe();
        pipe.cmd("SET")
            .arg(self.group(group, ".c"))
            .arg("done")
            .arg("EX")
            .arg(DONE_KEPT.as_secs())
            .ignore();
        pipe.add_command(drop_all).ignore();
        let done: RedisResult<()> = pipe.query_async(&mut self.connection.clone()).await;
        done.map_err(trouble(SERVICE))
    }
}
