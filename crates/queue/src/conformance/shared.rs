//! Several servers on one store: what one does is so for all, and each is told.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cresset_task::{Attempt, Event, Events, Outcome, State, TaskId};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::dice::Dice;
use super::outbox::{later, telling, wanted};
use super::world::{ALL, World, at, client, giving_up, ids, json, model, request, retrying, success, task};
use crate::{
    About, Backend, BulkAdded, BulkLine, Cancelled, Completion, Finished, Idempotency, Lookup, Member,
    NewBulk, NewTask, News, Offer, Role, Submitted,
};

/// Nothing here takes longer.
const SOON: Duration = Duration::from_secs(30);

/// Another server on the store, if there can be one.
async fn beside(world: &World) -> Option<Arc<dyn Backend>> {
    let capabilities = world.store.capabilities();
    if !capabilities.shared {
        eprintln!("skipped: {} does not declare `shared`", capabilities.name);
        return None;
    }
    let beside = world.harness.open_beside().await;
    assert!(beside.is_some(), "a shared store can be opened twice");
    beside
}

/// Waits for a fact that comes about by itself.
async fn soon(what: &str, is_so: impl Fn() -> bool) {
    let comes = async {
        while !is_so() {
            sleep(Duration::from_millis(2)).await; // only keeps the asking civil
        }
    };
    assert!(timeout(SOON, comes).await.is_ok(), "{what}");
}

/// Waits for a piece of news; what comes before it is passed over.
async fn told(store: &Arc<dyn Backend>, is_meant: impl Fn(&News) -> bool) -> News {
    let heard = async {
        loop {
            if let Some(news) = store.news().await.into_iter().find(|news| is_meant(news)) {
                return news;
            }
        }
    };
    timeout(SOON, heard).await.unwrap()
}

fn moved(id: TaskId, state: State, was_leased: bool) -> News {
    News::Moved {
        id,
        model: model("digits"),
        state,
        was_leased,
    }
}

async fn state(store: &Arc<dyn Backend>, id: TaskId) -> State {
    match store.fetch(id).await.unwrap() {
        Lookup::Found(record) => record.state,
        other => panic!("{id} should be found, is {other:?}"),
    }
}

pub(super) async fn what_one_accepts_another_runs_and_nobody_else_ends(world: World) {
    let Some(other) = beside(&world).await else { return };
    let id = world.submit(task("digits")).await;
    told(&other, |news| *news == News::Work(model("digits"))).await;
    assert_eq!(
        other.depth(&model("digits")).tasks,
        1,
        "it is counted before it is told"
    );
    let lease = other.lease(request("digits", ALL)).await.unwrap().remove(0);
    assert_eq!((lease.id, lease.attempt.0), (id, 1));
    assert!(world.lease("digits", ALL).await.is_empty());
    assert_eq!(world.finish(success(&lease, at(5))).await, Finished::Stale);
    assert_eq!(world.retry(retrying(&lease, at(9))).await, Finished::Stale);
    world.release(std::slice::from_ref(&lease)).await;
    assert_eq!(state(&world.store, id).await, State::Started);
    let recorded = other.finish(vec![success(&lease, at(6))]).await.unwrap();
    assert_eq!(recorded, [Finished::Recorded]);
    told(&world.store, |news| *news == moved(id, State::Success, false)).await;
    assert_eq!(state(&world.store, id).await, State::Success);
    other.close().await.unwrap();
}

pub(super) async fn a_cancellation_reaches_the_holder_wherever_it_is(world: World) {
    let Some(other) = beside(&world).await else { return };
    let id = world.submit(task("digits")).await;
    soon("it is counted", || other.depth(&model("digits")).tasks == 1).await;
    let lease = other.lease(request("digits", ALL)).await.unwrap().remove(0);
    assert_eq!(world.cancel(id).await, Cancelled::Leased(model("digits")));
    told(&other, |news| *news == moved(id, State::Revoked, true)).await;
    let ended = other.finish(vec![success(&lease, at(5))]).await.unwrap();
    assert_eq!(ended, [Finished::Stale]);
    assert_eq!(
        other.cancel(id, "again", at(6)).await.unwrap(),
        Cancelled::Ended(State::Revoked)
    );
    other.close().await.unwrap();
}

