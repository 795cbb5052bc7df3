//! Redis as the result backend of the workers: a key for each task, which is also the channel on which it is told.
//!
//! Servers of ours tell all results on one channel instead, which is listened to once; a result that has been taken is kept for a moment more.
//!
//! One connection listens for all tasks. It asks for a task's channel before the task is sent, so that nothing is missed; when it is
//! lost, whatever may have been said meanwhile is in the keys.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cresset_celery::{Told, read_published, read_stored};
use cresset_config::{Celery, ServiceUrl};
use futures_util::StreamExt as _;
use redis::aio::PubSubSink;
use redis::{RedisResult, Value};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answers::{Answers, Desk, Expected};
use crate::insist::Waits;
use crate::options::StartError;
use crate::redis::{
    ANSWER_TIMEOUT, Line, Server, late, reply_channel, result_key, result_prefix, trouble, unusable,
};
use crate::transport::Trouble;

const SERVICE: &str = "result backend";
/// Channels asked for and left that wait to be told; whoever asks waits.
const ORDERS_MAX: usize = 1024;
/// Channels or keys in one command.
const CHUNK: usize = 500;
/// A result of ours that has been taken stays so many seconds: until then its end is in the store.
const TAKEN_KEPT_SECONDS: u64 = 60;
/// A connection that lasted so long was a good one: the next try comes soon.
const GOOD: Duration = Duration::from_secs(10);

/// What the connection is to do.
enum Order {
    Hear(String, oneshot::Sender<()>),
    Leave(String),
}

/// The backend.
pub(super) struct RedisAnswers {
    ear: Arc<Ear>,
    orders: mpsc::Sender<Order>,
}

/// What listens.
struct Ear {
    server: Server,
    connection: Line,
    prefix: String,
    /// Our channel, where there is one for all results.
    inbox: Option<String>,
    desk: Arc<Desk>,
    /// Why nothing is heard now, if so.
    deaf: watch::Sender<Option<String>>,
    /// The connection is not to be trusted any more.
    renew: Notify,
}

impl RedisAnswers {
    /// Listens in the background; `tracker` owns that, until `leave`. `inbox`: by which name servers of ours tell us all results.
    pub(super) fn new(
        url: &ServiceUrl,
        settings: &Celery,
        inbox: Option<&str>,
        tracker: &TaskTracker,
        leave: CancellationToken,
    ) -> Result<Self, StartError> {
        let server = Server::open("result_backend", url, settings, tracker, &leave)?;
        let connection = server
            .line()
            .map_err(|error| unusable("result_backend", Some(url), &error))?;
        let prefix = result_prefix(settings);
        let ear = Arc::new(Ear {
            server,
            connection,
            inbox: inbox.map(|name| reply_channel(&prefix, name)),
            prefix,
            desk: Arc::default(),
            deaf: watch::Sender::new(Some("not connected yet".into())),
            renew: Notify::new(),
        });
        let (orders, given) = mpsc::channel(ORDERS_MAX);
        tracker.spawn(Arc::clone(&ear).run(given, leave));
        Ok(Self { ear, orders })
    }

    fn deaf(&self) -> Option<Trouble> {
        self.ear.deaf.borrow().clone().map(said)
    }
}

fn said(why: String) -> Trouble {
    Trouble {
        service: SERVICE,
        why,
    }
}

#[async_trait]
impl Answers for RedisAnswers {
    async fn check(&self) -> Result<(), Trouble> {
        let asked = redis::cmd("PING")
            .query_async::<Value>(&mut self.ear.connection.clone())
            .await;
        if let Err(error) = asked {
            // The one that listens has been told nothing of it, perhaps.
            self.ear.renew.notify_one();
            return Err(trouble(SERVICE)(error));
        }
        self.deaf().map_or(Ok(()), Err)
    }

    async fn expect(&self, id: &str) -> Result<Expected, Trouble> {
        if let Some(trouble) = self.deaf() {
            return Err(trouble);
        }
        let orders = self.orders.clone();
        let expected = self.ear.desk.wait(id, move |id| {
            // When there is no room the channel is left as soon as something is said on it.
            let _ = orders.try_send(Order::Leave(id.to_owned()));
        });
        if self.ear.inbox.is_some() {
            // It is listened to already; what is lost with the connection is looked for with the next one.
            return Ok(expected);
        }
        let (done, heard) = oneshot::channel();
        let asked = async {
            // An error means that the connection was lost, or that all of it has ended.
            self.orders.send(Order::Hear(id.to_owned(), done)).await.ok()?;
            heard.await.ok()
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Some(())) => Ok(expected),
            Ok(None) | Err(_) => Err(said("the connection that listens for results was lost".into())),
        }
    }

    async fn stored(&self, id: &str) -> Result<Option<Told>, Trouble> {
        let mut get = redis::cmd("GET");
        get.arg(result_key(&self.ear.prefix, id));
        let bytes: Option<Vec<u8>> = get
            .query_async(&mut self.ear.connection.clone())
            .await
            .map_err(trouble(SERVICE))?;
        Ok(bytes.as_deref().map(read_stored).filter(Told::is_end))
    }

    async fn forget(&self, id: &str) -> Result<(), Trouble> {
        let mut del = redis::cmd("DEL");
        del.arg(result_key(&self.ear.prefix, id));
        let done = del.query_async::<Value>(&mut self.ear.connection.clone()).await;
        done.map(drop).map_err(trouble(SERVICE))
    }

    fn moves(&self) -> Option<watch::Receiver<u64>> {
        Some(self.ear.server.moves())
    }

    fn reply_to(&self) -> Option<&str> {
        None
    }
}

