//! Keeps one epoch after the other: connects, says what came of it, and connects again when that is lost, ever more slowly while it
//! fails.

use std::sync::Arc;
use std::time::Duration;

use async_rs::Runtime;
use lapin::options::BasicQosOptions;
use lapin::types::LongString;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, Error, ExchangeKind, Result};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::consume::Consumers;
use super::guard::Cord;
use super::live::Live;
use super::publish::{SERVICE, trouble};
use super::topology::{self, QueueForm};
use super::wire::{self, Kit};
use super::{post, settle};
use crate::insist::Waits;
use crate::transport::Trouble;

/// A broker that has not let us in by then is tried again.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection that lasted so long was a good one: the next try comes soon.
const GOOD: Duration = Duration::from_secs(10);
/// Events.
pub(super) const EVENTS: &str = "celeryev";

/// How it stands with the broker.
#[derive(Clone)]
enum State {
    /// Nothing is known yet.
    Starting,
    Live(Arc<Live>),
    /// Why not.
    Lost(String),
}

/// The way to the broker.
pub(super) struct Link {
    pub(super) address: Address,
    pub(super) consumers: Consumers,
    pub(super) form: QueueForm,
    node: String,
    tls: Option<TlsConnector>,
    state: watch::Sender<State>,
}

impl Link {
    pub(super) fn new(
        address: Address,
        tls: Option<TlsConnector>,
        consumers: Consumers,
        form: QueueForm,
        node: String,
    ) -> Self {
        Self {
            address,
            consumers,
            form,
            node,
            tls,
            state: watch::Sender::new(State::Starting),
        }
    }

