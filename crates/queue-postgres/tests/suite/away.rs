//! The connection goes.

use cresset_queue::conformance::{ALL, at, giving_up, model, request, success, task};
use cresset_queue::{About, Broker, Finished, Neighbours, ResultStore, Role, Submitted};
use cresset_queue_postgres::PostgresStore;

use crate::common::Schema;

/// Others took this one for ended: it writes nothing more as what it was, and goes on as a new server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_taken_for_ended_goes_on_as_a_new_server() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let store = PostgresStore::open(schema.options()).await.unwrap();
    store.submit(task("digits")).await.unwrap();
    let about = About {
        role: Role::Worker,
        host: "gpu-1".into(),
        ..About::default()
    };
    store.introduce(about.clone(), true).await.unwrap();
    let held = store.lease(request("digits", ALL)).await.unwrap();
    let client = schema.client().await;
    let end = "UPDATE servers SET ended_at = 1; UPDATE tasks SET state = 0, holder = NULL WHERE state = 1";
    client.batch_execute(end).await.unwrap();
    assert_eq!(
        store.finish(vec![success(&held[0], at(5))]).await.unwrap(),
        [Finished::Stale]
    );
    assert_eq!(store.submit(task("digits")).await.unwrap(), Submitted::New);
    assert_eq!(schema.number("SELECT max(id) FROM servers").await, 2);
    let members = store.members(false).await.unwrap();
    assert_eq!((members.len(), members[0].id), (1, 2));
    assert_eq!(
        members[0].about, about,
        "what it said is so, though it has another number"
    );
    let stale = giving_up(&held[0]);
    store.release(vec![stale]).await.unwrap();
    let again = store.lease(request("digits", ALL)).await.unwrap();
    assert_eq!((again.len(), again[0].attempt.0), (2, 2));
    assert_eq!(store.depth(&model("digits")).tasks, 0);
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
