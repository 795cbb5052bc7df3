//! A master that sentinels watch: who it is now, one connection to it that all commands share, and that it has moved.
//!
//! Whoever needs a connection has the sentinels asked in turn, and whoever is named is asked itself whether it is a master: a sentinel that
//! was away may name the one before. The connection ends when it is lost, when its server says that it is a replica, or when the sentinels
//! name another one, which is looked for each second: a master that hangs says nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, Role};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::address::Watched;
use super::connect::ANSWER_TIMEOUT;
use super::lives::{Lives, life};

/// A sentinel that has not answered by then is passed over.
const SENTINEL_PATIENCE: Duration = Duration::from_secs(1);
/// Who is named has so long to say that it is the master.
const MASTER_PATIENCE: Duration = Duration::from_secs(2);
/// Whoever waits for a master is told so long after that there is none; the sentinels that are left are asked first the next time.
const FIND_PATIENCE: Duration = Duration::from_secs(6);
/// The sentinels are asked so often whether it is still the same.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Place = (String, u16);

/// The master.
pub(crate) struct Sentinels {
    watched: Watched,
    asking: tokio::sync::Mutex<Asking>,
    current: watch::Sender<Option<Arc<Master>>>,
    lives: Lives,
    /// When somebody last looked for it in vain, and what was said.
    failed: Mutex<Option<(Instant, RedisError)>>,
}

/// What one look for the master leaves for the next.
struct Asking {
    /// The sentinels, whoever answered last first.
    order: Vec<usize>,
    /// To the one that answered last.
    line: Option<(usize, MultiplexedConnection)>,
    masters: u64,
}

/// A server that has said that it is the master.
pub(super) struct Master {
    /// No two have the same.
    number: u64,
    place: Place,
    pub(super) client: Client,
    pub(super) connection: MultiplexedConnection,
}

/// For how long a server is the one that commands go to.
pub(crate) struct Tenure(Option<(u64, watch::Receiver<Option<Arc<Master>>>)>);

impl Tenure {
    /// Of a server that nobody replaces.
    pub(super) fn for_ever() -> Self {
        Self(None)
    }

    /// Returns when it is that no more.
    pub(crate) async fn over(&mut self) {
        let Some((number, current)) = &mut self.0 else {
            return std::future::pending().await;
        };
        let is_over = |now: &Option<Arc<Master>>| now.as_ref().is_none_or(|now| now.number != *number);
        if current.wait_for(is_over).await.is_err() {
            // Whoever asks has outlived what it asks about.
            std::future::pending::<()>().await;
        }
    }
}

/// An error that ends a connection.
pub(super) fn lost(why: &'static str) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::ConnectionAborted, why).into()
}

impl Sentinels {
    pub(super) fn new(watched: Watched) -> Self {
        Self {
            asking: tokio::sync::Mutex::new(Asking {
                order: (0..watched.sentinels.len()).collect(),
                line: None,
                masters: 0,
            }),
            watched,
            current: watch::Sender::new(None),
            lives: Lives::default(),
            failed: Mutex::default(),
        }
    }

    pub(super) fn db(&self) -> i64 {
        self.watched.db()
    }

    /// Where it is, as far as is known; else the first sentinel.
    pub(super) fn place(&self) -> String {
        match self.now() {
            Some(master) => format!("{}:{}", master.place.0, master.place.1),
            None => self
                .watched
                .sentinels
                .first()
                .map(|one| one.name.clone())
                .unwrap_or_default(),
        }
    }

    /// How often another server took the place of the master, or the same one began anew: what the one before had not passed on may be lost.
    pub(super) fn moves(&self) -> watch::Receiver<u64> {
        self.lives.moves()
    }

    pub(super) fn tenure(&self, master: &Master) -> Tenure {
        Tenure(Some((master.number, self.current.subscribe())))
    }

    fn now(&self) -> Option<Arc<Master>> {
        self.current.borrow().clone()
    }

    /// The connection to it is of no use any more.
    pub(super) fn leave(&self, master: &Master) {
        self.current.send_if_modified(|now| {
            let is_it = now.as_ref().is_some_and(|now| now.number == master.number);
            if is_it {
                *now = None;
            }
            is_it
        });
    }

