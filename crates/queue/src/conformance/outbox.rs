//! What is to be told of tasks: written with what it tells of, leased by host, settled once, kept for its time.

use std::collections::HashMap;
use std::time::Duration;

use cresset_task::{Callback, Event, EventId, Events, Outcome, TaskId, Timestamp};

use super::finish::outcomes;
use super::world::{TICK, World, at, ended, request, retrying, success, task};
use crate::{
    Delivery, DeliveryCursor, DeliveryQuery, DeliveryState, Finished, HOSTS_LOOK_MAX, LeaseRequest, NOTE_MAX,
    NewTask, OutboxLoad, OutboxRequest, Redelivered, Sending, Sendings, Told, Tried,
};

/// Later than any instant of these cases, and than the clock of whatever opens a store again.
const LATER: i64 = 4_000_000_000_000_000;

fn later() -> Timestamp {
    Timestamp::from_micros(LATER)
}

fn url(host: &str) -> String {
    format!("https://{host}/hook?for=us")
}

/// A task that tells this host of these.
fn telling(host: &str, events: Events) -> NewTask {
    let url = url(host).parse().unwrap();
    NewTask {
        callback: Some(Callback { url, events }),
        ..task("digits")
    }
}

fn all() -> Events {
    Events::of(Event::ALL).unwrap()
}

fn end_of(task: TaskId, event: Event) -> EventId {
    let attempt = 0;
    EventId { task, event, attempt }
}

/// Submits a task that tells this host of its end, and ends it then.
async fn tell(world: &World, host: &str, finished_at: Timestamp) -> EventId {
    let id = world.submit(telling(host, Events::FINAL)).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(
        world.finish(success(&lease, finished_at)).await,
        Finished::Recorded
    );
    end_of(id, Event::Succeeded)
}

fn wanted(now: Timestamp) -> OutboxRequest {
    OutboxRequest {
        now,
        max: 1_000,
        per_host: 1_000,
        rooms: HashMap::new(),
        after: None,
    }
}

async fn lease(world: &World, request: OutboxRequest) -> Sendings {
    world.store.outbox_lease(request).await.unwrap()
}

/// All that is due by then.
async fn due(world: &World, now: Timestamp) -> Vec<Sending> {
    lease(world, wanted(now)).await.sendings
}

fn ids(sendings: &[Sending]) -> Vec<EventId> {
    sendings.iter().map(|sending| sending.id).collect()
}

fn tried(sending: &Sending, told: Told) -> Tried {
    Tried {
        id: sending.id,
        fence: sending.fence,
        at: at(5_000),
        told,
        status: Some(503),
        note: Some("answered 503".into()),
    }
}

async fn settle(world: &World, sending: &Sending, told: Told) -> Finished {
    world.store.outbox_settle(tried(sending, told)).await.unwrap()
}

