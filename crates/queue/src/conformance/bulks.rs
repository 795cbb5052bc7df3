//! Many tasks that come in one request.

use cresset_task::{BulkId, Ownership, TaskId};

use super::world::{ALL, TICK, World, at, model, queued, success, task};
use crate::{
    BULK_LINES_MAX, Bulk, BulkAdded, BulkCounts, BulkCursor, BulkFound, BulkLine, BulkMade, BulkQuery,
    BulkSealed, Finished, Lookup, NewBulk, NewTask, QueueErrorKind,
};

/// Whether there is anything to check; what is refused is checked to be refused as such.
async fn has_bulks(world: &World) -> bool {
    let capabilities = world.store.capabilities();
    if !capabilities.bulks {
        eprintln!("skipped: {} does not declare `bulks`", capabilities.name);
        let refused = world.store.bulk_make(new(None)).await.unwrap_err();
        assert_eq!(refused.kind, QueueErrorKind::Unsupported);
    }
    capabilities.bulks
}

fn new(key: Option<&str>) -> NewBulk {
    NewBulk {
        id: BulkId::fresh(),
        model: model("digits"),
        tenant: Some("ours".parse().unwrap()),
        key: key.map(|key| key.parse().unwrap()),
        metadata: Some("{\"a\": [1]}".into()),
        created_at: at(0),
    }
}

async fn made(world: &World) -> BulkId {
    let new = new(None);
    let id = new.id;
    assert_eq!(world.store.bulk_make(new).await.unwrap(), BulkMade::New);
    id
}

/// So many good lines, and the ids of their tasks.
fn good(count: usize) -> (Vec<BulkLine>, Vec<TaskId>) {
    let tasks: Vec<NewTask> = (0..count).map(|_| task("digits")).collect();
    let ids = tasks.iter().map(|task| task.id).collect();
    let lines = tasks.into_iter().map(|task| BulkLine::Task(Box::new(task)));
    (lines.collect(), ids)
}

async fn add(world: &World, id: BulkId, first: u64, lines: Vec<BulkLine>) -> BulkAdded {
    world.store.bulk_add(id, first, lines, at(1)).await.unwrap()
}

async fn found(world: &World, id: BulkId) -> Vec<BulkFound> {
    world.store.bulk_lines(id, 0, 1_000).await.unwrap()
}

async fn shown(world: &World, id: BulkId) -> Bulk {
    world.store.bulk(id).await.unwrap().unwrap()
}

fn tasks(ids: &[TaskId]) -> Vec<BulkFound> {
    ids.iter().map(|id| BulkFound::Task(*id)).collect()
}

pub(super) async fn the_lines_of_a_bulk_are_tasks_and_are_found_in_order(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let id = made(&world).await;
    let (mut lines, ids) = good(3);
    lines.insert(1, BulkLine::Wrong("`input` is missing".into()));
    assert_eq!(add(&world, id, 0, lines).await, BulkAdded::Added(4));
    let world = world.crash().await;
    let wrong = BulkFound::Wrong("`input` is missing".into());
    let all = [
        BulkFound::Task(ids[0]),
        wrong.clone(),
        BulkFound::Task(ids[1]),
        BulkFound::Task(ids[2]),
    ];
    assert_eq!(found(&world, id).await, all);
    assert_eq!(world.store.bulk_lines(id, 1, 2).await.unwrap(), all[1..3]);
    assert_eq!(world.store.bulk_lines(id, 4, 2).await.unwrap(), []);
    assert_eq!(world.store.bulk_lines(BulkId::fresh(), 0, 2).await.unwrap(), []);
    assert_eq!(world.depth("digits"), queued(3, 21));
    let bulk = shown(&world, id).await;
    let expected = Bulk {
        id,
        model: model("digits"),
        tenant: Some("ours".parse().unwrap()),
        metadata: Some("{\"a\": [1]}".into()),
        created_at: at(0),
        accepted: 4,
        total: None,
        cancelled_at: None,
        finished_at: None,
        counts: BulkCounts {
            pending: 3,
            wrong: 1,
            ..BulkCounts::default()
        },
    };
    assert_eq!(bulk, expected);
    assert_eq!(world.store.bulk(BulkId::fresh()).await.unwrap(), None);
    assert_eq!(
        world.store.owner(ids[0]).await.unwrap(),
        Ownership::Of(None),
        "a task is whose it says"
    );
    let leased = world.lease("digits", ALL).await;
    assert_eq!(leased.iter().map(|lease| lease.id).collect::<Vec<_>>(), ids);
}