    /// The epoch that we are in. At the start it is waited for; later, when there is none, that is said at once.
    pub(super) async fn live(&self) -> std::result::Result<Arc<Live>, Trouble> {
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Starting)).await;
        match known.as_deref() {
            Ok(State::Live(live)) => Ok(Arc::clone(live)),
            Ok(State::Lost(why)) => Err(not_there(why.clone())),
            Ok(State::Starting) | Err(_) => Err(not_there("not connected yet".into())),
        }
    }

    /// The same, without waiting.
    pub(super) fn now(&self) -> Option<Arc<Live>> {
        match &*self.state.borrow() {
            State::Live(live) => Some(Arc::clone(live)),
            State::Starting | State::Lost(_) => None,
        }
    }

    /// Returns when something has come, or the epoch is another one.
    pub(super) async fn arrival(&self) {
        let mut state = self.state.subscribe();
        tokio::select! {
            () = self.consumers.inbox.came.notified() => {}
            // The sender is ours: it is there as long as we are.
            _ = state.changed() => {}
        }
    }

    /// Keeps the connection until `leave`. From `closing` on nothing more is taken.
    pub(super) async fn run(self: Arc<Self>, closing: CancellationToken, leave: CancellationToken) {
        let mut waits = Waits::new();
        for epoch in 1.. {
            let began = Instant::now();
            let opened = tokio::select! {
                opened = self.open(epoch) => opened,
                // Nothing is held that would have to be acknowledged.
                () = closing.cancelled(), if matches!(*self.state.borrow(), State::Starting) => Err("stopping".into()),
                () = leave.cancelled() => Err("stopping".into()),
            };
            let why = match opened {
                Ok(live) => {
                    tracing::debug!(epoch, host = self.address.host(), "connected to the broker");
                    self.stay(&live, &closing, &leave).await;
                    if began.elapsed() > GOOD {
                        waits = Waits::new();
                    }
                    live.why()
                }
                Err(why) => why,
            };
            self.state.send_replace(State::Lost(why));
            self.consumers.inbox.clear();
            tokio::select! {
                () = tokio::time::sleep(waits.next()) => {}
                () = leave.cancelled() => return,
            }
        }
    }

    /// Until the epoch ends.
    async fn stay(&self, live: &Arc<Live>, closing: &CancellationToken, leave: &CancellationToken) {
        self.state.send_replace(State::Live(Arc::clone(live)));
        let consume = async {
            closing.cancelled().await;
            self.consumers.end(live).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = consume => {}
            () = live.lost() => {}
            () = leave.cancelled() => {}
        }
        live.close().await;
    }

    async fn open(&self, epoch: u64) -> std::result::Result<Arc<Live>, String> {
        let cord = Cord::default();
        // What has been opened when the rest fails, or nobody waits any more, does not stay.
        let cut = cord.cut.clone().drop_guard();
        match tokio::time::timeout(OPEN_TIMEOUT, self.try_open(epoch, cord)).await {
            Ok(Ok(live)) => {
                cut.disarm();
                Ok(live)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it does not answer".into()),
        }
    }

    async fn try_open(&self, epoch: u64, cord: Cord) -> Result<Arc<Live>> {
        let taking = self.connect("takes tasks", &cord).await?;
        let giving = self.connect("sends", &cord).await?;
        for queue in &self.consumers.queues {
            topology::queue(&taking, queue, &self.form).await?;
            if self.form.unused_for.is_none()
                && let Err(error) = topology::bind_delayed(&taking, queue).await
            {
                tracing::warn!(queue = queue.as_str(), error = %error, "tasks that the broker delays cannot come to a queue");
            }
        }
        if let Err(error) = topology::exchange(&taking, EVENTS.into(), ExchangeKind::Topic, true).await {
            tracing::warn!(error = %error, "exchange of events cannot be declared; nobody will see any");
        }
        let channel = taking.create_channel().await?;
        // For each consumer: quorum queues know no other kind.
        let each = BasicQosOptions { global: false };
        channel.basic_qos(self.consumers.prefetch, each).await?;
        let (live, letters) = Live::new(epoch, taking, giving, channel, &self.consumers, cord);
        let live = Arc::new(live);
        self.consumers.begin(&live).await?;
        let tracker = &self.consumers.tracker;
        tracker.spawn(settle::run(Arc::clone(&live)));
        tracker.spawn(post::run(Arc::clone(&live), letters));
        Ok(live)
    }

    async fn connect(&self, what: &str, cord: &Cord) -> Result<Connection> {
        let name = LongString::from(format!("cresset {} {what}", self.node).into_bytes());
        let properties = ConnectionProperties::default().with_connection_name(name);
        let (address, tls, cord) = (self.address.clone(), self.tls.clone(), cord.clone());
        let connect = async move |_, _| {
            let stream = wire::connect(&address, tls.as_ref(), cord.clone()).await?;
            Ok::<_, Error>(AsyncTcpStream::Plain(stream))
        };
        let runtime = Runtime::new(Kit::current());
        Connection::connector(self.address.uri.clone(), runtime, connect, properties).await
    }
}

fn not_there(why: String) -> Trouble {
    Trouble {
        service: SERVICE,
        why,
    }
}

/// For what is asked of an epoch.
pub(super) trait OrTrouble<T> {
    fn or_trouble(self) -> std::result::Result<T, Trouble>;
}

impl<T> OrTrouble<T> for Result<T> {
    fn or_trouble(self) -> std::result::Result<T, Trouble> {
        self.map_err(trouble)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// The way to a broker at this port, which has not been gone yet.
    pub(in crate::amqp) fn link(port: u16) -> Link {
        let consumers = Consumers {
            queues: vec!["q".into()],
            prefetch: 1,
            inbox: Arc::default(),
            tracker: TaskTracker::new(),
        };
        let uri = format!("amqp://127.0.0.1:{port}").parse().unwrap();
        Link::new(Address { uri }, None, consumers, QueueForm::default(), "n".into())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_never_answers_is_hung_up_on() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = link(silent.local_addr().unwrap().port());
        let greeted = async {
            let (mut stream, _) = silent.accept().await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream
        };
        let mut stream = tokio::select! {
            _ = link.open(1) => panic!("nobody has answered"),
            stream = greeted => stream,
        };
        // Nobody waits for the answer any more.
        let mut heard = [0; 8];
        let ended = tokio::time::timeout(OPEN_TIMEOUT, stream.read(&mut heard));
        assert!(matches!(ended.await, Ok(Ok(0) | Err(_))), "the connection stays");
    }
}
