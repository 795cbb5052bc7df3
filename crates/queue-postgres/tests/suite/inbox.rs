//! Rows that applications write, and what is made of them.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use cresset_queue::conformance::{Proxy, RemoteHarness as _};
use cresset_queue::{
    Broker, Cancelled, Inbox, InboxEntry, InboxInput, InboxLoad, InboxQuery, InboxRow, InboxTaken,
    LeaseRequest, Lookup, NewTask, ResultStore, Turn,
};
use cresset_queue_postgres::{InboxOptions, PostgresOptions, PostgresStore};
use cresset_task::{Code, Failure, ModelName, Outcome, Ownership, Payload, State, TaskId, Timestamp};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::common::Schema;

/// Nothing here takes longer.
const LONG: Duration = Duration::from_secs(60);

fn query(max_rows: usize) -> InboxQuery {
    InboxQuery {
        skip: Vec::new(),
        max_rows,
        max_bytes: 1 << 20,
        max_row_bytes: 1 << 20,
    }
}

/// The task that a door would make of a row.
fn entry(row: &InboxRow) -> InboxEntry {
    let input = match &row.input {
        InboxInput::Json(input) => input.clone(),
        InboxInput::Body { .. } | InboxInput::TooLarge(_) => Bytes::new(),
    };
    InboxEntry::Task(Box::new(task(row, input)))
}

fn task(row: &InboxRow, input: Bytes) -> NewTask {
    NewTask {
        id: row.id,
        model: row.model.clone(),
        payload: Payload::Json(input),
        priority: row.priority,
        turn: Turn::of(row.inserted_at, row.priority, Duration::ZERO),
        metadata: row.metadata.clone().map(Into::into),
        created_at: row.inserted_at,
        due_at: row.due_at,
        expires_at: row.expires_at,
        deadline_at: row.deadline_at,
        started_at: None,
        idempotency: None,
        client: None,
        cache: Default::default(),
        retry: None,
        trace: None,
        tenant: row.tenant.clone(),
        callback: None,
    }
}

async fn enqueue(client: &Client, model: &str, input: &str) -> TaskId {
    let row = client
        .query_one("SELECT enqueue($1, $2::text::jsonb)", &[&model, &input])
        .await
        .unwrap();
    TaskId::from_bytes(*row.get::<_, Uuid>(0).as_bytes())
}

async fn take_all(store: &PostgresStore) -> Vec<(TaskId, InboxTaken)> {
    let rows = store.inbox_rows(query(1_000)).await.unwrap();
    let entries = rows.iter().map(entry).collect();
    let taken = store.inbox_take(entries, Timestamp::now()).await.unwrap();
    rows.iter().map(|row| row.id).zip(taken).collect()
}

