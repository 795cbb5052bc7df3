//! Rows that applications write, and what is made of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_task::{Code, Failure, Outcome, Ownership, Payload, State, TaskId, Timestamp};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::world::{ALL, World, json, model, request};
use super::{Applications, INBOX_TENANT};
use crate::{
    Cancelled, Inbox, InboxEntry, InboxInput, InboxQuery, InboxRow, InboxTaken, Lookup, NewTask, Turn,
};

/// Nothing here takes longer.
const LONG: Duration = Duration::from_secs(60);

/// Who writes into the store's inbox, if it has one.
fn applications(world: &World) -> Option<&dyn Applications> {
    let capabilities = world.store.capabilities();
    assert_eq!(world.store.inbox().is_some(), capabilities.inbox);
    if !capabilities.inbox {
        eprintln!("skipped: {} does not declare `inbox`", capabilities.name);
        return None;
    }
    let there = world.harness.applications();
    assert!(there.is_some(), "somebody writes into an inbox");
    there
}

/// Writes a row in a transaction of its own.
async fn write(applications: &dyn Applications, model: &str, input: &str) -> TaskId {
    let (ids, transaction) = applications.begin(&[(model, input.to_owned())]).await;
    transaction.end(true).await;
    ids[0]
}

/// So many rows of a model, whose inputs are numbers from 1.
async fn write_many(applications: &dyn Applications, model: &str, count: usize) -> Vec<TaskId> {
    let rows: Vec<_> = (1..=count).map(|number| (model, number.to_string())).collect();
    let (ids, transaction) = applications.begin(&rows).await;
    transaction.end(true).await;
    ids
}

/// So many rows of any model, within a megabyte.
#[must_use]
pub fn query(max_rows: usize) -> InboxQuery {
    InboxQuery {
        skip: Vec::new(),
        max_rows,
        max_bytes: 1 << 20,
        max_row_bytes: 1 << 20,
    }
}

async fn rows(world: &World, query: InboxQuery) -> Vec<InboxRow> {
    world.store.inbox_rows(query).await.unwrap()
}

fn ids(rows: &[InboxRow]) -> Vec<TaskId> {
    rows.iter().map(|row| row.id).collect()
}

/// The task that a door would make of a row.
fn task(row: &InboxRow) -> Box<NewTask> {
    let input = match &row.input {
        InboxInput::Json(input) => input.clone(),
        InboxInput::Body { .. } | InboxInput::TooLarge(_) => Bytes::new(),
    };
    Box::new(NewTask {
        id: row.id,
        priority: row.priority,
        turn: Turn::of(row.inserted_at, row.priority, Duration::ZERO),
        metadata: row.metadata.clone().map(Into::into),
        due_at: row.due_at,
        expires_at: row.expires_at,
        deadline_at: row.deadline_at,
        tenant: row.tenant.clone(),
        ..NewTask::new(row.model.clone(), Payload::Json(input), row.inserted_at)
    })
}

/// That task.
#[must_use]
pub fn entry(row: &InboxRow) -> InboxEntry {
    InboxEntry::Task(task(row))
}

/// Has so many rows become tasks; says what became of each.
pub async fn take(store: &(impl Inbox + ?Sized), max_rows: usize) -> Vec<(TaskId, InboxTaken)> {
    let rows = store.inbox_rows(query(max_rows)).await.unwrap();
    let entries = rows.iter().map(entry).collect();
    let taken = store.inbox_take(entries, Timestamp::now()).await.unwrap();
    rows.iter().map(|row| row.id).zip(taken).collect()
}

pub(super) async fn what_is_committed_is_a_task_before_and_after_it_is_taken_and_what_is_rolled_back_never_was(
    world: World,
) {
    let Some(applications) = applications(&world) else {
        return;
    };
    let (ids, transaction) = applications.begin(&[("digits", "[1]".into())]).await;
    let lost = ids[0];
    assert_eq!(rows(&world, query(9)).await, [], "it is not committed");
    assert_eq!(world.lookup(lost).await, Lookup::Unknown);
    transaction.end(false).await;
    assert_eq!(world.lookup(lost).await, Lookup::Unknown);

    let kept = write(applications, "digits", "[1, 2]").await;
    let before = world.record(kept).await;
    assert_eq!((before.state, before.attempts.0), (State::Pending, 0));
    let owner = Ownership::Of(Some(INBOX_TENANT.parse().unwrap()));
    assert_eq!(world.store.owner(kept).await.unwrap(), owner);
    assert_eq!(world.depth("digits").tasks, 0);

    assert_eq!(take(&*world.store, 9).await, [(kept, InboxTaken::Taken)]);
    assert_eq!(
        world.record(kept).await,
        before,
        "taking it changes nothing of it"
    );
    assert_eq!(world.store.owner(kept).await.unwrap(), owner);
    assert_eq!(world.depth("digits").tasks, 1);
    assert_eq!(applications.left().await.0, 0);
    let now = Timestamp::now();
    let leases = world
        .store
        .lease(crate::LeaseRequest {
            now,
            ..request("digits", 9)
        })
        .await
        .unwrap();
    assert_eq!(leases[0].payload, Ok(json("[1, 2]")));
}