pub(super) async fn leases_of_a_server_that_died_come_back_and_those_of_one_that_lives_stay(world: World) {
    let Some(other) = beside(&world).await else { return };
    let ids_all = world.submit_many("digits", 2).await;
    let kept = world.lease_one("digits").await;
    soon("it is counted", || other.depth(&model("digits")).tasks == 1).await;
    let lost = other.lease(request("digits", 1)).await.unwrap().remove(0);
    assert_eq!([kept.id, lost.id], *ids_all);
    world.harness.crash_one(other).await;
    told(&world.store, |news| *news == News::LookAgain).await;
    assert_eq!(world.depth("digits").tasks, 1);
    let again = world.lease_one("digits").await;
    assert_eq!((again.id, again.attempt.0), (lost.id, 2));
    let history = world.record(lost.id).await.history;
    assert_eq!(history.len(), 1);
    assert!(history[0].reason.contains("ended while it ran"), "{history:?}");
    for lease in [&kept, &again] {
        assert_eq!(world.finish(success(lease, at(9))).await, Finished::Recorded);
    }
    assert!(world.record(kept.id).await.history.is_empty());
}

pub(super) async fn a_task_that_is_born_leased_is_its_submitters_until_that_dies(world: World) {
    let Some(other) = beside(&world).await else { return };
    let born = || NewTask {
        started_at: Some(at(70)),
        ..task("digits")
    };
    let (kept, lost) = (born(), born());
    let (kept_id, lost_id) = (kept.id, lost.id);
    world.submit(kept).await;
    assert_eq!(other.submit(lost).await.unwrap(), Submitted::New);
    let end = |id: TaskId| Completion {
        id,
        attempt: Attempt(1),
        redeliveries: 0,
        history: Vec::new(),
        outcome: Outcome::Success(json("7")),
        version: None,
        finished_at: at(90),
        evidence: None,
        cached: false,
    };
    assert_eq!(world.finish(end(lost_id)).await, Finished::Stale);
    world.harness.crash_one(other).await;
    told(&world.store, |news| *news == News::LookAgain).await;
    assert_eq!(world.depth("digits").tasks, 1);
    let again = world.lease_one("digits").await;
    assert_eq!((again.id, again.attempt), (lost_id, Attempt(2)));
    assert_eq!(world.finish(end(kept_id)).await, Finished::Recorded);
    assert_eq!(world.finish(success(&again, at(95))).await, Finished::Recorded);
}

pub(super) async fn who_leaves_gives_back_what_it_has_at_once(world: World) {
    let Some(other) = beside(&world).await else { return };
    let id = world.submit(task("digits")).await;
    soon("it is counted", || other.depth(&model("digits")).tasks == 1).await;
    other.lease(request("digits", ALL)).await.unwrap();
    soon("it is leased", || world.depth("digits").tasks == 0).await;
    other.close().await.unwrap();
    told(&world.store, |news| *news == News::LookAgain).await;
    assert_eq!(world.depth("digits").tasks, 1);
    assert_eq!(world.lease_one("digits").await.id, id);
}

/// What a worker with these models says.
fn running(models: &[&str]) -> About {
    let offer = |name: &&str| {
        let offer = Offer {
            version: "1".into(),
            settings: format!("name = \"{name}\"\n"),
            state: "ready".into(),
            ready: true,
            ..Offer::default()
        };
        (model(name), offer)
    };
    About {
        role: Role::Worker,
        host: "gpu-1".into(),
        pid: 7,
        program: "0.1.0".into(),
        stopping: false,
        store: None,
        models: models.iter().map(offer).collect(),
    }
}

pub(super) async fn what_a_server_serves_is_known_to_the_others_while_it_is_there(world: World) {
    let Some(beside) = beside(&world).await else {
        return;
    };
    let asked = || vec![model("here"), model("there"), model("nowhere")];
    let elsewhere = async |store: &Arc<dyn Backend>| store.served_elsewhere(asked()).await.unwrap();
    let say = async |store: &Arc<dyn Backend>, models: &[&str]| {
        store.introduce(running(models), true).await.unwrap();
    };
    say(&world.store, &["digits"]).await;
    assert_eq!(elsewhere(&world.store).await, []);
    say(&beside, &["here", "there"]).await;
    let mut known = elsewhere(&world.store).await;
    known.sort();
    assert_eq!(known, [model("here"), model("there")]);
    say(&beside, &["there"]).await;
    assert_eq!(
        elsewhere(&world.store).await,
        [model("there")],
        "what it said before is over"
    );
    beside.close().await.unwrap();
    assert_eq!(elsewhere(&world.store).await, []);
}