fn lease(model: &str) -> LeaseRequest {
    LeaseRequest {
        model: model.parse().unwrap(),
        max_tasks: 10_000,
        max_bytes: usize::MAX,
        now: Timestamp::now(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_a_task_before_and_after_it_is_taken_and_what_is_rolled_back_never_was() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let options = PostgresOptions {
        inbox: Some(InboxOptions {
            tenant: Some("shop".parse().unwrap()),
        }),
        ..schema.options()
    };
    let store = PostgresStore::open(options).await.unwrap();
    let mut client = schema.client().await;

    let transaction = client.transaction().await.unwrap();
    let row = transaction
        .query_one("SELECT enqueue('digits', '[1]')", &[])
        .await
        .unwrap();
    let lost = TaskId::from_bytes(*row.get::<_, Uuid>(0).as_bytes());
    assert_eq!(
        store.inbox_rows(query(9)).await.unwrap(),
        [],
        "it is not committed"
    );
    assert_eq!(store.fetch(lost).await.unwrap(), Lookup::Unknown);
    transaction.rollback().await.unwrap();
    assert_eq!(store.fetch(lost).await.unwrap(), Lookup::Unknown);

    let kept = enqueue(&client, "digits", "[1, 2]").await;
    let Lookup::Found(before) = store.fetch(kept).await.unwrap() else {
        panic!("a row that is committed is a task");
    };
    assert_eq!((before.state, before.attempts.0), (State::Pending, 0));
    let owner = Ownership::Of(Some("shop".parse().unwrap()));
    assert_eq!(store.owner(kept).await.unwrap(), owner);
    assert_eq!(store.depth(&"digits".parse().unwrap()).tasks, 0);

    assert_eq!(take_all(&store).await, [(kept, InboxTaken::Taken)]);
    let Lookup::Found(after) = store.fetch(kept).await.unwrap() else {
        panic!("it is a task");
    };
    assert_eq!(before, after, "taking it changes nothing of it");
    assert_eq!(store.owner(kept).await.unwrap(), owner);
    assert_eq!(store.depth(&"digits".parse().unwrap()).tasks, 1);
    assert_eq!(schema.number("SELECT count(*) FROM inbox").await, 0);
    let leases = store.lease(lease("digits")).await.unwrap();
    assert_eq!(
        leases[0].payload,
        Ok(Payload::Json(Bytes::from_static(b"[1, 2]")))
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bell_rings_for_commits_and_after_its_connection_was_lost() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    let mut bell = store.inbox().unwrap();
    let client = schema.client().await;
    // It listens.
    timeout(LONG, bell.changed()).await.unwrap().unwrap();
    enqueue(&client, "digits", "1").await;
    timeout(LONG, bell.changed()).await.unwrap().unwrap();

    bell.borrow_and_update();
    let listeners =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN cresset_inbox'";
    client.execute(listeners, &[]).await.unwrap();
    timeout(LONG, bell.changed()).await.unwrap().unwrap();
    bell.borrow_and_update();
    enqueue(&client, "digits", "2").await;
    timeout(LONG, bell.changed()).await.unwrap().unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_in_order_within_bounds_and_a_model_that_is_skipped_hides_no_other() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    let client = schema.client().await;
    let many =
        "INSERT INTO inbox (model, input) SELECT 'full', to_json(g) FROM generate_series(1, 2000) AS g";
    client.execute(many, &[]).await.unwrap();
    let small = enqueue(&client, "small", "1").await;
    let full: ModelName = "full".parse().unwrap();

    let rows = store.inbox_rows(query(50)).await.unwrap();
    let inputs: Vec<_> = rows.iter().map(|row| row.input.clone()).collect();
    let first: Vec<_> = (1..=50)
        .map(|number| InboxInput::Json(number.to_string().into()))
        .collect();
    assert_eq!(inputs, first);
    let others = InboxQuery {
        skip: vec![full],
        ..query(50)
    };
    let rows = store.inbox_rows(others).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [small]);

    let large = format!("\"{}\"", "x".repeat(3_000));
    for _ in 0..5 {
        enqueue(&client, "large", &large).await;
    }
    let some = InboxQuery {
        skip: vec!["full".parse().unwrap(), "small".parse().unwrap()],
        max_bytes: 7_000,
        ..query(50)
    };
    assert_eq!(store.inbox_rows(some.clone()).await.unwrap().len(), 3);
    let unread = InboxQuery {
        max_row_bytes: 1_000,
        ..some
    };
    let rows = store.inbox_rows(unread).await.unwrap();
    assert!(
        rows.iter()
            .all(|row| matches!(row.input, InboxInput::TooLarge(bytes) if bytes > 3_000)),
        "{rows:?}"
    );
    let InboxLoad {
        rows,
        oldest,
        refused,
    } = store.inbox_load().await.unwrap();
    assert_eq!((rows, oldest.is_some(), refused), (2_006, true, 0));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_take_at_once_each_row_is_one_task() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    let client = schema.client().await;
    let many =
        "INSERT INTO inbox (model, input) SELECT 'digits', to_json(g) FROM generate_series(1, 300) AS g";
    client.execute(many, &[]).await.unwrap();
    let mut takers = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        takers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let rows = store.inbox_rows(query(20)).await.unwrap();
                if rows.is_empty() {
                    return mine;
                }
                let entries = rows.iter().map(entry).collect();
                let taken = store.inbox_take(entries, Timestamp::now()).await.unwrap();
                let got = rows
                    .iter()
                    .zip(taken)
                    .filter(|(_, taken)| *taken == InboxTaken::Taken);
                mine.extend(got.map(|(row, _)| row.id));
            }
        });
    }
    let taken: Vec<TaskId> = takers.join_all().await.into_iter().flatten().collect();
    assert_eq!(taken.len(), 300);
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 300);
    assert_eq!(store.lease(lease("digits")).await.unwrap().len(), 300);
    store.close().await.unwrap();
}

