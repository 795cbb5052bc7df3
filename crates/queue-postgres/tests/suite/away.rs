//! The connection goes.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use bytes::Bytes;
use cresset_queue::{
    About, Broker, Completion, Finished, Lease, LeaseRequest, Lookup, Neighbours, NewTask, QueueErrorKind,
    ResultStore, Role, Submitted, Turn,
};
use cresset_queue_postgres::PostgresStore;
use cresset_task::{ModelName, Outcome, Payload, TaskId, Timestamp};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::common::Schema;
use crate::proxy::Proxy;

/// Nothing here takes longer.
const LONG: Duration = Duration::from_secs(60);

const SUBMITTERS: usize = 8;
const SUBMITS: usize = 40;
/// Ends of the connection while they submit.
const ENDS: usize = 6;

const END_SESSION: &str = "SELECT pg_terminate_backend(pid) FROM servers WHERE ended_at IS NULL";

fn digits() -> ModelName {
    "digits".parse().unwrap()
}

fn task() -> NewTask {
    let now = Timestamp::now();
    NewTask {
        id: TaskId::fresh(),
        model: digits(),
        payload: Payload::Json(Bytes::from_static(b"[1,2,3]")),
        priority: 0,
        turn: Turn::of(now, 0, Duration::ZERO),
        metadata: None,
        created_at: now,
        due_at: None,
        expires_at: None,
        deadline_at: None,
        started_at: None,
        idempotency: None,
        client: None,
        cache: Default::default(),
        retry: None,
        trace: None,
        tenant: None,
        callback: None,
    }
}

fn all() -> LeaseRequest {
    LeaseRequest {
        model: digits(),
        max_tasks: 10_000,
        max_bytes: usize::MAX,
        now: Timestamp::now(),
    }
}

fn ended(lease: &Lease) -> Completion {
    Completion {
        id: lease.id,
        attempt: lease.attempt,
        redeliveries: 0,
        history: Vec::new(),
        outcome: Outcome::Success(Payload::Json(Bytes::from_static(b"7"))),
        version: None,
        finished_at: Timestamp::now(),
        evidence: None,
        cached: false,
    }
}

/// Until the store works again.
async fn recovered(store: &PostgresStore) {
    let works = async {
        while store.probe().await.is_err() {
            // Only keeps the asking civil.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, works).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_under_load_cost_nobody_an_error_and_nothing_is_lost() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    let mut submitters = JoinSet::new();
    for _ in 0..SUBMITTERS {
        let store = store.clone();
        submitters.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..SUBMITS {
                let task = task();
                ids.push(task.id);
                assert_eq!(store.submit(task).await.unwrap(), Submitted::New);
            }
            ids
        });
    }
    let client = schema.client().await;
    for _ in 0..ENDS {
        client.execute(END_SESSION, &[]).await.unwrap();
        recovered(&store).await;
    }
    let ids: Vec<TaskId> = submitters.join_all().await.into_iter().flatten().collect();
    assert_eq!(store.depth(&digits()).tasks as usize, ids.len());
    let leases = store.lease(all()).await.unwrap();
    assert_eq!(leases.len(), ids.len());
    client.execute(END_SESSION, &[]).await.unwrap();
    // A lease outlives its connection, as its holder does.
    assert_eq!(
        store.finish(vec![ended(&leases[0])]).await.unwrap(),
        [Finished::Recorded]
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_heard_of_is_answered_as_what_it_is() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let proxy = Proxy::to(schema.address()).await;
    let store = PostgresStore::open(schema.options_at(proxy.port)).await.unwrap();
    for _ in 0..3 {
        proxy.cut_after_commit(false);
        let task = task();
        let id = task.id;
        assert_eq!(store.submit(task).await.unwrap(), Submitted::New);
        assert!(matches!(store.fetch(id).await.unwrap(), Lookup::Found(_)));
    }
    proxy.cut_after_commit(false);
    let leases = store.lease(all()).await.unwrap();
    assert_eq!(leases.len(), 3);
    assert!(
        leases.iter().all(|lease| lease.attempt.0 == 1),
        "each was leased once"
    );
    assert_eq!(schema.number("SELECT count(*) FROM tasks").await, 3);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_though_it_was_committed_is_undone() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let proxy = Proxy::to(schema.address()).await;
    let store = PostgresStore::open(schema.options_at(proxy.port)).await.unwrap();
    let kept = task();
    let kept_id = kept.id;
    store.submit(kept).await.unwrap();

    proxy.cut_after_commit(true);
    let lost = task();
    let lost_id = lost.id;
    let refused = store.submit(lost).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    let meanwhile = store.submit(task()).await.unwrap_err();
    assert_eq!(meanwhile.kind, QueueErrorKind::Unavailable, "{meanwhile}");
    assert_eq!(
        schema.number("SELECT count(*) FROM tasks").await,
        2,
        "it was committed"
    );

    proxy.open();
    recovered(&store).await;
    assert_eq!(store.fetch(lost_id).await.unwrap(), Lookup::Unknown);
    assert!(matches!(store.fetch(kept_id).await.unwrap(), Lookup::Found(_)));
    assert_eq!(store.depth(&digits()).tasks, 1);

    proxy.cut_after_commit(true);
    let refused = store.lease(all()).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    proxy.open();
    recovered(&store).await;
    let leases = store.lease(all()).await.unwrap();
    assert_eq!(
        leases
            .iter()
            .map(|lease| (lease.id, lease.attempt.0))
            .collect::<Vec<_>>(),
        [(kept_id, 2)]
    );
    store.close().await.unwrap();
}

/// However often the connection goes while that is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_is_undone_before_anything_else_however_long_that_takes() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let proxy = Proxy::to(schema.address()).await;
    let store = PostgresStore::open(schema.options_at(proxy.port)).await.unwrap();
    proxy.cut_after_commit(true);
    let refused = store.submit(task()).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    assert_eq!(schema.number("SELECT count(*) FROM tasks").await, 1);
    proxy.cut_at(b"DELETE FROM tasks", 3);
    proxy.open();
    recovered(&store).await;
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(store.depth(&digits()).tasks, 0);
    assert_eq!(store.lease(all()).await.unwrap(), []);
    assert_eq!(schema.number("SELECT count(*) FROM tasks").await, 0);
    store.close().await.unwrap();
}

