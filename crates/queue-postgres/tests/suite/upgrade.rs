//! A store that an older program made, and may have still.

use cresset_queue::{Broker, QueueErrorKind};
use cresset_queue_postgres::PostgresStore;

use crate::common::Schema;

const FIRST: &str = include_str!("../../sql/migrations/0001_tasks.sql");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_upgraded_by_one_that_has_it_alone_and_who_is_on_it_is_named() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let name = &schema.name;
    let old = schema.client().await;
    let made = format!(
        "CREATE SCHEMA {name}; CREATE TABLE migrations (version integer PRIMARY KEY, name text NOT NULL, \
         applied_at timestamptz NOT NULL DEFAULT now()); {FIRST}; INSERT INTO migrations VALUES (1, '0001_tasks'); \
         INSERT INTO server VALUES (true, 41, 7, gen_random_uuid(), pg_backend_pid(), 'an old server', 0); \
         INSERT INTO tasks (id, model, state, priority, turn, weight, attempts, created_at, cache) \
         VALUES (gen_random_uuid(), 'digits', 1, 0, 0, 7, 3, 0, 0); \
         SELECT pg_advisory_lock({}, '{name}'::regnamespace::oid::bigint::int)",
        0x4352_5354
    );
    old.batch_execute(&made).await.unwrap();
    let refused = PostgresStore::open(schema.options()).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    for words in ["schema version 1", "an old server is on it", "stop every server"] {
        assert!(refused.to_string().contains(words), "{refused}");
    }
    drop(old);
    let store = loop {
        // The database needs a moment to see that the old one has gone.
        match PostgresStore::open(schema.options()).await {
            Ok(store) => break store,
            Err(error) => assert!(error.to_string().contains("is on it"), "{error}"),
        }
    };
    let digits = "digits".parse().unwrap();
    assert_eq!(
        store.depth(&digits).tasks,
        1,
        "what the old one had leased is queued again"
    );
    assert_eq!(schema.number("SELECT attempt FROM history").await, 3);
    assert_eq!(schema.number("SELECT id FROM servers").await, 42);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_find_no_store_one_makes_it_and_all_are_on_it() {
    let Some(schema) = Schema::or_skip().await else {
        return;
    };
    let opening = (0..6).map(|_| PostgresStore::open(schema.options()));
    let opened = futures_util::future::join_all(opening).await;
    let stores: Vec<PostgresStore> = opened.into_iter().map(Result::unwrap).collect();
    assert_eq!(stores.iter().filter(|store| store.opened().created).count(), 1);
    assert_eq!(
        schema
            .number("SELECT count(*) FROM servers WHERE ended_at IS NULL")
            .await,
        6
    );
    for store in stores {
        store.close().await.unwrap();
    }
    assert_eq!(
        schema
            .number("SELECT count(*) FROM servers WHERE ended_at IS NULL")
            .await,
        0
    );
}