/// A transaction that holds a row, as another server's would, makes nobody wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_holds_is_passed_over() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    let mut holder = schema.client().await;
    let held = enqueue(&holder, "digits", "1").await;
    let free = enqueue(&holder, "digits", "2").await;
    let transaction = holder.transaction().await.unwrap();
    let lock = "SELECT 1 FROM inbox ORDER BY seq LIMIT 1 FOR UPDATE";
    transaction.execute(lock, &[]).await.unwrap();
    let taken = timeout(LONG, take_all(&store)).await.unwrap();
    assert_eq!(taken, [(held, InboxTaken::Gone), (free, InboxTaken::Taken)]);
    transaction.rollback().await.unwrap();
    assert_eq!(take_all(&store).await, [(held, InboxTaken::Taken)]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_taken_changes_nothing_and_its_row_is_kept_with_the_reason() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    let client = schema.client().await;
    let id = enqueue(&client, "digits", "1").await;
    assert_eq!(take_all(&store).await, [(id, InboxTaken::Taken)]);
    let uuid = Uuid::from_bytes(*id.as_bytes());
    let again = "INSERT INTO inbox (id, model, input) VALUES ($1, 'other', '2')";
    client.execute(again, &[&uuid]).await.unwrap();
    let odd = enqueue(&client, "digits", "3").await;
    let rows = store.inbox_rows(query(9)).await.unwrap();
    let unfit = InboxEntry::Unfit(Box::new(task(&rows[0], Bytes::new())), "no\0 way".into());
    let (first, second) = match rows[0].id == odd {
        true => (unfit, entry(&rows[1])),
        false => (
            entry(&rows[0]),
            InboxEntry::Unfit(Box::new(task(&rows[1], Bytes::new())), "no\0 way".into()),
        ),
    };
    let taken = store
        .inbox_take(vec![first, second], Timestamp::now())
        .await
        .unwrap();
    assert_eq!(taken, [InboxTaken::Refused, InboxTaken::Refused]);
    assert_eq!(
        store.inbox_rows(query(9)).await.unwrap(),
        [],
        "they are not given again"
    );
    assert_eq!(store.inbox_load().await.unwrap().refused, 2);
    let told = "SELECT count(*) FROM inbox WHERE error LIKE '%is taken%' OR error = 'no\u{2400} way'";
    assert_eq!(schema.number(told).await, 2);
    let Lookup::Found(found) = store.fetch(id).await.unwrap() else {
        panic!("it is there");
    };
    assert_eq!(found.model.as_str(), "digits");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_does_not_run_is_a_task_that_has_ended_and_counts_nowhere() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    let client = schema.client().await;
    let failure = Failure {
        code: Code::UnknownModel,
        type_: "UnknownModel".into(),
        message: "no model is called `nobodys`".into(),
        traceback: None,
        stage: None,
        again: Default::default(),
    };
    let revoked = Outcome::Revoked { reason: "no".into() };
    for (model, state, outcome) in [
        ("nobodys", State::Failure, Outcome::Failure(failure)),
        ("elsewhere", State::Revoked, revoked),
    ] {
        let id = enqueue(&client, model, "1").await;
        let row = store.inbox_row(id, 0).await.unwrap().unwrap();
        let ended = InboxEntry::Ended(Box::new(task(&row, Bytes::new())), outcome.clone());
        assert_eq!(
            store.inbox_take(vec![ended], Timestamp::now()).await.unwrap(),
            [InboxTaken::Taken]
        );
        let Lookup::Found(found) = store.fetch(id).await.unwrap() else {
            panic!("it is a task");
        };
        assert_eq!((found.state, found.outcome), (state, Some(outcome)));
        assert_eq!((store.load().tasks, store.load().bytes), (0, 0));
        assert_eq!(store.lease(lease(model)).await.unwrap(), []);
        let cancelled = store.cancel(id, "late", Timestamp::now()).await.unwrap();
        assert_eq!(cancelled, Cancelled::Ended(state));
    }
    store.close().await.unwrap();
    let again = PostgresStore::open(schema.options()).await.unwrap();
    assert_eq!(again.load().tasks, 0, "counted by the tables");
    again.close().await.unwrap();
}

