//! Connections: made when they are needed, made again when they are lost. To one server, or to whichever is the master of its sentinels.

use std::sync::Arc;
use std::time::Duration;

use cresset_config::{Celery, ServiceUrl};
use futures_util::FutureExt as _;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult,
    ServerErrorKind, Value,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::{Address, read};
use super::lives::{Lives, life};
use super::sentinel::{Master, Sentinels, Tenure, lost};
use crate::options::StartError;
use crate::transport::Trouble;

/// A server that does not take a connection by then is not there.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A server that does not answer by then is not well. A script over a large batch takes milliseconds.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Whoever asks tries again by itself.
const RECONNECTS: usize = 1;

/// Where a Redis is.
#[derive(Clone)]
pub(crate) enum Server {
    /// Here.
    One(Box<Client>, Arc<Lives>),
    /// Where sentinels say.
    Watched(Arc<Sentinels>),
}

impl Server {
    /// The server of this address. Connects when it is first asked; `house` owns what looks for another one, until `leave`.
    pub(crate) fn open(
        setting: &'static str,
        url: &ServiceUrl,
        settings: &Celery,
        house: &TaskTracker,
        leave: &CancellationToken,
    ) -> Result<Self, StartError> {
        Ok(match read(setting, url, settings.master_name.as_deref())? {
            Address::One(client) => Self::One(client, Arc::default()),
            Address::Watched(watched) => {
                let sentinels = Arc::new(Sentinels::new(*watched));
                house.spawn(Arc::clone(&sentinels).watch(leave.clone()));
                Self::Watched(sentinels)
            }
        })
    }

    /// What commands go by. Connects with the first one.
    pub(crate) fn line(&self) -> RedisResult<Line> {
        Ok(match self {
            Self::One(client, _) => {
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(RECONNECTS)
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(ANSWER_TIMEOUT));
                Line::One(ConnectionManager::new_lazy_with_config(
                    (**client).clone(),
                    config,
                )?)
            }
            Self::Watched(sentinels) => Line::Watched(Arc::clone(sentinels)),
        })
    }

    /// A connection that listens; and for how long it is worth listening to.
    pub(crate) async fn listen(&self) -> RedisResult<(PubSub, Tenure)> {
        self.connect(async |client: &Client| {
            let connecting = timeout(CONNECT_TIMEOUT, client.get_async_pubsub());
            connecting.await.map_err(late)?
        })
        .await
    }

    /// A connection whose commands may take so long; and for how long it is worth waiting.
    pub(crate) async fn patient(&self, longest: Duration) -> RedisResult<(MultiplexedConnection, Tenure)> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(longest));
        self.connect(async |client: &Client| {
            client.get_multiplexed_async_connection_with_config(&config).await
        })
        .await
    }

    async fn connect<T>(
        &self,
        connect: impl AsyncFnOnce(&Client) -> RedisResult<T>,
    ) -> RedisResult<(T, Tenure)> {
        match self {
            Self::One(client, _) => Ok((connect(client).await?, Tenure::for_ever())),
            Self::Watched(sentinels) => {
                let master = sentinels.confirmed().await?;
                let tenure = sentinels.tenure(&master);
                let connected = connect(&master.client).await;
                if connected.is_err() {
                    sentinels.leave(&master);
                }
                Ok((connected?, tenure))
            }
        }
    }

    pub(crate) fn db(&self) -> i64 {
        match self {
            Self::One(client, _) => client.get_connection_info().redis_settings().db(),
            Self::Watched(sentinels) => sentinels.db(),
        }
    }

    /// Its place, for people.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::One(client, _) => client.get_connection_info().addr().to_string(),
            Self::Watched(sentinels) => sentinels.place(),
        }
    }

    /// Counts how often what it had may have been lost without its having been away: where sentinels are not asked, as often as somebody has
    /// looked ([`Self::look`]).
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        match self {
            Self::One(_, lives) => lives.moves(),
            Self::Watched(sentinels) => sentinels.moves(),
        }
    }

    /// A connection was lost and made again: looks whether it leads to the server that it led to before. Sentinels' masters are looked at
    /// whenever they are found.
    pub(crate) async fn look(&self, line: &Line) {
        if let Self::One(_, lives) = self
            && lives.meet(self.place(), life(&mut line.clone()).await)
        {
            tracing::warn!(
                at = self.place(),
                "redis is another one than before; what it had may be lost"
            );
        }
    }
}

/// What commands go by.
#[derive(Clone)]
pub(crate) enum Line {
    One(ConnectionManager),
    Watched(Arc<Sentinels>),
}

impl Line {
    /// Has the master do it, and leaves it where it turns out to be none, or is not there.
    async fn command<T>(
        sentinels: &Sentinels,
        act: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
        is_refused: impl FnOnce(&T) -> bool,
    ) -> RedisResult<T> {
        let master: Arc<Master> = sentinels.master().await?;
        let mut tenure = sentinels.tenure(&master);
        let done = tokio::select! {
            biased;
            done = act(master.connection.clone()) => done,
            () = tenure.over() => Err(lost("another server is the master now")),
        };
        let is_lost = match &done {
            Ok(done) => is_refused(done),
            Err(error) => error.is_io_error() || error.is_unrecoverable_error() || is_demoted(error),
        };
        if is_lost {
            sentinels.leave(&master);
        }
        done
    }
}

/// A replica says so when it is to write.
fn is_demoted(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) || error.code() == Some(UNBLOCKED)
}

/// What a master says to those that wait at it when it becomes a replica.
const UNBLOCKED: &str = "UNBLOCKED";
const READ_ONLY: &str = "READONLY";

fn is_refusal(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == READ_ONLY)
}

impl ConnectionLike for Line {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(manager) => manager.req_packed_command(command),
            Self::Watched(sentinels) => {
                let act = async |mut connection: MultiplexedConnection| {
                    connection.req_packed_command(command).await
                };
                Self::command(sentinels, act, is_refusal).boxed()
            }
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(manager) => manager.req_packed_commands(pipeline, offset, count),
            Self::Watched(sentinels) => {
                let act = async move |mut connection: MultiplexedConnection| {
                    connection.req_packed_commands(pipeline, offset, count).await
                };
                Self::command(sentinels, act, |values: &Vec<Value>| {
                    values.iter().any(is_refusal)
                })
                .boxed()
            }
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(manager) => manager.get_db(),
            Self::Watched(sentinels) => sentinels.db(),
        }
    }
}

/// Nothing came in time.
pub(crate) fn late(_: tokio::time::error::Elapsed) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()
}

/// An error of the broker's or the backend's.
pub(crate) fn trouble(service: &'static str) -> impl Fn(RedisError) -> Trouble {
    move |error| {
        let is_cluster = matches!(
            error.kind(),
            ErrorKind::Server(
                ServerErrorKind::Moved | ServerErrorKind::CrossSlot | ServerErrorKind::ClusterDown
            )
        );
        let cluster = match is_cluster {
            true => {
                " (this is a node of a Redis Cluster, which is not spoken to: name one server, or sentinel://)"
            }
            false => "",
        };
        Trouble {
            service,
            why: format!("{error}{cluster}"),
        }
    }
}

/// An address that looked like one and is none.
pub(crate) fn unusable(setting: &'static str, url: Option<&ServiceUrl>, error: &RedisError) -> StartError {
    StartError::Url {
        setting,
        url: url.map(ToString::to_string).unwrap_or_default(),
        why: error.to_string(),
    }
}