/// The whole list that matches, in pages of so many.
async fn list(world: &World, query: DeliveryQuery) -> Vec<Delivery> {
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

async fn of_task(world: &World, task: TaskId) -> Vec<Delivery> {
    let query = DeliveryQuery {
        task: Some(task),
        limit: 10,
        ..DeliveryQuery::default()
    };
    list(world, query).await
}

async fn one(world: &World, id: EventId) -> Delivery {
    let found = of_task(world, id.task).await;
    let found = found.into_iter().find(|delivery| delivery.id == id);
    found.unwrap_or_else(|| panic!("{id} should be in the outbox"))
}

fn load(world: &World) -> OutboxLoad {
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

pub(super) async fn a_delivery_has_one_holder_and_a_fence(world: World) {
    let id = tell(&world, "a.example", at(99)).await;
    assert!(due(&world, at(98)).await.is_empty(), "not before its time");
    let held = due(&world, at(99)).await;
    assert_eq!((held[0].id, held[0].tries, held[0].since), (id, 1, at(99)));
    assert!(due(&world, later()).await.is_empty());
    assert_eq!(one(&world, id).await.state, DeliveryState::Sending);
    let mut wrong = held[0].clone();
    for fence in [held[0].fence + 1, 0] {
        wrong.fence = fence;
        assert_eq!(settle(&world, &wrong, Told::Delivered).await, Finished::Stale);
    }
    assert_eq!(
        settle(&world, &held[0], Told::Delivered).await,
        Finished::Recorded
    );
    assert_eq!(settle(&world, &held[0], Told::Failed).await, Finished::Stale);
    let world = world.crash().await;
    let delivery = one(&world, id).await;
    assert_eq!(delivery.state, DeliveryState::Delivered);
    assert_eq!((delivery.due_at, delivery.settled_at), (None, Some(at(5_000))));
    assert!(due(&world, later()).await.is_empty());
}

pub(super) async fn a_delivery_being_sent_waits_again_after_a_crash(world: World) {
    let id = tell(&world, "a.example", at(99)).await;
    let held = due(&world, at(99)).await;
    for world in [world.crash().await] {
        assert_eq!(settle(&world, &held[0], Told::Delivered).await, Finished::Stale);
        let again = due(&world, later()).await;
        assert_eq!((again[0].id, again[0].tries), (id, 2));
        assert!(again[0].fence > held[0].fence, "the fence does not fall back");
        assert_eq!(settle(&world, &held[0], Told::Failed).await, Finished::Stale);
        let world = world.restart().await;
        assert_eq!(ids(&due(&world, later()).await), [id]);
    }
}

pub(super) async fn what_was_not_taken_is_sent_again_when_it_is_due(world: World) {
    let first = tell(&world, "a.example", at(99)).await;
    let second = tell(&world, "a.example", at(100)).await;
    let held = due(&world, at(100)).await;
    assert_eq!(ids(&held), [first, second]);
    settle(&world, &held[0], Told::Again(at(9_000))).await;
    settle(&world, &held[1], Told::Again(at(8_000))).await;
    let waits = one(&world, first).await;
    assert_eq!(waits.due_at, Some(at(9_000)));
    assert_eq!(
        (waits.status, waits.note.as_deref()),
        (Some(503), Some("answered 503"))
    );
    assert!(due(&world, at(7_999)).await.is_empty());
    assert_eq!(load(&world).next_due, Some(at(8_000)));
    let world = world.crash().await;
    let held = due(&world, at(9_000)).await;
    assert_eq!(ids(&held), [second, first], "by when they are due");
    assert_eq!(held[0].tries, 2);
    settle(&world, &held[0], Told::Failed).await;
    assert_eq!(one(&world, second).await.state, DeliveryState::Failed);
    assert!(!ids(&due(&world, later()).await).contains(&second));
}

pub(super) async fn each_host_has_its_own_room(world: World) {
    for n in 0..20 {
        tell(&world, "a.dead.example", at(n)).await;
    }
    let other = tell(&world, "b.example", at(99)).await;
    let few = OutboxRequest {
        per_host: 2,
        ..wanted(later())
    };
    let held = lease(&world, few.clone()).await.sendings;
    assert_eq!(held.len(), 3);
    assert_eq!(held[2].id, other);
    // No room for the first: the other is found behind all that waits for it.
    let again = tell(&world, "b.example", at(100)).await;
    let none = OutboxRequest {
        rooms: HashMap::from([("a.dead.example:443".to_owned(), 0)]),
        ..few.clone()
    };
    assert_eq!(ids(&lease(&world, none).await.sendings), [again]);
    let more = OutboxRequest {
        rooms: HashMap::from([("a.dead.example:443".to_owned(), 5)]),
        max: 4,
        ..few
    };
    assert_eq!(
        lease(&world, more).await.sendings.len(),
        4,
        "no more in all than asked for"
    );
    assert_eq!(world.store.outbox_of("a.dead.example:443"), 20);
    assert_eq!(world.store.outbox_of("b.example:443"), 2);
    assert_eq!(world.store.outbox_of("c.example:443"), 0);
}

pub(super) async fn many_hosts_are_walked_in_bounded_steps(world: World) {
    let count = HOSTS_LOOK_MAX + 3;
    let mut wanted_ids = Vec::new();
    for n in 0..count {
        wanted_ids.push(tell(&world, &format!("h{n:04}.example"), at(50)).await);
    }
    // Nothing is due for the first of them, and the walk goes on behind those.
    let first = lease(
        &world,
        OutboxRequest {
            max: 1_000,
            ..wanted(at(49))
        },
    )
    .await;
    assert!(first.sendings.is_empty());
    assert!(first.next.is_some());
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..2 {
        let page = lease(
            &world,
            OutboxRequest {
                after,
                ..wanted(at(50))
            },
        )
        .await;
        assert!(page.sendings.len() <= HOSTS_LOOK_MAX);
        found.extend(ids(&page.sendings));
        after = page.next;
    }
    assert_eq!(found, wanted_ids);
    assert_eq!(after, None);
}

pub(super) async fn an_address_that_is_gone_is_disabled_until_something_is_redelivered(world: World) {
    let first = tell(&world, "a.example", at(99)).await;
    let waits = tell(&world, "a.example", at(100)).await;
    let held = due(&world, at(99)).await;
    assert_eq!(settle(&world, &held[0], Told::Disabled).await, Finished::Recorded);
    let world = world.crash().await;
    let after = tell(&world, "a.example", at(101)).await;
    for id in [first, waits, after] {
        let delivery = one(&world, id).await;
        assert_eq!(delivery.state, DeliveryState::Disabled);
        assert!(delivery.settled_at.is_some());
    }
    assert_eq!(load(&world), OutboxLoad::default());
    assert_eq!(world.store.outbox_of("a.example:443"), 0);
    assert!(due(&world, later()).await.is_empty());
    // Another address of the host is another matter.
    let id = world
        .submit(NewTask {
            callback: Some(Callback {
                url: "https://a.example/other".parse().unwrap(),
                events: Events::FINAL,
            }),
            ..task("digits")
        })
        .await;
    world.cancel(id).await;
    assert_eq!(ids(&due(&world, later()).await), [end_of(id, Event::Revoked)]);

    let again = world.store.redeliver(waits, at(6_000)).await.unwrap();
    assert_eq!(again, Redelivered::Queued);
    let fresh = tell(&world, "a.example", at(7_000)).await;
    assert_eq!(ids(&due(&world, later()).await), [waits, fresh]);
    assert_eq!(one(&world, first).await.state, DeliveryState::Disabled);
}

pub(super) async fn a_redelivery_keeps_its_name_and_begins_anew(world: World) {
    let id = tell(&world, "a.example", at(99)).await;
    let held = due(&world, at(99)).await;
    let busy = world.store.redeliver(id, at(100)).await.unwrap();
    assert_eq!(busy, Redelivered::UnderWay);
    settle(&world, &held[0], Told::Failed).await;
    let queued = world.store.redeliver(id, at(9_000)).await.unwrap();
    assert_eq!(queued, Redelivered::Queued);
    let world = world.crash().await;
    let again = due(&world, at(9_000)).await;
    assert_eq!((again[0].id, again[0].tries, again[0].since), (id, 1, at(9_000)));
    assert_eq!(again[0].at, at(99), "when it happened");
    assert!(again[0].fence > held[0].fence);
    settle(&world, &again[0], Told::Delivered).await;
    // What has been delivered can be sent again too.
    let queued = world.store.redeliver(id, at(9_001)).await.unwrap();
    assert_eq!(queued, Redelivered::Queued);
    assert_eq!(load(&world).open, 1);
    let nothing = end_of(TaskId::fresh(), Event::Failed);
    let unknown = world.store.redeliver(nothing, at(9_000)).await.unwrap();
    assert_eq!(unknown, Redelivered::Unknown);
}

pub(super) async fn deliveries_are_listed_newest_first_page_by_page(world: World) {
    let mut told = Vec::new();
    for (n, host) in ["a.example", "b.example", "a.example", "b.example", "a.example"]
        .into_iter()
        .enumerate()
    {
        told.push(tell(&world, host, at(n as i64)).await);
    }
    let held = due(&world, at(0)).await;
    settle(&world, &held[0], Told::Delivered).await;
    let query = |limit| DeliveryQuery {
        limit,
        ..DeliveryQuery::default()
    };
    let names = |list: Vec<Delivery>| list.iter().map(|d| d.id).collect::<Vec<_>>();
    let newest: Vec<_> = told.iter().rev().copied().collect();
    for limit in [1, 2, 5, 100] {
        assert_eq!(names(list(&world, query(limit)).await), newest);
    }
    let to_a = DeliveryQuery {
        host: Some("a.example:443".into()),
        ..query(2)
    };
    assert_eq!(
        names(list(&world, to_a.clone()).await),
        [told[4], told[2], told[0]]
    );
    let waiting = DeliveryQuery {
        state: Some(DeliveryState::Waiting),
        ..to_a
    };
    assert_eq!(names(list(&world, waiting).await), [told[4], told[2]]);
    let of_one = DeliveryQuery {
        task: Some(told[1].task),
        ..query(1)
    };
    assert_eq!(names(list(&world, of_one).await), [told[1]]);
    let behind = DeliveryQuery {
        after: Some(DeliveryCursor(0)),
        ..query(5)
    };
    assert!(list(&world, behind).await.is_empty());
}

pub(super) async fn what_is_open_outlives_its_task_and_what_is_settled_its_time(world: World) {
    let open = tell(&world, "a.example", at(99)).await;
    let settled = tell(&world, "b.example", at(99)).await;
    let held = due(&world, at(99)).await;
    settle(&world, &held[0], Told::Again(at(200))).await;
    settle(&world, &held[1], Told::Disabled).await;
    let ttl = world.harness.delivery_ttl();
    world
        .purge_all(at(5_000).plus(world.harness.result_ttl() + TICK))
        .await;
    assert_eq!(world.lookup(open.task).await, crate::Lookup::Expired);
    world.purge_all(at(5_000).plus(ttl)).await;
    assert_eq!(one(&world, settled).await.state, DeliveryState::Disabled);
    world.purge_all(at(5_000).plus(ttl + TICK)).await;
    assert!(of_task(&world, settled.task).await.is_empty());
    let world = world.crash().await;
    assert_eq!(ids(&due(&world, later()).await), [open]);
    // The address is no longer known to be gone.
    let fresh = tell(&world, "b.example", at(99)).await;
    assert_eq!(ids(&due(&world, later()).await), [fresh]);
}

pub(super) async fn what_is_to_be_told_is_counted_through_every_operation(world: World) {
    let mut watch = world.store.outbox();
    assert_eq!(*watch.borrow_and_update(), OutboxLoad::default());
    let loaded = |open, next_due: Option<i64>, oldest: Option<i64>| OutboxLoad {
        open,
        next_due: next_due.map(at),
        oldest: oldest.map(at),
    };
    tell(&world, "a.example", at(50)).await;
    tell(&world, "a.example", at(60)).await;
    assert!(watch.has_changed().unwrap());
    assert_eq!(load(&world), loaded(2, Some(50), Some(50)));
    let held = due(&world, at(50)).await;
    assert_eq!(load(&world), loaded(2, Some(60), Some(50)));
    settle(&world, &held[0], Told::Again(at(70))).await;
    assert_eq!(load(&world), loaded(2, Some(60), Some(50)));
    assert_eq!(world.store.outbox_of("a.example:443"), 2);
    let world = world.crash().await;
    assert_eq!(load(&world), loaded(2, Some(60), Some(50)));
    assert_eq!(world.store.outbox_of("a.example:443"), 2);
    let held = due(&world, at(70)).await;
    assert_eq!(load(&world), loaded(2, None, Some(50)));
    settle(&world, &held[1], Told::Failed).await;
    assert_eq!(load(&world), loaded(1, None, Some(60)));
    settle(&world, &held[0], Told::Disabled).await;
    assert_eq!(load(&world), OutboxLoad::default());
    assert_eq!(world.store.outbox_of("a.example:443"), 0);
    // A newer event replaces an older one, and the count is that of one.
    world.submit(telling("b.example", all())).await;
    let held = world
        .store
        .lease(LeaseRequest {
            now: at(80),
            ..request("digits", 1)
        })
        .await
        .unwrap();
    assert_eq!(load(&world), loaded(1, Some(80), Some(80)));
    let revoked = Outcome::Revoked { reason: "no".into() };
    world.finish(ended(&held[0], revoked, at(90))).await;
    assert_eq!(load(&world), loaded(1, Some(90), Some(90)));
    assert_eq!(world.store.outbox_of("b.example:443"), 1);
}

pub(super) async fn a_note_is_cut_to_its_bound(world: World) {
    let id = tell(&world, "a.example", at(99)).await;
    let held = due(&world, at(99)).await;
    let wordy = Tried {
        note: Some("\u{1f525}".repeat(1_000)),
        ..tried(&held[0], Told::Failed)
    };
    world.store.outbox_settle(wordy).await.unwrap();
    let kept = one(&world, id).await.note.unwrap();
    assert!(kept.len() <= NOTE_MAX && kept.len() > NOTE_MAX - 4);
    let world = world.crash().await;
    assert!(due(&world, later().plus(Duration::from_secs(1))).await.is_empty());
}
