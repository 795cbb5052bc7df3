//! What is to be told of tasks: written with what it tells of, leased by host, settled once, kept for its time.

use std::collections::HashMap;

use cresset_task::{Callback, Event, EventId, Events, TaskId, Timestamp};

use super::finish::outcomes;
use super::world::{World, at, ended, retrying, success, task};
use crate::{
    Delivery, DeliveryQuery, DeliveryState, Finished, NewTask, OutboxLoad, OutboxRequest, Redelivered,
    Sending, Sendings, Told, Tried,
};

/// Later than any instant of these cases, and than the clock of whatever opens a store again.
const LATER: i64 = 4_000_000_000_000_000;

pub(super) fn later() -> Timestamp {
    Timestamp::from_micros(LATER)
}

pub(super) fn url(host: &str) -> String {
    format!("https://{host}/hook?for=us")
}

/// A task that tells this host of these.
pub(super) fn telling(host: &str, events: Events) -> NewTask {
    let url = url(host).parse().unwrap();
    NewTask {
        callback: Some(Callback { url, events }),
        ..task("digits")
    }
}

pub(super) fn all() -> Events {
    Events::of(Event::ALL).unwrap()
}

pub(super) fn end_of(task: TaskId, event: Event) -> EventId {
    let attempt = 0;
    EventId { task, event, attempt }
}

/// Submits a task that tells this host of its end, and ends it then.
pub(super) async fn tell(world: &World, host: &str, finished_at: Timestamp) -> EventId {
    let id = world.submit(telling(host, Events::FINAL)).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(
        world.finish(success(&lease, finished_at)).await,
        Finished::Recorded
    );
    end_of(id, Event::Succeeded)
}

pub(super) fn wanted(now: Timestamp) -> OutboxRequest {
    OutboxRequest {
        now,
        max: 1_000,
        per_host: 1_000,
        rooms: HashMap::new(),
        after: None,
    }
}

pub(super) async fn lease(world: &World, request: OutboxRequest) -> Sendings {
    world.store.outbox_lease(request).await.unwrap()
}

/// All that is due by then.
pub(super) async fn due(world: &World, now: Timestamp) -> Vec<Sending> {
    lease(world, wanted(now)).await.sendings
}

pub(super) fn ids(sendings: &[Sending]) -> Vec<EventId> {
    sendings.iter().map(|sending| sending.id).collect()
}

pub(super) fn tried(sending: &Sending, told: Told) -> Tried {
    Tried {
        id: sending.id,
        fence: sending.fence,
        at: at(5_000),
        told,
        status: Some(503),
        note: Some("answered 503".into()),
    }
}

pub(super) async fn settle(world: &World, sending: &Sending, told: Told) -> Finished {
    world.store.outbox_settle(tried(sending, told)).await.unwrap()
}

/// The whole list that matches, in pages of so many.
pub(super) async fn list(world: &World, query: DeliveryQuery) -> Vec<Delivery> {
    let mut all = Vec::new();
    let mut query = query;
    loop {
        let page = world.store.deliveries(query.clone()).await.unwrap();
        assert!(page.deliveries.len() <= query.limit);
        all.extend(page.deliveries);
        query.after = page.next;
        if query.after.is_none() {
            return all;
        }
    }
}

pub(super) async fn of_task(world: &World, task: TaskId) -> Vec<Delivery> {
    let query = DeliveryQuery {
        task: Some(task),
        limit: 10,
        ..DeliveryQuery::default()
    };
    list(world, query).await
}

pub(super) async fn one(world: &World, id: EventId) -> Delivery {
    let found = of_task(world, id.task).await;
    let found = found.into_iter().find(|delivery| delivery.id == id);
    found.unwrap_or_else(|| panic!("{id} should be in the outbox"))
}

pub(super) fn load(world: &World) -> OutboxLoad {
    *world.store.outbox().borrow()
}

pub(super) async fn every_kind_of_end_leaves_a_delivery_that_survives_a_crash(world: World) {
    let mut wanted = Vec::new();
    let host = "hooks.example.com";
    for (outcome, state) in outcomes() {
        let id = world.submit(telling(host, Events::FINAL)).await;
        let held = world.lease_one("digits").await;
        assert_eq!(
            world.finish(ended(&held, outcome, at(99))).await,
            Finished::Recorded
        );
        wanted.push((id, Event::of(state).unwrap(), at(99)));
    }
    let queued = world.submit(telling(host, Events::FINAL)).await;
    world.cancel(queued).await;
    wanted.push((queued, Event::Revoked, at(3_000)));
    let held = world.submit(telling(host, Events::FINAL)).await;
    world.lease_one("digits").await;
    world.cancel(held).await;
    wanted.push((held, Event::Revoked, at(3_000)));
    let overdue = NewTask {
        deadline_at: Some(at(2_000)),
        ..telling(host, Events::FINAL)
    };
    let overdue = world.submit(overdue).await;
    world.lease_one("digits").await;
    let expired = NewTask {
        expires_at: Some(at(2_000)),
        ..telling(host, Events::FINAL)
    };
    let expired = world.submit(expired).await;
    world.store.expire(at(2_500)).await.unwrap();
    wanted.extend([overdue, expired].map(|id| (id, Event::Revoked, at(2_500))));

    let world = world.crash().await;
    for (id, event, happened) in &wanted {
        let told = of_task(&world, *id).await;
        assert_eq!(told.len(), 1, "{event:?} of {id} is told once");
        let delivery = Delivery {
            id: end_of(*id, *event),
            model: "digits".parse().unwrap(),
            url: url(host).parse().unwrap(),
            at: *happened,
            state: DeliveryState::Waiting,
            tries: 0,
            due_at: Some(*happened),
            settled_at: None,
            status: None,
            note: None,
        };
        assert_eq!(told[0], delivery);
    }
    assert_eq!(load(&world).open, wanted.len() as u64);
    let mut told = ids(&due(&world, at(3_000)).await);
    told.sort_unstable();
    let mut names: Vec<_> = wanted.iter().map(|(id, event, _)| end_of(*id, *event)).collect();
    names.sort_unstable();
    assert_eq!(told, names);
}

