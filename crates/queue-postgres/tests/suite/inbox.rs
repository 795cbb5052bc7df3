//! Rows that applications write: what is PostgreSQL's own about them.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use cresset_queue::{Broker, Inbox};
use cresset_queue_postgres::PostgresStore;
use cresset_task::TaskId;
use tokio::time::timeout;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::common::Schema;

/// Nothing here takes longer.
const LONG: Duration = Duration::from_secs(60);

async fn enqueue(client: &Client, model: &str, input: &str) -> TaskId {
    let row = client
        .query_one("SELECT enqueue($1, $2::text::jsonb)", &[&model, &input])
        .await
        .unwrap();
    TaskId::from_bytes(*row.get::<_, Uuid>(0).as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bell_rings_for_commits_also_after_its_connection_was_lost() {
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