pub(super) async fn what_servers_say_of_themselves_is_told_shown_and_remembered(world: World) {
    let Some(beside) = beside(&world).await else {
        return;
    };
    let said = async |with_ended: bool| -> Vec<(About, bool)> {
        let members = world.store.members(with_ended).await.unwrap();
        assert!(members.is_sorted_by_key(|member| (member.ended_at.is_none(), member.id)));
        let said = |member: Member| (member.about, member.ended_at.is_some());
        members.into_iter().map(said).collect()
    };
    assert_eq!(
        said(true).await,
        [(About::default(), false), (About::default(), false)]
    );
    let (mine, theirs) = (running(&[]), running(&["digits"]));
    world.store.introduce(mine.clone(), true).await.unwrap();
    beside.introduce(theirs.clone(), true).await.unwrap();
    told(&world.store, |news| *news == News::Members).await;
    assert_eq!(
        said(false).await,
        [(mine.clone(), false), (theirs.clone(), false)]
    );
    let mut busy = theirs.clone();
    busy.models.values_mut().for_each(|offer| offer.load.running = 5);
    beside.introduce(busy.clone(), false).await.unwrap();
    assert_eq!(said(false).await, [(mine.clone(), false), (busy.clone(), false)]);
    beside.close().await.unwrap();
    told(&world.store, |news| *news == News::LookAgain).await;
    assert_eq!(said(false).await, [(mine.clone(), false)]);
    assert_eq!(said(true).await, [(busy, true), (mine, false)]);
}

pub(super) async fn of_many_servers_each_task_has_one_holder(world: World) {
    const TASKS: usize = 300;
    let Some(other) = beside(&world).await else { return };
    let third = world.harness.open_beside().await.unwrap();
    world.submit_many("digits", TASKS).await;
    let mut leasers = JoinSet::new();
    for store in [world.store.clone(), other.clone(), third.clone()] {
        for number in 0..2 {
            let store = store.clone();
            leasers.spawn(async move {
                let mut dice = Dice::new(number);
                let mut held = Vec::new();
                // An empty answer may be what another has in its hands at that moment.
                while store.depth(&model("digits")).tasks > 0 {
                    let leases = store.lease(request("digits", 1 + dice.below(9))).await.unwrap();
                    let done = leases.iter().map(|lease| success(lease, at(5))).collect();
                    let ends = store.finish(done).await.unwrap();
                    assert!(ends.iter().all(|end| *end == Finished::Recorded));
                    held.extend(ids(&leases));
                }
                held
            });
        }
    }
    let held: Vec<TaskId> = leasers.join_all().await.into_iter().flatten().collect();
    assert_eq!(held.len(), TASKS);
    assert_eq!(held.iter().collect::<HashSet<_>>().len(), TASKS);
    other.close().await.unwrap();
    third.close().await.unwrap();
}

/// Whatever each of them does, and whoever comes while it is done.
pub(super) async fn all_servers_come_to_the_same_counts(world: World) {
    let Some(other) = beside(&world).await else { return };
    let mut busy = JoinSet::new();
    for (number, store) in [world.store.clone(), other.clone()].into_iter().enumerate() {
        busy.spawn(async move {
            let mut dice = Dice::new(number as u64);
            for _ in 0..150 {
                let new = NewTask {
                    client: Some(client(["anna", "bert"][dice.below(2)])),
                    due_at: (dice.below(4) == 0).then(|| at(900_000 + dice.below(50) as i64)),
                    ..telling(
                        ["a.example", "b.example"][dice.below(2)],
                        Events::of(Event::ALL).unwrap(),
                    )
                };
                let id = new.id;
                store.submit(new).await.unwrap();
                let leases = store.lease(request("digits", dice.below(3))).await.unwrap();
                for lease in leases {
                    match dice.below(4) {
                        0 => store.release(vec![giving_up(&lease)]).await.unwrap(),
                        1 => drop(store.retry(vec![retrying(&lease, at(800_000))]).await.unwrap()),
                        _ => drop(store.finish(vec![success(&lease, at(2_000))]).await.unwrap()),
                    }
                }
                if dice.below(5) == 0 {
                    store.cancel(id, "no", at(3_000)).await.unwrap();
                }
            }
        });
    }
    let third = world.harness.open_beside().await.unwrap();
    busy.join_all().await;
    let fresh = world.harness.open_beside().await.unwrap();
    let seen = |store: &Arc<dyn Backend>| {
        (
            store.depth(&model("digits")),
            store.load(),
            [client("anna"), client("bert")].map(|who| store.client_load(&who)),
            ["a.example:443", "b.example:443"].map(|host| store.outbox_of(host)),
            *store.outbox().borrow(),
        )
    };
    let exact = seen(&fresh);
    assert!(
        exact.0.tasks > 0 && exact.0.delayed > 0 && exact.3[0] > 0,
        "{exact:?}"
    );
    for (name, store) in [("first", &world.store), ("second", &other), ("third", &third)] {
        let same = timeout(Duration::from_secs(10), soon(name, || seen(store) == exact)).await;
        assert!(same.is_ok(), "{name}: {:?} is not {exact:?}", seen(store));
    }
    for store in [other, third, fresh] {
        store.close().await.unwrap();
    }
}