pub(super) async fn only_what_the_filter_has_is_told(world: World) {
    let failures = Events::of([Event::Failed]).unwrap();
    for (outcome, state) in outcomes() {
        let id = world.submit(telling("a.example", failures)).await;
        let held = world.lease_one("digits").await;
        world.finish(ended(&held, outcome, at(99))).await;
        let told: Vec<_> = of_task(&world, id).await.iter().map(|d| d.id.event).collect();
        let is_told = Event::of(state) == Some(Event::Failed);
        assert_eq!(told, [Event::Failed][..usize::from(is_told)], "{state}");
    }
}

pub(super) async fn a_task_without_a_callback_tells_nobody(world: World) {
    world.finished_task("digits", at(99)).await;
    assert!(due(&world, later()).await.is_empty());
    assert_eq!(load(&world), OutboxLoad::default());
}

pub(super) async fn a_stale_completion_tells_nothing(world: World) {
    let id = world.submit(telling("a.example", Events::FINAL)).await;
    let held = world.lease_one("digits").await;
    world.cancel(id).await;
    assert_eq!(world.finish(success(&held, at(99))).await, Finished::Stale);
    assert_eq!(world.retry(retrying(&held, at(99))).await, Finished::Stale);
    let told = of_task(&world, id).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].id, end_of(id, Event::Revoked));
}

pub(super) async fn starts_and_retries_are_told_with_their_attempt(world: World) {
    let id = world.submit(telling("a.example", all())).await;
    let mut told = Vec::new();
    for attempt in 1..=2 {
        let held = &world.lease_at("digits", at(10_000 * i64::from(attempt))).await[0];
        let sending = &due(&world, later()).await[0];
        told.push(sending.id);
        assert_eq!(sending.at, at(10_000 * i64::from(attempt)));
        assert_eq!(settle(&world, sending, Told::Delivered).await, Finished::Recorded);
        world.retry(retrying(held, at(10_000))).await;
        let sending = &due(&world, later()).await[0];
        told.push(sending.id);
        assert_eq!(sending.at, at(2_000), "when the attempt failed");
        assert_eq!(settle(&world, sending, Told::Delivered).await, Finished::Recorded);
    }
    let name = |event, attempt| EventId {
        task: id,
        event,
        attempt,
    };
    assert_eq!(
        told,
        [
            name(Event::Started, 1),
            name(Event::Retried, 1),
            name(Event::Started, 2),
            name(Event::Retried, 2)
        ]
    );
}

pub(super) async fn a_newer_event_takes_the_place_of_what_waits(world: World) {
    let id = world.submit(telling("a.example", all())).await;
    let held = world.lease_one("digits").await;
    assert_eq!(load(&world).open, 1);
    world.finish(success(&held, at(99))).await;
    let told = of_task(&world, id).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].id, end_of(id, Event::Succeeded));
    assert_eq!(load(&world).open, 1);
}

pub(super) async fn of_one_task_one_is_sent_at_a_time(world: World) {
    let id = world.submit(telling("a.example", all())).await;
    let held = world.lease_one("digits").await;
    let started = due(&world, later()).await;
    assert_eq!(started.len(), 1);
    world.finish(success(&held, at(2_000))).await;
    assert!(due(&world, later()).await.is_empty(), "its start is being sent");
    // What came later is told instead of it.
    assert_eq!(
        settle(&world, &started[0], Told::Again(at(3_000))).await,
        Finished::Recorded
    );
    assert_eq!(ids(&due(&world, later()).await), [end_of(id, Event::Succeeded)]);
    assert_eq!(of_task(&world, id).await.len(), 1);

    // One that was redelivered beside another waits for that too.
    let id = world.submit(telling("b.example", all())).await;
    let held = world.lease_one("digits").await;
    let started = due(&world, later()).await;
    settle(&world, &started[0], Told::Delivered).await;
    world.finish(success(&held, at(2_000))).await;
    let again = world.store.redeliver(started[0].id, at(2_500)).await.unwrap();
    assert_eq!(again, Redelivered::Queued);
    let first = due(&world, later()).await;
    assert_eq!(ids(&first), [end_of(id, Event::Succeeded)]);
    assert!(due(&world, later()).await.is_empty());
    settle(&world, &first[0], Told::Delivered).await;
    assert_eq!(ids(&due(&world, later()).await), [started[0].id]);
}