impl Ear {
    fn keys(&self, ids: &[String]) -> Vec<String> {
        ids.iter().map(|id| result_key(&self.prefix, id)).collect()
    }

    /// Listens, over a new connection when one is lost.
    async fn run(self: Arc<Self>, mut orders: mpsc::Receiver<Order>, leave: CancellationToken) {
        let mut waits = Waits::new();
        loop {
            let began = Instant::now();
            let why = tokio::select! {
                heard = self.listen(&mut orders) => match heard {
                    Ok(()) => "the connection that listens for results was closed".to_owned(),
                    Err(error) => error.to_string(),
                },
                () = leave.cancelled() => return,
            };
            tracing::debug!(why, "connection that listens for results lost");
            self.deaf.send_replace(Some(why));
            if began.elapsed() > GOOD {
                waits = Waits::new();
            }
            tokio::select! {
                () = tokio::time::sleep(waits.next()) => {}
                () = leave.cancelled() => return,
            }
        }
    }

    async fn listen(&self, orders: &mut mpsc::Receiver<Order>) -> RedisResult<()> {
        let (listening, mut tenure) = self.server.listen().await?;
        let (mut sink, mut heard) = listening.split();
        if let Some(inbox) = &self.inbox {
            hear(&mut sink, std::slice::from_ref(inbox)).await?;
        }
        for some in self.desk.ids().chunks(CHUNK) {
            if self.inbox.is_none() {
                hear(&mut sink, &self.keys(some)).await?;
            }
            self.catch_up(some).await?;
        }
        self.server.look(&self.connection).await;
        self.deaf.send_replace(None);
        let mut given = Vec::with_capacity(CHUNK);
        loop {
            tokio::select! {
                message = heard.next() => match message {
                    Some(message) => self.deliver(&message),
                    None => return Ok(()),
                },
                count = orders.recv_many(&mut given, CHUNK) => match count {
                    0 => return Ok(()),
                    _ => self.obey(&mut sink, &mut given).await?,
                },
                () = self.renew.notified() => return Ok(()),
                () = tenure.over() => return Ok(()),
            }
        }
    }

    /// What was said while nobody listened.
    async fn catch_up(&self, ids: &[String]) -> RedisResult<()> {
        let mut get = redis::cmd("MGET");
        get.arg(self.keys(ids));
        let stored: Vec<Option<Vec<u8>>> = get.query_async(&mut self.connection.clone()).await?;
        for (id, bytes) in ids.iter().zip(stored) {
            if let Some(bytes) = bytes {
                // Whoever has left meanwhile does not want it.
                let _ = self.desk.tell(id, read_stored(&bytes));
            }
        }
        Ok(())
    }

    fn deliver(&self, message: &redis::Msg) {
        if self.inbox.is_some() {
            if let (Some(id), told) = read_published(message.get_payload_bytes()) {
                // Whoever has left does not want it.
                let _ = self.desk.tell(&id, told);
            }
            return;
        }
        let channel = message.get_channel_name();
        if let Some(id) = channel.strip_prefix(&result_key(&self.prefix, "")) {
            // Whoever has left does not want it.
            let _ = self.desk.tell(id, read_stored(message.get_payload_bytes()));
        }
    }

    async fn obey(&self, sink: &mut PubSubSink, given: &mut Vec<Order>) -> RedisResult<()> {
        let (mut wanted, mut left, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for order in given.drain(..) {
            match order {
                Order::Hear(id, done) => {
                    wanted.push(id);
                    asked.push(done);
                }
                Order::Leave(id) if self.desk.knows(&id) => {}
                Order::Leave(id) => left.push(id),
            }
        }
        if self.inbox.is_some() {
            return self.keep_briefly(&left).await;
        }
        if !left.is_empty() {
            let done = tokio::time::timeout(ANSWER_TIMEOUT, sink.unsubscribe(self.keys(&left)));
            done.await.map_err(late)??;
        }
        if !wanted.is_empty() {
            hear(sink, &self.keys(&wanted)).await?;
        }
        for done in asked {
            // Whoever has left does not want to know.
            let _ = done.send(());
        }
        Ok(())
    }
}

/// Results that have been taken.
impl Ear {
    async fn keep_briefly(&self, ids: &[String]) -> RedisResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        for key in self.keys(ids) {
            pipe.cmd("EXPIRE").arg(key).arg(TAKEN_KEPT_SECONDS).ignore();
        }
        pipe.query_async(&mut self.connection.clone()).await
    }
}

async fn hear(sink: &mut PubSubSink, channels: &[String]) -> RedisResult<()> {
    let done = tokio::time::timeout(ANSWER_TIMEOUT, sink.subscribe(channels));
    done.await.map_err(late)?
}