pub(super) async fn the_bell_rings_for_what_is_committed(world: World) {
    let Some(applications) = applications(&world) else {
        return;
    };
    let mut bell = world.store.inbox().unwrap();
    for input in ["1", "2"] {
        // Whatever it rang for before, rows that come now are found after it has rung.
        let id = write(applications, "digits", input).await;
        let heard = async {
            while !take(&*world.store, 9).await.contains(&(id, InboxTaken::Taken)) {
                bell.changed().await.unwrap();
            }
        };
        timeout(LONG, heard).await.unwrap();
    }
    bell.borrow_and_update();
    write(applications, "digits", "3").await;
    timeout(LONG, bell.changed()).await.unwrap().unwrap();
}

pub(super) async fn rows_come_in_order_within_bounds(world: World) {
    let Some(applications) = applications(&world) else {
        return;
    };
    write_many(applications, "full", 400).await;
    let first: Vec<_> = (1..=50).map(|n| InboxInput::Json(n.to_string().into())).collect();
    let found = rows(&world, query(50)).await;
    let inputs: Vec<_> = found.into_iter().map(|row| row.input).collect();
    assert_eq!(inputs, first);

    let large = format!("\"{}\"", "x".repeat(3_000));
    for _ in 0..5 {
        write(applications, "large", &large).await;
    }
    let some = InboxQuery {
        skip: vec![model("full")],
        max_bytes: 7_000,
        ..query(50)
    };
    assert_eq!(rows(&world, some.clone()).await.len(), 3);
    let unread = InboxQuery {
        max_row_bytes: 1_000,
        ..some
    };
    let found = rows(&world, unread).await;
    assert_eq!(found.len(), 5, "what is not read weighs no more than the bound");
    assert!(
        found
            .iter()
            .all(|row| matches!(row.input, InboxInput::TooLarge(bytes) if bytes > 3_000)),
        "{found:?}"
    );
    let load = world.store.inbox_load().await.unwrap();
    assert_eq!((load.rows, load.oldest.is_some(), load.refused), (405, true, 0));
}

pub(super) async fn a_model_that_is_skipped_hides_no_other(world: World) {
    let Some(applications) = applications(&world) else {
        return;
    };
    let full = write_many(applications, "full", 200).await;
    let names: Vec<String> = (0..40).map(|number| format!("m{number:02}")).collect();
    let each: Vec<_> = names.iter().rev().map(|name| (&**name, "1".to_owned())).collect();
    let (others, transaction) = applications.begin(&each).await;
    transaction.end(true).await;
    assert_eq!(ids(&rows(&world, query(30)).await), full[..30]);
    let skipping = |skip: Vec<_>| InboxQuery { skip, ..query(100) };
    let found = rows(&world, skipping(vec![model("full")])).await;
    assert_eq!(ids(&found), others, "in the order in which they came");
    let mut skip: Vec<_> = names[..39].iter().map(|name| model(name)).collect();
    skip.push(model("full"));
    assert_eq!(ids(&rows(&world, skipping(skip)).await), others[..1]);
}

pub(super) async fn however_many_take_at_once_each_row_is_one_task(world: World) {
    let Some(applications) = applications(&world) else {
        return;
    };
    write_many(applications, "digits", 300).await;
    let mut takers = JoinSet::new();
    for _ in 0..4 {
        let store = Arc::clone(&world.store);
        takers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let taken = take(&*store, 20).await;
                if taken.is_empty() {
                    return mine;
                }
                let got = taken.into_iter().filter(|(_, taken)| *taken == InboxTaken::Taken);
                mine.extend(got.map(|(id, _)| id));
            }
        });
    }
    let taken: Vec<TaskId> = takers.join_all().await.into_iter().flatten().collect();
    assert_eq!(taken.len(), 300);
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 300);
    assert_eq!(world.lease("digits", ALL).await.len(), 300);
}