/// Others took this one for ended: it writes nothing more as what it was, and goes on as a new server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_taken_for_ended_goes_on_as_a_new_server() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    store.submit(task()).await.unwrap();
    let about = About {
        role: Role::Worker,
        host: "gpu-1".into(),
        ..About::default()
    };
    store.introduce(about.clone(), true).await.unwrap();
    let held = store.lease(all()).await.unwrap();
    let client = schema.client().await;
    let end = "UPDATE servers SET ended_at = 1; UPDATE tasks SET state = 0, holder = NULL WHERE state = 1";
    client.batch_execute(end).await.unwrap();
    assert_eq!(
        store.finish(vec![ended(&held[0])]).await.unwrap(),
        [Finished::Stale]
    );
    assert_eq!(store.submit(task()).await.unwrap(), Submitted::New);
    assert_eq!(schema.number("SELECT max(id) FROM servers").await, 2);
    let members = store.members(false).await.unwrap();
    assert_eq!((members.len(), members[0].id), (1, 2));
    assert_eq!(
        members[0].about, about,
        "what it said is so, though it has another number"
    );
    let stale = cresset_queue::Release {
        id: held[0].id,
        attempt: held[0].attempt,
    };
    store.release(vec![stale]).await.unwrap();
    let again = store.lease(all()).await.unwrap();
    assert_eq!((again.len(), again[0].attempt.0), (2, 2));
    assert_eq!(store.depth(&digits()).tasks, 0);
    store.close().await.unwrap();
}

/// The database forgets what it had confirmed: no number of a lease is given twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_the_database_forgot_are_not_given_again() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    store.submit(task()).await.unwrap();
    let held = store.lease(all()).await.unwrap();
    assert_eq!(held[0].attempt.0, 1);
    // As a copy would have it that lacks the last group.
    let client = schema.client().await;
    let forget = "BEGIN; UPDATE servers SET commits = commits - 1; UPDATE tasks SET state = 0, attempts = 0, holder = NULL; COMMIT";
    client.batch_execute(forget).await.unwrap();
    client.execute(END_SESSION, &[]).await.unwrap();
    recovered(&store).await;
    let again = store.lease(all()).await.unwrap();
    assert!(again[0].attempt.0 > held[0].attempt.0, "{:?}", again[0].attempt);
    store.close().await.unwrap();
}

/// It may have forgotten that a task was given back: none stays leased to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_the_database_remembers_end_when_it_forgot_others() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    store.submit(task()).await.unwrap();
    let held = store.lease(all()).await.unwrap();
    let client = schema.client().await;
    client
        .execute("UPDATE servers SET commits = commits - 1", &[])
        .await
        .unwrap();
    client.execute(END_SESSION, &[]).await.unwrap();
    recovered(&store).await;
    assert_eq!(store.depth(&digits()).tasks, 1);
    assert_eq!(
        store.finish(vec![ended(&held[0])]).await.unwrap(),
        [Finished::Stale]
    );
    let again = store.lease(all()).await.unwrap();
    assert_eq!(again.len(), 1);
    assert!(again[0].attempt.0 > held[0].attempt.0, "{:?}", again[0].attempt);
    assert_eq!(
        store.finish(vec![ended(&again[0])]).await.unwrap(),
        [Finished::Recorded]
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_is_in_tls_and_whom_nobody_vouches_for_is_refused_where_that_is_asked() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let has_tls = "SELECT (current_setting('ssl') = 'on')::int::bigint";
    if schema.number(has_tls).await == 0 {
        eprintln!("skipped: the PostgreSQL on this machine has no TLS");
        return;
    }
    for mode in ["prefer", "require"] {
        let store = PostgresStore::open(schema.options_with(mode)).await.unwrap();
        let protected = "SELECT count(*) FROM pg_stat_ssl AS t JOIN servers AS s ON s.pid = t.pid WHERE t.ssl AND s.ended_at IS NULL";
        assert_eq!(schema.number(protected).await, 1, "{mode}");
        store.close().await.unwrap();
    }
    // Its certificate is one that it made itself.
    let refused = PostgresStore::open(schema.options_with("verify-full"))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("cannot connect"), "{refused}");
    let cause = std::error::Error::source(&refused)
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(cause.contains("TLS"), "{cause}");
}
