//! The list of tasks.

use cresset_task::{Attempt, State, TaskId, TaskSummary};

use super::world::{TICK, World, at, model, retrying, success, task};
use crate::{NewTask, TaskCursor, TaskQuery};

async fn page(world: &World, query: TaskQuery) -> (Vec<TaskSummary>, Option<TaskCursor>) {
    let limit = query.limit;
    let page = world.store.tasks(query).await.unwrap();
    assert!(page.tasks.len() <= limit);
    (page.tasks, page.next)
}

/// The whole list, in pages of so many.
async fn list(world: &World, name: Option<&str>, state: Option<State>, limit: usize) -> Vec<TaskId> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let query = TaskQuery {
            model: name.map(model),
            state,
            tenant: None,
            after,
            limit,
        };
        let (tasks, next) = page(world, query).await;
        all.extend(tasks.iter().map(|task| task.id));
        after = next;
        if after.is_none() {
            return all;
        }
    }
}

fn reversed(mut ids: Vec<TaskId>) -> Vec<TaskId> {
    ids.reverse();
    ids
}

pub(super) async fn tasks_are_listed_newest_first_page_by_page(world: World) {
    assert_eq!(list(&world, None, None, 10).await, []);
    let mut ids = Vec::new();
    for number in 0..7 {
        let name = if number % 3 == 0 { "rare" } else { "digits" };
        ids.push(world.submit(task(name)).await);
    }
    for limit in [1, 2, 3, 6, 7, 8, 100] {
        assert_eq!(
            list(&world, None, None, limit).await,
            reversed(ids.clone()),
            "{limit}"
        );
    }
    let rare = vec![ids[0], ids[3], ids[6]];
    for limit in [1, 2, 3, 4] {
        assert_eq!(
            list(&world, Some("rare"), None, limit).await,
            reversed(rare.clone()),
            "{limit}"
        );
    }
    assert_eq!(list(&world, Some("nobody"), None, 2).await, []);
    // What comes meanwhile moves nothing.
    let first = TaskQuery {
        limit: 3,
        ..TaskQuery::default()
    };
    let (seen, next) = page(&world, first).await;
    world.submit(task("digits")).await;
    let rest = TaskQuery {
        after: next,
        limit: 100,
        ..TaskQuery::default()
    };
    let (rest, end) = page(&world, rest).await;
    let walked: Vec<_> = seen.iter().chain(&rest).map(|task| task.id).collect();
    assert_eq!((walked, end), (reversed(ids), None));
}

pub(super) async fn a_list_says_where_each_task_stands(world: World) {
    let said = NewTask {
        priority: -7,
        metadata: Some(br#"{"order": 7}"#.as_slice().into()),
        ..task("digits")
    };
    let created_at = said.created_at;
    let done = world.submit(said).await;
    let lease = world.lease_one("digits").await;
    let ended_at = at(9_000_000);
    world.finish(success(&lease, ended_at)).await;
    let again = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    let due = at(8_000_000).plus(TICK);
    world.retry(retrying(&lease, due)).await;
    let started = world.submit(task("digits")).await;
    world.lease_one("digits").await;
    let revoked = world.submit(task("digits")).await;
    world.cancel(revoked).await;
    let pending = world.submit(task("digits")).await;

    for (state, id) in [
        (State::Success, done),
        (State::Retry, again),
        (State::Started, started),
        (State::Revoked, revoked),
        (State::Pending, pending),
    ] {
        assert_eq!(list(&world, None, Some(state), 10).await, [id], "{state}");
        assert_eq!(
            list(&world, Some("digits"), Some(state), 10).await,
            [id],
            "{state}"
        );
        assert_eq!(list(&world, Some("rare"), Some(state), 10).await, [], "{state}");
    }
    assert_eq!(list(&world, None, Some(State::Failure), 10).await, []);

    let query = TaskQuery {
        limit: 10,
        ..TaskQuery::default()
    };
    let (tasks, _) = page(&world, query).await;
    for summary in &tasks {
        let record = world.record(summary.id).await;
        let of_record = TaskSummary {
            id: record.id,
            model: record.model,
            version: record.version,
            state: record.state,
            created_at: record.created_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
            due_at: record.due_at,
            attempts: record.attempts,
            retries: record.retries,
            priority: record.priority,
            metadata: record.metadata,
        };
        assert_eq!(*summary, of_record);
    }
    let last = tasks.last().unwrap();
    assert_eq!(
        (last.id, last.created_at, last.finished_at),
        (done, created_at, Some(ended_at))
    );
    assert_eq!((last.attempts, last.priority), (Attempt(1), -7));
    assert_eq!(tasks[3].due_at, Some(due));
}

pub(super) async fn what_is_purged_is_no_longer_listed(world: World) {
    let old = world.finished_task("digits", at(1_000_000)).await;
    let open = world.submit(task("digits")).await;
    assert_eq!(list(&world, None, None, 10).await, [open, old]);
    let later = at(1_000_000).plus(world.harness.ttl().results).plus(TICK);
    world.purge_all(later).await;
    assert_eq!(list(&world, None, None, 10).await, [open]);
    let world = world.crash().await;
    assert_eq!(list(&world, None, Some(State::Pending), 10).await, [open]);
}