/// A transaction that holds a row, as another server's would, makes nobody wait.
pub(super) async fn a_row_that_somebody_holds_is_passed_over(world: World) {
    let Some(applications) = applications(&world) else {
        return;
    };
    let held = write(applications, "digits", "1").await;
    let free = write(applications, "digits", "2").await;
    let holder = applications.hold(held).await;
    // Nor does one that has written rows before and behind those that are taken.
    let (open, writer) = applications
        .begin(&[("digits", "3".into()), ("other", "4".into())])
        .await;
    let last = write(applications, "digits", "5").await;
    let taken = timeout(LONG, take(&*world.store, 9)).await.unwrap();
    let gone = (held, InboxTaken::Gone);
    assert_eq!(
        taken,
        [gone, (free, InboxTaken::Taken), (last, InboxTaken::Taken)]
    );
    holder.end(false).await;
    assert_eq!(take(&*world.store, 9).await, [(held, InboxTaken::Taken)]);
    writer.end(true).await;
    assert_eq!(
        take(&*world.store, 9).await,
        [(open[0], InboxTaken::Taken), (open[1], InboxTaken::Taken)]
    );
}

pub(super) async fn an_id_that_is_taken_changes_nothing_and_its_row_is_kept_with_the_reason(world: World) {
    let Some(applications) = applications(&world) else {
        return;
    };
    let id = write(applications, "digits", "1").await;
    assert_eq!(take(&*world.store, 9).await, [(id, InboxTaken::Taken)]);
    applications.write_as(id, "other", "2").await;
    let odd = write(applications, "digits", "3").await;
    let found = rows(&world, query(9)).await;
    assert_eq!(ids(&found), [id, odd]);
    let entries = vec![
        entry(&found[0]),
        InboxEntry::Unfit(task(&found[1]), "no way".into()),
    ];
    let taken = world.store.inbox_take(entries, Timestamp::now()).await.unwrap();
    assert_eq!(taken, [InboxTaken::Refused, InboxTaken::Refused]);
    assert_eq!(rows(&world, query(9)).await, [], "they are not given again");
    assert_eq!(world.store.inbox_row(odd, 0).await.unwrap(), None);
    assert_eq!(world.store.inbox_load().await.unwrap().refused, 2);
    let (left, mut errors) = applications.left().await;
    errors.sort_unstable();
    assert!(
        errors[0] == "no way" && errors[1].contains("is taken"),
        "{errors:?}"
    );
    assert_eq!((left, errors.len()), (2, 2));
    assert_eq!(world.record(id).await.model, model("digits"));
}

pub(super) async fn a_row_that_does_not_run_is_a_task_that_has_ended_and_counts_nowhere(world: World) {
    let Some(writes) = applications(&world) else {
        return;
    };
    let failure = Failure::new(Code::UnknownModel, "UnknownModel", "no model is called `nobodys`");
    let revoked = Outcome::Revoked { reason: "no".into() };
    let (one, other) = (
        write(writes, "nobodys", "1").await,
        write(writes, "elsewhere", "1").await,
    );
    let cases = [
        (one, State::Failure, Outcome::Failure(failure)),
        (other, State::Revoked, revoked),
    ];
    let mut entries = Vec::new();
    for (id, _, outcome) in &cases {
        let row = world.store.inbox_row(*id, 0).await.unwrap().unwrap();
        entries.push(InboxEntry::Ended(task(&row), outcome.clone()));
    }
    let taken = world.store.inbox_take(entries, Timestamp::now()).await.unwrap();
    assert_eq!(taken, [InboxTaken::Taken; 2]);
    for (id, state, outcome) in cases {
        let found = world.record(id).await;
        assert_eq!((found.state, found.outcome), (state, Some(outcome)));
        assert_eq!(world.lease(found.model.as_str(), ALL).await, []);
        assert_eq!(world.cancel(id).await, Cancelled::Ended(state));
    }
    assert_eq!((world.store.load().tasks, world.store.load().bytes), (0, 0));
    let again = world.restart().await;
    assert_eq!(again.store.load().tasks, 0, "counted by the tables");
}

pub(super) async fn what_was_taken_is_a_task_after_a_crash_and_what_was_not_waits(world: World) {
    let Some(writes) = applications(&world) else {
        return;
    };
    let all = write_many(writes, "digits", 20).await;
    let taken = take(&*world.store, 7).await;
    assert_eq!(taken.len(), 7);
    let world = world.crash().await;
    assert_eq!(world.depth("digits").tasks, 7);
    for id in &all {
        assert_eq!(world.record(*id).await.state, State::Pending);
    }
    assert_eq!(ids(&rows(&world, query(100)).await), all[7..]);
    assert_eq!(take(&*world.store, 100).await.len(), 13);
    assert_eq!(world.depth("digits").tasks, 20);
}
