//! Servers on a hub in memory, and a clock that is turned by hand.

use std::sync::atomic::{AtomicBool, Ordering};

use cresset_celery::{Head, Message, Outgoing, Target};
use cresset_engine::Role;
use serde_json::Value;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use super::super::heard::GONE_AFTER;
use super::*;
use crate::held::{Held, Place};
use crate::transport::{Delivery, Receipt};

/// A broker that carries words, and nothing else.
struct Hub {
    words: broadcast::Sender<Vec<u8>>,
    /// Nothing arrives, though nobody is told so.
    mute: AtomicBool,
}

impl Hub {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            words: broadcast::Sender::new(64),
            mute: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl Transport for Hub {
    async fn fetch(&self, _: usize) -> Result<Vec<Delivery>, Trouble> {
        Ok(Vec::new())
    }

    async fn arrival(&self) {}

    async fn acknowledge(&self, _: &Receipt) -> Result<(), Trouble> {
        Ok(())
    }

    async fn give_back(&self, _: &Receipt) -> Result<(), Trouble> {
        Ok(())
    }

    async fn keep(&self, _: &[Receipt]) -> Result<(), Trouble> {
        Ok(())
    }

    async fn restore(&self) -> Result<usize, Trouble> {
        Ok(0)
    }

    async fn publish(&self, _: &[Outgoing]) -> Result<(), Trouble> {
        Ok(())
    }

    async fn waiting(&self, _: &str) -> Result<u64, Trouble> {
        Ok(0)
    }

    async fn broadcast(&self, _: &Message) -> Result<(), Trouble> {
        Ok(())
    }

    async fn check(&self) -> Result<(), Trouble> {
        Ok(())
    }

    async fn announce(&self) -> Result<(), Trouble> {
        Ok(())
    }

    async fn tell(&self, _: &str, _: &Message) -> Result<(), Trouble> {
        Ok(())
    }

    async fn reply(&self, _: &Target, _: &Message) -> Result<(), Trouble> {
        Ok(())
    }

    async fn listen(&self, _: &mpsc::Sender<Message>, _: &CancellationToken) -> Result<(), Trouble> {
        Ok(())
    }

    async fn call(&self, words: &[u8]) -> Result<(), Trouble> {
        if !self.mute.load(Ordering::Relaxed) {
            // Somebody listens, or nobody does.
            let _ = self.words.send(words.to_vec());
        }
        Ok(())
    }

    async fn overhear(
        &self,
        words: &mpsc::Sender<Vec<u8>>,
        heard: &CancellationToken,
    ) -> Result<(), Trouble> {
        let mut coming = self.words.subscribe();
        heard.cancel();
        while let Ok(word) = coming.recv().await {
            if words.send(word).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    fn describe(&self) -> Value {
        Value::Null
    }
}

/// A server that talks until it is told to stop, or is dropped without a word.
struct Server {
    told: Arc<Told>,
    holding: Arc<Holding>,
    tracker: TaskTracker,
    leave: CancellationToken,
    killed: CancellationToken,
}

impl Server {
    fn start(hub: &Arc<Hub>, host: &str) -> Self {
        let holding = Arc::new(Holding::default());
        let server = Self {
            told: Told::new(Arc::clone(hub) as Arc<dyn Transport>, Some(Arc::clone(&holding))),
            holding,
            tracker: TaskTracker::new(),
            leave: CancellationToken::new(),
            killed: CancellationToken::new(),
        };
        let about = About {
            role: Role::Worker,
            host: host.into(),
            models: [(model(), Default::default())].into(),
            ..About::default()
        };
        server.told.introduce(about, true);
        let (run, killed) = (
            Arc::clone(&server.told).run(server.leave.clone()),
            server.killed.clone(),
        );
        server.tracker.spawn(async move {
            tokio::select! {
                () = run => {}
                () = killed.cancelled() => {}
            }
        });
        server.tracker.close();
        server
    }

    fn hosts(&self) -> Vec<String> {
        let members = self.told.members(false).into_iter();
        members.map(|member| member.about.host).collect()
    }

    /// Waits until these are there, and says how long that took.
    async fn sees(&self, hosts: &[&str]) -> Duration {
        let began = Instant::now();
        while self.hosts() != hosts {
            self.told.changed().await;
        }
        began.elapsed()
    }
}

fn model() -> ModelName {
    "m".parse().unwrap()
}

/// Something that is held, until it is dropped.
fn held(server: &Server, id: &str) -> (Arc<Held>, Place) {
    let held = Arc::new(Held::default());
    let receipt = Receipt {
        epoch: 0,
        tag: "t".into(),
        place: 0,
    };
    let place = held.add(receipt, "q".into());
    place.is(&Arc::new(Head {
        id: id.into(),
        ..Head::default()
    }));
    server.holding.add(&held);
    (held, place)
}

#[tokio::test(start_paused = true)]
async fn who_seeks_a_task_is_told_who_has_it_by_everybody_who_may() {
    let hub = Hub::new();
    let (first, second, third) = (
        Server::start(&hub, "a"),
        Server::start(&hub, "b"),
        Server::start(&hub, "c"),
    );
    first.sees(&["a", "b", "c"]).await;
    let _one = held(&second, "1");
    let two = held(&third, "2");
    let ids = ["1".to_owned(), "2".into(), "3".into()];
    let found = first.told.who_has(&model(), &ids).await.unwrap();
    assert_eq!(found, ["1".to_owned(), "2".into()].into());
    drop(two);
    let found = first.told.who_has(&model(), &ids).await.unwrap();
    assert_eq!(found, ["1".to_owned()].into(), "the other door has closed");
    assert_eq!(
        first.told.who_has(&"other".parse().unwrap(), &ids).await,
        Some(HashSet::new()),
        "nobody runs it"
    );
    third.killed.cancel();
    third.tracker.wait().await;
    assert_eq!(first.told.who_has(&model(), &ids).await, None, "it may have one");
    first.sees(&["a", "b"]).await;
    assert!(first.told.who_has(&model(), &ids).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn who_comes_is_told_at_once_who_is_there_and_who_goes_says_so() {
    let hub = Hub::new();
    let first = Server::start(&hub, "a");
    first.told.settled().await;
    let second = Server::start(&hub, "b");
    second.told.settled().await;
    assert_eq!(second.hosts(), ["a", "b"]);
    assert_eq!(first.hosts(), ["a", "b"]);
    second.leave.cancel();
    second.tracker.wait().await;
    assert!(first.sees(&["a"]).await < Duration::from_secs(1));
    let gone = first.told.members(true);
    assert!(gone[0].about.host == "b" && gone[0].ended_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn who_is_killed_is_missed_and_what_changes_is_told_at_once() {
    let hub = Hub::new();
    let (first, second) = (Server::start(&hub, "a"), Server::start(&hub, "b"));
    first.sees(&["a", "b"]).await;
    let mut about = first.told.members(false)[1].about.clone();
    about.stopping = true;
    second.told.introduce(about, true);
    let began = Instant::now();
    while !first.told.members(false)[1].about.stopping {
        first.told.changed().await;
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    second.killed.cancel();
    second.tracker.wait().await;
    let took = first.sees(&["a"]).await;
    assert!(
        took > GONE_AFTER - SAY_EVERY && took < GONE_AFTER + SAY_EVERY + LOOK_EVERY,
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_hears_nobody_takes_nobody_for_gone_and_says_so() {
    let hub = Hub::new();
    let (first, second) = (Server::start(&hub, "a"), Server::start(&hub, "b"));
    first.sees(&["a", "b"]).await;
    let mut trouble = first.told.trouble();
    assert!(trouble.wait_for(Option::is_none).await.is_ok());
    hub.mute.store(true, Ordering::Relaxed);
    let why = trouble.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(why.contains("nothing is heard"), "{why}");
    tokio::time::advance(GONE_AFTER * 4).await;
    assert_eq!(first.hosts(), ["a", "b"]);
    hub.mute.store(false, Ordering::Relaxed);
    assert!(trouble.wait_for(Option::is_none).await.is_ok());
    second.sees(&["a", "b"]).await;
}
