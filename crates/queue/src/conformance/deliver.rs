//! Deliveries on their way: leased by host, settled once, sent again, listed, counted, kept for their time.

use std::collections::HashMap;
use std::time::Duration;

use cresset_task::{Callback, Event, Events, Outcome, TaskId};

use super::outbox::{
    all, due, end_of, ids, later, lease, list, load, of_task, one, settle, tell, telling, tried, wanted,
};
use super::world::{TICK, World, at, ended, request, task};
use crate::{
    Delivery, DeliveryCursor, DeliveryQuery, DeliveryState, Finished, HOSTS_LOOK_MAX, LeaseRequest, NOTE_MAX,
    NewTask, OutboxLoad, OutboxRequest, Redelivered, Told, Tried,
};

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
    let ttl = world.harness.ttl().deliveries;
    world
        .purge_all(at(5_000).plus(world.harness.ttl().results + TICK))
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
