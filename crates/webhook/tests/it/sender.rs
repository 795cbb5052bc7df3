//! The whole way: tasks end in a store, receivers behave badly, and what becomes of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cresset_queue::kit::Ttl;
use cresset_queue::memory::{MemoryStore, NoFates, Stable};
use cresset_queue::{
    Backend, Completion, Delivery, DeliveryQuery, DeliveryState, LeaseRequest, NewTask, Redelivered, Sending,
};
use cresset_task::{
    Callback, Event, EventId, Events, ModelName, Outcome, Payload, TaskId, TaskRecord, Timestamp,
};
use cresset_webhook::{Policy, Sender, Tally, Writer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::courier::{Names, courier};
use crate::receiver::{Act, Receiver};

const LONG: Duration = Duration::from_secs(1_000_000);
const TTL: Ttl = Ttl {
    results: LONG,
    tombstones: LONG,
    letters: LONG,
    deliveries: LONG,
};

/// Writes which task it is and how it ended.
struct Plain;

impl Writer for Plain {
    fn write(&self, sending: &Sending, record: Option<&TaskRecord>) -> Vec<u8> {
        let state = record.map_or("purged", |record| record.state.name());
        format!("{{\"task_id\":\"{}\",\"status\":\"{state}\"}}", sending.id.task).into_bytes()
    }
}

#[derive(Default)]
struct Counts(Mutex<HashMap<&'static str, u32>>);

impl Tally for Counts {
    fn tried(&self, outcome: cresset_webhook::Outcome, _took: Duration) {
        *self.0.lock().unwrap().entry(outcome.name()).or_default() += 1;
    }
}

/// A store, and a sender that can be stopped and started.
struct House {
    stable: Stable,
    store: Arc<MemoryStore>,
    counts: Arc<Counts>,
    policy: Policy,
    tracker: TaskTracker,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl House {
    fn new(waits: &[u64]) -> Self {
        let stable = Stable::new(TTL);
        let store = open(&stable);
        Self {
            stable,
            store,
            counts: Arc::default(),
            policy: Policy {
                schedule: waits.iter().copied().map(Duration::from_millis).collect(),
                host_pause: Duration::from_millis(1),
            },
            tracker: TaskTracker::new(),
            running: None,
        }
    }

    fn start(&mut self) {
        let stop = CancellationToken::new();
        let sender = Sender::new(
            Arc::clone(&self.store) as Arc<dyn Backend>,
            Arc::new(courier("127.0.0.1/32", Names::none())),
            Arc::new(Plain),
            Arc::clone(&self.counts) as Arc<dyn Tally>,
            self.policy.clone(),
            stop.clone(),
        );
        self.running = Some((stop, self.tracker.spawn(sender.run())));
    }

    /// The process dies, as far as it can within a test: what is under way ends where it is.
    fn crash(&mut self) {
        let (_, sender) = self.running.take().unwrap();
        sender.abort();
        self.stable.crash();
        self.store = open(&self.stable);
    }

    async fn stop(&mut self) {
        let (stop, sender) = self.running.take().unwrap();
        stop.cancel();
        sender.await.unwrap();
    }

    /// A task that has ended, and is to be told of.
    async fn ended(&self, url: &str, events: Events) -> EventId {
        let model: ModelName = "digits".parse().unwrap();
        let (id, now) = (TaskId::fresh(), Timestamp::now());
        let task = NewTask {
            id,
            callback: Some(Callback {
                url: url.parse().unwrap(),
                events,
            }),
            ..NewTask::new(model.clone(), Payload::Json(Bytes::from_static(b"1")), now)
        };
        let store: &dyn Backend = &*self.store;
        store.submit(task).await.unwrap();
        let request = LeaseRequest {
            model,
            max_tasks: 1,
            max_bytes: usize::MAX,
            now,
        };
        let lease = store.lease(request).await.unwrap().remove(0);
        let end = Completion {
            id,
            attempt: lease.attempt,
            redeliveries: 0,
            history: Vec::new(),
            outcome: Outcome::Success(Payload::Json(Bytes::from_static(b"2"))),
            version: None,
            finished_at: Timestamp::now(),
            evidence: None,
            cached: false,
        };
        store.finish(vec![end]).await.unwrap();
        EventId {
            task: id,
            event: Event::Succeeded,
            attempt: 0,
        }
    }

    /// Once so much is open.
    async fn open(&self, wanted: u64) {
        let store: &dyn Backend = &*self.store;
        let mut load = store.outbox();
        let there = load.wait_for(|load| load.open == wanted);
        tokio::time::timeout(Duration::from_secs(30), there)
            .await
            .unwrap()
            .unwrap();
    }

    async fn delivery(&self, id: EventId) -> Delivery {
        let query = DeliveryQuery {
            task: Some(id.task),
            limit: 10,
            ..DeliveryQuery::default()
        };
        let store: &dyn Backend = &*self.store;
        let page = store.deliveries(query).await.unwrap();
        page.deliveries
            .into_iter()
            .find(|delivery| delivery.id == id)
            .unwrap()
    }

    fn counted(&self, outcome: &str) -> u32 {
        self.counts.0.lock().unwrap().get(outcome).copied().unwrap_or(0)
    }
}

fn open(stable: &Stable) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::open(stable, Arc::new(NoFates), Timestamp::now()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_tried_until_it_is_taken_under_one_name() {
    let script = [
        Act::Say(500, ""),
        Act::Hang,
        Act::Close,
        Act::Say(302, "location: /\r\n"),
        Act::Babble,
    ];
    let receiver = Receiver::start(move |n, _| script.get(n).cloned().unwrap_or(Act::Say(204, ""))).await;
    let mut house = House::new(&[1; 12]);
    house.start();
    let id = house.ended(&receiver.url("/hook"), Events::FINAL).await;
    house.open(0).await;
    let got = receiver.got();
    assert_eq!(got.len(), 6);
    let names: HashSet<_> = got.iter().map(|got| got.headers["webhook-id"].clone()).collect();
    assert_eq!(names, HashSet::from([id.to_string()]));
    let bodies: HashSet<_> = got.iter().map(|got| got.body.clone()).collect();
    assert_eq!(bodies.len(), 1);
    let body = String::from_utf8(got[0].body.clone()).unwrap();
    assert!(
        body.starts_with("{\"type\":\"task.succeeded\",\"timestamp\":\""),
        "{body}"
    );
    assert!(body.contains("\"status\":\"SUCCESS\""), "{body}");
    let delivery = house.delivery(id).await;
    assert_eq!((delivery.state, delivery.tries), (DeliveryState::Delivered, 6));
    assert_eq!((delivery.status, delivery.note), (Some(204), None));
    house.stop().await;
    assert_eq!((house.counted("put_off"), house.counted("delivered")), (5, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_given_up_after_the_schedule_and_sent_again_when_somebody_wants_it() {
    let receiver = Receiver::start(|n, _| {
        if n < 3 {
            Act::Say(400, "")
        } else {
            Act::Say(200, "")
        }
    })
    .await;
    let mut house = House::new(&[1, 1]);
    house.start();
    let id = house.ended(&receiver.url("/"), Events::FINAL).await;
    house.open(0).await;
    let delivery = house.delivery(id).await;
    assert_eq!((delivery.state, delivery.tries), (DeliveryState::Failed, 3));
    assert_eq!(
        (delivery.status, delivery.note.as_deref()),
        (Some(400), Some("it answered 400"))
    );
    let store: &dyn Backend = &*house.store;
    assert_eq!(
        store.redeliver(id, Timestamp::now()).await.unwrap(),
        Redelivered::Queued
    );
    house.open(0).await;
    assert_eq!(house.delivery(id).await.state, DeliveryState::Delivered);
    assert_eq!(receiver.got().len(), 4);
    assert_eq!(house.counted("given_up"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_is_gone() {
    let receiver = Receiver::start(|_, got| match got.line.contains("/gone") {
        true => Act::Say(410, ""),
        false => Act::Say(200, ""),
    })
    .await;
    let mut house = House::new(&[1; 12]);
    house.start();
    let first = house.ended(&receiver.url("/gone"), Events::FINAL).await;
    house.open(0).await;
    let second = house.ended(&receiver.url("/gone"), Events::FINAL).await;
    let other = house.ended(&receiver.url("/here"), Events::FINAL).await;
    house.open(0).await;
    for (id, state) in [
        (first, DeliveryState::Disabled),
        (second, DeliveryState::Disabled),
        (other, DeliveryState::Delivered),
    ] {
        assert_eq!(house.delivery(id).await.state, state);
    }
    assert_eq!(receiver.got().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_time_gets_it() {
    let receiver = Receiver::start(|n, _| match n {
        0 => Act::Say(429, "retry-after: 3600\r\n"),
        _ => Act::Say(200, ""),
    })
    .await;
    let mut house = House::new(&[1; 12]);
    house.start();
    let id = house.ended(&receiver.url("/"), Events::FINAL).await;
    let store: &dyn Backend = &*house.store;
    let mut load = store.outbox();
    let asked = |load: &cresset_queue::OutboxLoad| {
        load.next_due
            .is_some_and(|due| due.since(Timestamp::now()) > Duration::from_secs(3_500))
    };
    tokio::time::timeout(Duration::from_secs(30), load.wait_for(asked))
        .await
        .unwrap()
        .unwrap();
    let delivery = house.delivery(id).await;
    assert_eq!(
        (delivery.state, delivery.status),
        (DeliveryState::Waiting, Some(429))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_called_is_given_up_at_once() {
    let mut house = House::new(&[1; 12]);
    house.start();
    let id = house
        .ended("http://169.254.169.254/latest/meta-data/", Events::FINAL)
        .await;
    house.open(0).await;
    let delivery = house.delivery(id).await;
    assert_eq!(
        (delivery.state, delivery.tries, delivery.status),
        (DeliveryState::Failed, 1, None)
    );
    let note = delivery.note.unwrap();
    assert!(
        note.contains("webhooks.allow") && !note.contains("169.254"),
        "{note}"
    );
}

/// One receiver hangs with a long line behind it, another is not there at all; the third has each message at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_receiver_holds_nobody_up() {
    let hanging = Receiver::start(|_, _| Act::Hang).await;
    let absent = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let well = Receiver::start(|_, _| Act::Say(200, "")).await;
    let mut house = House::new(&[3_600_000; 12]);
    house.start();
    for _ in 0..50 {
        house.ended(&hanging.url("/"), Events::FINAL).await;
        house.ended(&format!("http://{absent}/"), Events::FINAL).await;
    }
    let mut told = Vec::new();
    for _ in 0..20 {
        told.push(house.ended(&well.url("/"), Events::FINAL).await);
    }
    well.has(20).await;
    for id in told {
        let host = format!("127.0.0.1:{}", hanging.port);
        assert!(
            house.store_of(&host) > 40,
            "the one that hangs still has its line"
        );
        let mut state = house.delivery(id).await.state;
        while state == DeliveryState::Sending {
            tokio::task::yield_now().await;
            state = house.delivery(id).await.state;
        }
        assert_eq!(state, DeliveryState::Delivered);
    }
}

impl House {
    fn store_of(&self, host: &str) -> u64 {
        let store: &dyn Backend = &*self.store;
        store.outbox_of(host)
    }
}

/// The process dies while a message is being sent, and again before it is taken; one with another name is never made of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_survives_the_deaths_of_its_senders() {
    let receiver = Receiver::start(|n, _| if n < 2 { Act::Hang } else { Act::Say(200, "") }).await;
    let mut house = House::new(&[1; 12]);
    house.start();
    let id = house
        .ended(&receiver.url("/"), Events::of(Event::ALL).unwrap())
        .await;
    for deaths in 1..=2 {
        receiver.has(deaths).await;
        house.crash();
        house.start();
    }
    house.open(0).await;
    house.stop().await;
    let is_end = |name: &String| *name == id.to_string();
    let names: Vec<_> = receiver
        .got()
        .iter()
        .map(|got| got.headers["webhook-id"].clone())
        .collect();
    // The start is told again where it was on its way when it died; where it waited, the end has taken its place.
    assert!(
        (3..=4).contains(&names.len()),
        "twice it died while it sent, and then it was taken: {names:?}"
    );
    assert!(
        names.last().is_some_and(is_end),
        "what came later was told last: {names:?}"
    );
    assert_eq!(house.delivery(id).await.state, DeliveryState::Delivered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_sent_to_one_host_at_once_than_it_has_room_for() {
    let receiver = Receiver::start(|_, _| Act::Hang).await;
    let mut house = House::new(&[3_600_000; 12]);
    house.policy.host_pause = Duration::from_secs(60);
    for _ in 0..20 {
        house.ended(&receiver.url("/"), Events::FINAL).await;
    }
    house.start();
    receiver.has(4).await;
    // Four hang; once they are given up, the host is left alone.
    let store: &dyn Backend = &*house.store;
    let mut load = store.outbox();
    let sent = |load: &cresset_queue::OutboxLoad| load.next_due.is_some();
    load.wait_for(sent).await.unwrap();
    while house.counted("put_off") < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(receiver.got().len(), 4);
    house.stop().await;
    assert_eq!(receiver.got().len(), 4);
}