pub(super) async fn one_key_makes_one_task_wherever_it_is_sent(world: World) {
    let Some(other) = beside(&world).await else { return };
    for round in 0..20 {
        let mut submits = JoinSet::new();
        for store in [&world.store, &other, &world.store, &other] {
            let store = Arc::clone(store);
            let key = format!("key-{round}").parse().unwrap();
            let new = NewTask {
                idempotency: Some(Idempotency { key, digest: [7; 32] }),
                ..task("digits")
            };
            submits.spawn(async move { store.submit(new).await.unwrap() });
        }
        let answers = submits.join_all().await;
        let new = answers.iter().filter(|answer| **answer == Submitted::New).count();
        assert_eq!(new, 1, "{answers:?}");
    }
    assert_eq!(world.lease("digits", ALL).await.len(), 20);
    other.close().await.unwrap();
}

pub(super) async fn what_many_expire_and_purge_at_once_goes_once(world: World) {
    const TASKS: usize = 120;
    let Some(other) = beside(&world).await else { return };
    let mut all = HashSet::new();
    for _ in 0..TASKS {
        let new = NewTask {
            expires_at: Some(at(10)),
            ..telling("a.example", Events::FINAL)
        };
        all.insert(world.submit(new).await);
    }
    let stores = [&world.store, &other, &world.store, &other];
    let mut expirers = JoinSet::new();
    for store in stores {
        let store = Arc::clone(store);
        expirers.spawn(async move { store.expire(at(20)).await.unwrap().revoked });
    }
    let revoked: Vec<TaskId> = expirers
        .join_all()
        .await
        .into_iter()
        .flatten()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(revoked.len(), TASKS);
    assert_eq!(revoked.into_iter().collect::<HashSet<_>>(), all);
    soon("all are told", || other.outbox().borrow().open == TASKS as u64).await;
    let mut senders = JoinSet::new();
    for store in stores {
        let store = Arc::clone(store);
        senders.spawn(async move { store.outbox_lease(wanted(later())).await.unwrap().sendings });
    }
    let sent: Vec<_> = senders.join_all().await.into_iter().flatten().collect();
    assert_eq!(sent.len(), TASKS, "each delivery is sent by one");
    assert_eq!(sent.iter().map(|one| one.id.task).collect::<HashSet<_>>(), all);
    let mut purgers = JoinSet::new();
    for store in stores {
        let store = Arc::clone(store);
        purgers.spawn(async move { store.purge(later()).await.unwrap() });
    }
    let purged: usize = purgers.join_all().await.into_iter().sum();
    assert_eq!(purged, TASKS);
    other.close().await.unwrap();
}

pub(super) async fn the_lines_of_a_bulk_are_accepted_once_by_whomever(world: World) {
    let Some(other) = beside(&world).await else { return };
    let bulk = NewBulk {
        id: cresset_task::BulkId::fresh(),
        model: model("digits"),
        tenant: None,
        key: None,
        metadata: None,
        created_at: at(0),
    };
    let id = bulk.id;
    world.store.bulk_make(bulk).await.unwrap();
    let mut adders = JoinSet::new();
    for store in [&world.store, &other, &world.store, &other] {
        let store = Arc::clone(store);
        let lines = (0..40)
            .map(|_| BulkLine::Task(Box::new(task("digits"))))
            .collect();
        adders.spawn(async move { store.bulk_add(id, 0, lines, at(1)).await.unwrap() });
    }
    let added = adders.join_all().await;
    let count = |answer: &BulkAdded| match answer {
        BulkAdded::Added(count) => *count,
        other => panic!("{other:?}"),
    };
    assert_eq!(added.iter().map(count).sum::<usize>(), 40, "{added:?}");
    assert_eq!(world.lease("digits", ALL).await.len(), 40);
    other.close().await.unwrap();
}