/// The commit that takes a row is not heard of, and its caller is told that it failed: the task must be there all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_stays_taken_though_its_taker_was_told_otherwise() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let proxy = Proxy::to(schema.address(), schema.commit()).await;
    let store = PostgresStore::open(schema.options_at(proxy.port)).await.unwrap();
    let client = schema.client().await;
    let id = enqueue(&client, "digits", "1").await;
    let rows = store.inbox_rows(query(9)).await.unwrap();
    proxy.cut_after_commit(true);
    let refused = store
        .inbox_take(rows.iter().map(entry).collect(), Timestamp::now())
        .await;
    assert!(refused.is_err(), "{refused:?}");
    proxy.open();
    let back = async {
        while store.probe().await.is_err() {
            // Only keeps the asking civil.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, back).await.unwrap();
    assert!(matches!(store.fetch(id).await.unwrap(), Lookup::Found(_)));
    assert_eq!(store.depth(&"digits".parse().unwrap()).tasks, 1);
    assert_eq!(take_all(&store).await, []);
    assert_eq!(schema.number("SELECT count(*) FROM tasks").await, 1);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_in_words_where_it_is_written() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    let client = schema.client().await;
    let bad = [
        ("(model, input) VALUES ('Digits', '1')", "not the name of a model"),
        ("(model) VALUES ('digits')", "there is no input"),
        (
            "(model, input, body) VALUES ('digits', '1', '')",
            "both an input and a body",
        ),
        ("(model, body) VALUES ('digits', '')", "no content_type"),
        (
            "(model, input, priority) VALUES ('digits', '1', 101)",
            "priority is 101",
        ),
        (
            "(model, input, metadata) VALUES ('digits', '1', '[]')",
            "metadata",
        ),
        ("(model, input, retry) VALUES ('digits', '1', '5')", "retry"),
        (
            "(model, input, eta) VALUES ('digits', '1', 'infinity')",
            "eta is infinity",
        ),
        (
            "(model, input, deadline) VALUES ('digits', '1', '20000-01-01')",
            "deadline is",
        ),
        (
            "(model, input, callback_events) VALUES ('digits', '1', '{failed}')",
            "without a callback_url",
        ),
    ];
    for (values, words) in bad {
        let refused = client
            .execute(&format!("INSERT INTO inbox {values}"), &[])
            .await
            .unwrap_err();
        let told = refused.as_db_error().unwrap();
        assert!(told.message().contains(words), "{values}: {}", told.message());
        assert_eq!(told.code().code(), "23514", "{values}");
        assert!(told.hint().is_some(), "{values}");
    }
    let forged = "INSERT INTO inbox (model, input, error, inserted_by, inserted_at) \
                  VALUES ('digits', '1', 'mine', 'nobody', '2000-01-01')";
    client.execute(forged, &[]).await.unwrap();
    let honest = "SELECT count(*) FROM inbox WHERE error IS NULL AND inserted_by = current_user \
                  AND inserted_at > now() - interval '1 minute'";
    assert_eq!(schema.number(honest).await, 1);
    store.close().await.unwrap();
}