pub(super) async fn a_key_makes_one_bulk_also_across_a_crash(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let first = new(Some("k"));
    let id = first.id;
    assert_eq!(world.store.bulk_make(first).await.unwrap(), BulkMade::New);
    let again = world.store.bulk_make(new(Some("k"))).await.unwrap();
    assert_eq!(again, BulkMade::Known(id));
    let world = world.crash().await;
    let again = world.store.bulk_make(new(Some("k"))).await.unwrap();
    assert_eq!(again, BulkMade::Known(id));
    let other = NewBulk {
        model: model("other"),
        ..new(Some("k"))
    };
    assert_eq!(world.store.bulk_make(other).await.unwrap(), BulkMade::New);
    for _ in 0..2 {
        assert_eq!(world.store.bulk_make(new(None)).await.unwrap(), BulkMade::New);
    }
}

pub(super) async fn a_line_is_accepted_once_however_often_it_is_added(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let id = made(&world).await;
    let (lines, ids) = good(4);
    assert_eq!(add(&world, id, 0, lines[..2].to_vec()).await, BulkAdded::Added(2));
    let (others, _) = good(2);
    assert_eq!(add(&world, id, 0, others.clone()).await, BulkAdded::Added(0));
    assert_eq!(add(&world, id, 3, others.clone()).await, BulkAdded::Gap(2));
    let world = world.crash().await;
    let overlapping = vec![others[0].clone(), lines[2].clone(), lines[3].clone()];
    assert_eq!(add(&world, id, 1, overlapping).await, BulkAdded::Added(2));
    assert_eq!(found(&world, id).await, tasks(&ids));
    assert_eq!(world.depth("digits"), queued(4, 28));
    assert_eq!(add(&world, BulkId::fresh(), 0, others).await, BulkAdded::Unknown);
}

pub(super) async fn of_many_who_add_the_same_lines_each_line_is_accepted_once(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let id = made(&world).await;
    let mut adding = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = std::sync::Arc::clone(&world.store);
        adding.spawn(async move {
            let mut new = 0;
            for group in 0..10 {
                let (lines, _) = good(5);
                match store.bulk_add(id, group * 5, lines, at(1)).await.unwrap() {
                    BulkAdded::Added(added) => new += added,
                    other => panic!("{other:?}"),
                }
            }
            new
        });
    }
    let new: usize = adding.join_all().await.into_iter().sum();
    assert_eq!(new, 50);
    assert_eq!(shown(&world, id).await.counts.pending, 50);
    assert_eq!(world.depth("digits"), queued(50, 350));
}

pub(super) async fn lines_are_added_all_or_none(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let taken = world.submit(task("digits")).await;
    let id = made(&world).await;
    let (too_many, _) = good(BULK_LINES_MAX + 1);
    assert!(world.store.bulk_add(id, 0, too_many, at(1)).await.is_err());
    let (mut lines, _) = good(3);
    let twin = NewTask {
        id: taken,
        ..task("digits")
    };
    lines.push(BulkLine::Task(Box::new(twin)));
    assert!(world.store.bulk_add(id, 0, lines, at(1)).await.is_err());
    assert_eq!(found(&world, id).await, []);
    assert_eq!(world.depth("digits"), queued(1, 7));
    let (lines, ids) = good(BULK_LINES_MAX);
    assert_eq!(add(&world, id, 0, lines).await, BulkAdded::Added(BULK_LINES_MAX));
    assert_eq!(found(&world, id).await, tasks(&ids));
}

pub(super) async fn a_sealed_bulk_takes_no_more_and_knows_how_many_it_has(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let id = made(&world).await;
    let (lines, _) = good(2);
    add(&world, id, 0, lines.clone()).await;
    let seal = async |world: &World, total| world.store.bulk_seal(id, total).await.unwrap();
    assert_eq!(seal(&world, 3).await, BulkSealed::Differs(2));
    assert_eq!(seal(&world, 1).await, BulkSealed::Differs(2));
    assert_eq!(seal(&world, 2).await, BulkSealed::Sealed);
    let world = world.crash().await;
    assert_eq!(seal(&world, 2).await, BulkSealed::Sealed);
    assert_eq!(seal(&world, 3).await, BulkSealed::Differs(2));
    assert_eq!(shown(&world, id).await.total, Some(2));
    assert_eq!(
        add(&world, id, 0, lines).await,
        BulkAdded::Added(0),
        "known lines"
    );
    let (more, _) = good(1);
    assert_eq!(add(&world, id, 2, more).await, BulkAdded::Sealed(2));
    let unknown = world.store.bulk_seal(BulkId::fresh(), 0).await.unwrap();
    assert_eq!(unknown, BulkSealed::Unknown);
}

pub(super) async fn a_cancelled_bulk_takes_no_more_and_its_open_tasks_are_found(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let id = made(&world).await;
    let (lines, ids) = good(3);
    add(&world, id, 0, lines).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(world.finish(success(&lease, at(9))).await, Finished::Recorded);
    assert!(world.store.bulk_cancel(id, at(10)).await.unwrap());
    let world = world.crash().await;
    assert!(world.store.bulk_cancel(id, at(20)).await.unwrap());
    assert_eq!(shown(&world, id).await.cancelled_at, Some(at(10)));
    let (more, _) = good(1);
    assert_eq!(add(&world, id, 3, more).await, BulkAdded::Cancelled);
    let mut open = world.store.bulk_open(id, 10).await.unwrap();
    open.sort_unstable();
    assert_eq!(open, ids[1..]);
    assert_eq!(world.store.bulk_open(id, 1).await.unwrap().len(), 1);
    for id in &ids[1..] {
        world.cancel(*id).await;
    }
    assert_eq!(world.store.bulk_open(id, 10).await.unwrap(), []);
    assert!(!world.store.bulk_cancel(BulkId::fresh(), at(1)).await.unwrap());
}