    /// The master, for a command.
    pub(super) async fn master(&self) -> RedisResult<Arc<Master>> {
        if let Some(master) = self.now() {
            return Ok(master);
        }
        let since = Instant::now();
        let mut asking = self.asking.lock().await;
        self.found(&mut asking, since).await
    }

    /// The master, for a connection of its own: it is asked for even when it is known.
    pub(super) async fn confirmed(&self) -> RedisResult<Arc<Master>> {
        let since = Instant::now();
        let mut asking = self.asking.lock().await;
        if let Some(known) = self.now() {
            // While no sentinel answers its own word is enough.
            let is_named = self
                .named(&mut asking)
                .await
                .is_none_or(|place| place == known.place);
            if is_named && is_master(&known.connection).await.is_ok() {
                return Ok(known);
            }
            self.leave(&known);
        }
        self.found(&mut asking, since).await
    }

    /// Looks each second whether another one is named, until `leave`.
    pub(super) async fn watch(self: Arc<Self>, leave: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = leave.cancelled() => return,
            }
            let Some(known) = self.now() else {
                // Whoever needs it looks for it.
                continue;
            };
            tokio::select! {
                () = self.look(&known) => {}
                () = leave.cancelled() => return,
            }
        }
    }

    async fn look(&self, known: &Master) {
        let mut asking = self.asking.lock().await;
        if self
            .named(&mut asking)
            .await
            .is_some_and(|place| place != known.place)
            && let Err(error) = self.find(&mut asking, Some(&known.place)).await
        {
            tracing::debug!(error = %error, "another master is named, and is none yet");
        }
    }

    /// Looks for it, unless somebody has just done so.
    async fn found(&self, asking: &mut Asking, since: Instant) -> RedisResult<Arc<Master>> {
        if let Some(master) = self.now() {
            return Ok(master);
        }
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, error)) = failed().as_ref().filter(|(at, _)| *at >= since) {
            return Err(error.clone());
        }
        let found = self.find(asking, None).await;
        if let Err(error) = &found {
            *failed() = Some((Instant::now(), error.clone()));
        }
        found
    }

    /// Whom the first sentinel that answers names.
    async fn named(&self, asking: &mut Asking) -> Option<Place> {
        for at in 0..asking.order.len() {
            if let Ok(place) = self.ask(asking, at).await {
                asking.first(at);
                return Some(place);
            }
        }
        None
    }

    /// Asks the sentinels in turn until one names a server that says itself that it is the master; not this one, if one is given.
    async fn find(&self, asking: &mut Asking, not: Option<&Place>) -> RedisResult<Arc<Master>> {
        let began = Instant::now();
        let mut said = Vec::new();
        let mut met: Vec<(Place, String)> = not
            .map(|place| (place.clone(), "is known".into()))
            .into_iter()
            .collect();
        for at in 0..asking.order.len() {
            let name = asking
                .order
                .get(at)
                .and_then(|at| self.watched.sentinels.get(*at));
            let name = name.map(|one| one.name.as_str()).unwrap_or_default();
            if began.elapsed() > FIND_PATIENCE {
                said.push(format!("{name} and who comes after it were not asked in time"));
                asking.order.rotate_left(at);
                break;
            }
            let place = match self.ask(asking, at).await {
                Ok(place) => place,
                Err(why) => {
                    said.push(format!("{name} {why}"));
                    continue;
                }
            };
            if let Some((_, why)) = met.iter().find(|(other, _)| *other == place) {
                said.push(format!("{name} names {}:{}, which {why}", place.0, place.1));
                continue;
            }
            match self.meet(&place).await {
                Ok((client, connection)) => {
                    asking.first(at);
                    return Ok(self.take(asking, place, client, connection).await);
                }
                Err(why) => {
                    said.push(format!("{name} names {}:{}, which {why}", place.0, place.1));
                    met.push((place, why));
                }
            }
        }
        let master = &self.watched.master;
        let why = format!(
            "no master `{master}` of Redis Sentinel can be used: {}",
            said.join("; ")
        );
        Err(std::io::Error::new(std::io::ErrorKind::NotConnected, why).into())
    }

    /// Whom a sentinel names, by its place in the order; or what it says instead.
    async fn ask(&self, asking: &mut Asking, at: usize) -> Result<Place, String> {
        let which = asking.order.get(at).copied().ok_or("is not there")?;
        let sentinel = self.watched.sentinels.get(which).ok_or("is not there")?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(&self.watched.master);
        if let Some((_, mut line)) = asking.line.take_if(|(known, _)| *known == which)
            && let Ok(named) = ask.query_async::<Option<Place>>(&mut line).await
        {
            asking.line = Some((which, line));
            return named.ok_or_else(|| self.unknown());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(SENTINEL_PATIENCE))
            .set_response_timeout(Some(SENTINEL_PATIENCE));
        let asked = async {
            let mut line = sentinel
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let named = ask.query_async::<Option<Place>>(&mut line).await?;
            Ok::<_, RedisError>((line, named))
        };
        match timeout(SENTINEL_PATIENCE, asked).await {
            Ok(Ok((line, named))) => {
                asking.line = Some((which, line));
                named.ok_or_else(|| self.unknown())
            }
            Ok(Err(error)) => Err(format!("says: {error}")),
            Err(_) => Err(format!("says nothing within {SENTINEL_PATIENCE:?}")),
        }
    }

    fn unknown(&self) -> String {
        format!("watches no master `{}`", self.watched.master)
    }

    /// A connection to a server that says that it is a master; or why there is none.
    async fn meet(&self, (host, port): &Place) -> Result<(Client, MultiplexedConnection), String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(MASTER_PATIENCE))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let client = self
            .watched
            .client(host, *port)
            .map_err(|error| format!("is no address ({error})"))?;
        let met = async {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await;
            let connection = connection.map_err(|error| format!("cannot be reached: {error}"))?;
            is_master(&connection).await?;
            Ok(connection)
        };
        let met = timeout(MASTER_PATIENCE, met).await;
        let connection =
            met.unwrap_or_else(|_| Err(format!("does not answer within {MASTER_PATIENCE:?}")))?;
        Ok((client, connection))
    }

    /// It is the one that commands go to from now on.
    async fn take(
        &self,
        asking: &mut Asking,
        place: Place,
        client: Client,
        mut connection: MultiplexedConnection,
    ) -> Arc<Master> {
        let life = life(&mut connection).await;
        asking.masters += 1;
        let name = format!("{}:{}", place.0, place.1);
        let master = Arc::new(Master {
            number: asking.masters,
            place,
            client,
            connection,
        });
        // Whoever uses the one before stops first: nothing is sent to it by those who hear that it was replaced.
        self.current.send_replace(Some(Arc::clone(&master)));
        if self.lives.meet(name.clone(), life) {
            tracing::warn!(
                master = self.watched.master,
                at = name,
                "another server is the master, or the same one began anew; what the one before had not passed on may be lost"
            );
        } else {
            tracing::info!(
                master = self.watched.master,
                at = name,
                "sentinels name the master"
            );
        }
        master
    }
}

impl Asking {
    /// The one at this place is asked first from now on.
    fn first(&mut self, at: usize) {
        if at > 0 && at < self.order.len() {
            let one = self.order.remove(at);
            self.order.insert(0, one);
        }
    }
}

/// Whether a server says that it is a master; or what it says.
async fn is_master(connection: &MultiplexedConnection) -> Result<(), String> {
    let asked = async {
        redis::cmd("ROLE")
            .query_async::<Role>(&mut connection.clone())
            .await
    };
    match timeout(MASTER_PATIENCE, asked).await {
        Ok(Ok(Role::Primary { .. })) => Ok(()),
        Ok(Ok(Role::Replica {
            primary_ip,
            primary_port,
            ..
        })) => Err(format!("is a replica of {primary_ip}:{primary_port}")),
        Ok(Ok(_)) => Err("is no server of Redis, but a sentinel".into()),
        Ok(Err(error)) => Err(format!("does not say that it is a master: {error}")),
        Err(_) => Err(format!("does not answer within {MASTER_PATIENCE:?}")),
    }
}

#[cfg(test)]
mod tests;
