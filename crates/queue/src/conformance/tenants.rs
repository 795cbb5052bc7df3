//! Whose tasks are whose.

use cresset_task::{DeadLetter, Evidence, Ownership, TaskId, Tenant};

use super::world::{ALL, TICK, World, at, ended, json, model, success, task};
use crate::{
    Completion, Finished, Idempotency, IdempotencyKey, LetterFilter, LetterQuery, Lookup, NewTask, Replayed,
    Submitted, TaskQuery,
};

fn tenant(name: &str) -> Option<Tenant> {
    Some(name.parse().unwrap())
}

fn of(tenant: Option<Tenant>) -> NewTask {
    NewTask {
        tenant,
        ..task("digits")
    }
}

async fn owner(world: &World, id: TaskId) -> Ownership {
    world.store.owner(id).await.unwrap()
}

async fn listed(world: &World, tenant: Option<Tenant>) -> Vec<TaskId> {
    let query = TaskQuery {
        tenant,
        limit: 100,
        ..TaskQuery::default()
    };
    let page = world.store.tasks(query).await.unwrap();
    page.tasks.iter().map(|task| task.id).collect()
}

async fn letters(world: &World, tenant: Option<Tenant>) -> Vec<DeadLetter> {
    let query = LetterQuery {
        tenant,
        limit: 100,
        ..LetterQuery::default()
    };
    world.store.letters(query).await.unwrap().letters
}

/// Submits a task of this tenant that takes its process down.
async fn poison(world: &World, whose: Option<Tenant>) -> TaskId {
    let id = world.submit(of(whose)).await;
    let lease = world.lease_one("digits").await;
    let failure = cresset_task::Failure::new(cresset_task::Code::InstanceDied, "InstanceDied", "it exits");
    let evidence = Evidence {
        cause: "exit".into(),
        reason: "it exits".into(),
        tried: 3,
        resident_bytes: None,
        log: Vec::new(),
    };
    let completion = Completion {
        evidence: Some(Box::new(evidence)),
        ..ended(&lease, cresset_task::Outcome::Failure(failure), at(9))
    };
    assert_eq!(world.finish(completion).await, Finished::Recorded);
    id
}

pub(super) async fn an_owner_is_known_from_submit_to_the_end_of_memory(world: World) {
    let ours = world.submit(of(tenant("ours"))).await;
    let nobodys = world.submit(of(None)).await;
    for id in [ours, nobodys] {
        let lease = world.lease_one("digits").await;
        assert_eq!(lease.id, id);
        assert_eq!(world.finish(success(&lease, at(10))).await, Finished::Recorded);
    }
    let world = world.crash().await;
    assert_eq!(owner(&world, ours).await, Ownership::Of(tenant("ours")));
    assert_eq!(owner(&world, nobodys).await, Ownership::Of(None));
    assert_eq!(owner(&world, TaskId::fresh()).await, Ownership::Unknown);
    let purged_at = at(10).plus(world.harness.ttl().results * 2);
    assert_eq!(world.purge_all(purged_at).await, 2);
    assert_eq!(world.lookup(ours).await, Lookup::Expired);
    assert_eq!(owner(&world, ours).await, Ownership::Of(tenant("ours")));
    assert_eq!(owner(&world, nobodys).await, Ownership::Of(None));
    let forgotten = purged_at.plus(world.harness.ttl().tombstones).plus(TICK);
    assert_eq!(world.purge_all(forgotten).await, 2);
    assert_eq!(owner(&world, ours).await, Ownership::Unknown);
}

pub(super) async fn a_list_can_be_of_one_tenant(world: World) {
    let mut ids = Vec::new();
    for whose in ["ours", "theirs", "ours"] {
        ids.push(world.submit(of(tenant(whose))).await);
    }
    ids.push(world.submit(of(None)).await);
    assert_eq!(listed(&world, tenant("ours")).await, [ids[2], ids[0]]);
    assert_eq!(listed(&world, tenant("theirs")).await, [ids[1]]);
    assert_eq!(listed(&world, tenant("nobody")).await, []);
    assert_eq!(listed(&world, None).await.len(), 4);
    assert_eq!(world.lease("digits", ALL).await.len(), 4, "one queue for all");
}

pub(super) async fn a_letter_and_its_replay_are_of_the_tasks_tenant(world: World) {
    let ours = poison(&world, tenant("ours")).await;
    let theirs = poison(&world, tenant("theirs")).await;
    let nobodys = poison(&world, None).await;
    let of_ours = letters(&world, tenant("ours")).await;
    assert_eq!(
        of_ours
            .iter()
            .map(|one| (one.id, one.tenant.clone()))
            .collect::<Vec<_>>(),
        [(ours, tenant("ours"))]
    );
    assert_eq!(letters(&world, None).await.len(), 3);
    let again = of(tenant("ours"));
    let id = again.id;
    assert_eq!(world.store.replay(ours, again).await.unwrap(), Replayed::New);
    assert_eq!(owner(&world, id).await, Ownership::Of(tenant("ours")));
    let filter = |whose: &str, name: Option<&str>| LetterFilter {
        tenant: tenant(whose),
        model: name.map(model),
        before: None,
    };
    assert_eq!(
        world
            .store
            .discard_all(filter("theirs", Some("other")))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        world
            .store
            .discard_all(filter("theirs", Some("digits")))
            .await
            .unwrap(),
        1
    );
    assert_eq!(world.store.letter(theirs).await.unwrap(), None);
    assert_eq!(world.store.discard_all(filter("ours", None)).await.unwrap(), 1);
    let left = letters(&world, None).await;
    assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [nobodys]);
}

pub(super) async fn each_tenant_has_keys_of_its_own(world: World) {
    let key: IdempotencyKey = "k".parse().unwrap();
    let mut made = Vec::new();
    for whose in [tenant("ours"), tenant("theirs"), None] {
        let key = whose.as_ref().map_or(key.clone(), |tenant| key.within(tenant));
        let idempotency = Some(Idempotency { key, digest: [1; 32] });
        let new = NewTask {
            idempotency,
            payload: json("[1]"),
            ..of(whose)
        };
        made.push(new.id);
        assert_eq!(world.store.submit(new.clone()).await.unwrap(), Submitted::New);
        let again = NewTask {
            id: TaskId::fresh(),
            ..new
        };
        let known = world.store.submit(again).await.unwrap();
        assert!(matches!(known, Submitted::Replayed { id, .. } if id == made[made.len() - 1]));
    }
}