pub(super) async fn a_bulk_is_counted_as_its_tasks_are(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let id = made(&world).await;
    let (mut lines, ids) = good(4);
    lines.push(BulkLine::Wrong("no".into()));
    add(&world, id, 0, lines).await;
    world.submit(task("digits")).await; // one that came alone is not counted
    let leases = world.lease("digits", 2).await;
    world.finish(success(&leases[0], at(7))).await;
    world.cancel(ids[3]).await;
    let counts = BulkCounts {
        pending: 1,
        started: 1,
        success: 1,
        revoked: 1,
        wrong: 1,
        ..BulkCounts::default()
    };
    let bulk = shown(&world, id).await;
    assert_eq!((bulk.counts, bulk.finished_at), (counts, None));
    world.finish(success(&leases[1], at(8))).await;
    let last = world.lease("digits", 1).await;
    world.finish(success(&last[0], at(9_000))).await;
    let bulk = shown(&world, id).await;
    let counts = BulkCounts {
        success: 3,
        revoked: 1,
        wrong: 1,
        ..BulkCounts::default()
    };
    assert_eq!((bulk.counts, bulk.finished_at), (counts, Some(at(9_000))));
}

pub(super) async fn a_bulk_is_kept_as_long_as_its_tasks(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let first = new(Some("k"));
    let id = first.id;
    world.store.bulk_make(first).await.unwrap();
    let (mut lines, ids) = good(2);
    lines.push(BulkLine::Wrong("no".into()));
    add(&world, id, 0, lines).await;
    let lease = world.lease_one("digits").await;
    world.finish(success(&lease, at(9))).await;
    let later = at(9).plus(world.harness.ttl().results).plus(TICK);
    assert_eq!(world.purge_all(later).await, 1, "its task only");
    assert_eq!(world.lookup(ids[0]).await, Lookup::Expired);
    let bulk = shown(&world, id).await;
    assert_eq!(
        (bulk.accepted, bulk.counts.forgotten, bulk.counts.pending),
        (3, 1, 1)
    );
    assert_eq!(bulk.counts.sum(), bulk.accepted);
    let kept = found(&world, id).await;
    let wrong = BulkFound::Wrong("no".into());
    assert_eq!(kept, [BulkFound::Forgotten, BulkFound::Task(ids[1]), wrong]);
    let lease = world.lease_one("digits").await;
    world.finish(success(&lease, later)).await;
    let end = later.plus(world.harness.ttl().results).plus(TICK);
    world.purge_all(end).await;
    assert_eq!(world.store.bulk(id).await.unwrap(), None);
    assert_eq!(found(&world, id).await, []);
    assert_eq!(
        world.store.bulk_make(new(Some("k"))).await.unwrap(),
        BulkMade::New,
        "its key is free"
    );
}

pub(super) async fn bulks_are_listed_newest_first_page_by_page(world: World) {
    if !has_bulks(&world).await {
        return;
    }
    let mut ids = Vec::new();
    for whose in ["ours", "theirs", "ours", "ours"] {
        let new = NewBulk {
            tenant: Some(whose.parse().unwrap()),
            ..new(None)
        };
        ids.push(new.id);
        world.store.bulk_make(new).await.unwrap();
    }
    let owner = async |id| world.store.bulk_owner(id).await.unwrap();
    assert_eq!(
        owner(ids[1]).await,
        Ownership::Of(Some("theirs".parse().unwrap()))
    );
    assert_eq!(owner(BulkId::fresh()).await, Ownership::Unknown);
    let page = async |tenant: Option<&str>, after| {
        let query = BulkQuery {
            tenant: tenant.map(|name| name.parse().unwrap()),
            after,
            limit: 2,
        };
        let page = world.store.bulks(query).await.unwrap();
        let ids: Vec<_> = page.bulks.iter().map(|bulk| bulk.id).collect();
        (ids, page.next)
    };
    let (first, next) = page(None, None).await;
    assert_eq!(first, [ids[3], ids[2]]);
    made(&world).await; // what comes meanwhile moves nothing
    let (second, next) = page(None, next).await;
    assert_eq!((second, next), (vec![ids[1], ids[0]], None));
    let (first, next) = page(Some("ours"), Some(BulkCursor(0))).await;
    assert_eq!((first, next), (vec![], None), "behind all there is nothing");
    assert_eq!(page(Some("theirs"), None).await, (vec![ids[1]], None));
}
