//! Rows that applications write: what is MySQL's own about them.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use bytes::Bytes;
use cresset_queue::conformance::inbox_query;
use cresset_queue::{Broker, Inbox, InboxInput, InboxRow};
use cresset_queue_mysql::{MysqlStore, look};
use cresset_task::{TaskId, Timestamp};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};
use tokio::time::timeout;

use crate::common::Database;

/// Nothing here takes longer.
const LONG: Duration = Duration::from_secs(60);

async fn write(client: &mut Conn, model: &str, input: &str) -> TaskId {
    let id = TaskId::fresh();
    let sql = "INSERT INTO inbox (id, model, input) VALUES (?, ?, ?)";
    client
        .exec_drop(sql, (id.to_string(), model, input))
        .await
        .unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bell_rings_for_commits_also_after_its_connection_was_lost() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let mut bell = store.inbox().unwrap();
    let mut client = database.client().await;
    write(&mut client, "digits", "1").await;
    timeout(LONG, bell.changed()).await.unwrap().unwrap();
    bell.borrow_and_update();
    let others =
        "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    for session in client.query::<u64, _>(others).await.unwrap() {
        // It may have ended by itself.
        let _gone = client.query_drop(format!("KILL {session}")).await;
    }
    write(&mut client, "digits", "2").await;
    timeout(LONG, bell.changed()).await.unwrap().unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_in_words_where_it_is_written() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let mut client = database.client().await;
    let bad = [
        ("(model, input) VALUES ('Digits', '1')", "not the name of a model"),
        (
            "(model, input) VALUES ('digits\n', '1')",
            "not the name of a model",
        ),
        (
            "(model, input) VALUES (REPEAT('d', 129), '1')",
            "not the name of a model",
        ),
        ("(input) VALUES ('1')", "not the name of a model"),
        ("(model) VALUES ('digits')", "there is no input"),
        ("(model, input) VALUES ('digits', '[1')", "input is no JSON"),
        (
            "(model, input, body) VALUES ('digits', '1', '')",
            "both an input and a body",
        ),
        ("(model, body) VALUES ('digits', '')", "no content_type"),
        (
            "(model, input, content_type) VALUES ('digits', '1', 'a/b')",
            "without a body",
        ),
        (
            "(model, input, priority) VALUES ('digits', '1', 101)",
            "priority is 101",
        ),
        (
            "(model, input, metadata) VALUES ('digits', '1', '[]')",
            "metadata is no JSON object",
        ),
        (
            "(model, input, metadata) VALUES ('digits', '1', '{')",
            "metadata is no JSON object",
        ),
        (
            "(model, input, retry) VALUES ('digits', '1', '5')",
            "retry is no JSON object",
        ),
        (
            "(model, input, eta) VALUES ('digits', '1', '0000-00-00')",
            "instants, or NULL",
        ),
        (
            "(model, input, callback_events) VALUES ('digits', '1', '[\"failed\"]')",
            "without a callback_url",
        ),
        (
            "(model, input, callback_url, callback_events) VALUES ('digits', '1', 'https://x', '\"failed\"')",
            "callback_events is no JSON list",
        ),
        (
            "(id, model, input) VALUES ('nonsense', 'digits', '1')",
            "id is no UUID",
        ),
        ("(seq, model, input) VALUES (7, 'digits', '1')", "seq is given"),
    ];
    for (values, words) in bad {
        for insert in ["INSERT", "INSERT IGNORE"] {
            let refused = client.query_drop(format!("{insert} INTO inbox {values}")).await;
            told(refused, words);
        }
    }
    // A session that cuts what is too long, and makes something of what is nothing.
    client.query_drop("SET sql_mode = ''").await.unwrap();
    for (values, words) in [
        (
            "(model, input) VALUES (REPEAT('d', 300), '1')",
            "not the name of a model",
        ),
        (
            "(model, input, eta) VALUES ('digits', '1', 'never')",
            "instants, or NULL",
        ),
        (
            "(id, model, input) VALUES (REPEAT('a', 80), 'digits', '1')",
            "id is no UUID",
        ),
    ] {
        let refused = client.query_drop(format!("INSERT INTO inbox {values}")).await;
        told(refused, words);
    }
    let forged = "INSERT INTO inbox (model, input, error, inserted_by, inserted_at, size) \
                  VALUES ('digits', '1', 'mine', 'nobody', '2000-01-01', 99)";
    client.query_drop(forged).await.unwrap();
    let honest = "SELECT COUNT(*) FROM inbox WHERE error IS NULL AND inserted_by = USER() AND size = 1 \
                  AND inserted_at > UTC_TIMESTAMP() - INTERVAL 1 MINUTE";
    assert_eq!(database.number(honest).await, 1);
    told(
        client.query_drop("UPDATE inbox SET model = 'other'").await,
        "is not changed",
    );
    client.query_drop("UPDATE inbox SET error = 'so'").await.unwrap();
    store.close().await.unwrap();
}

fn told(refused: Result<(), Error>, words: &str) {
    let told = match refused.unwrap_err() {
        Error::Server(told) => told,
        error => unreachable!("the database says no to it, not {error}"),
    };
    assert!(told.message.contains(words), "{words}: {}", told.message);
    assert_eq!((told.code, &*told.state), (3819, "23000"), "{words}");
}

/// Whatever the time zone of a session, and however an id is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_means_what_its_writer_meant() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let mut client = database.client().await;
    let (first, second) = (TaskId::fresh(), TaskId::fresh());
    let written = format!(
        "SET time_zone = '-07:00'; \
         INSERT INTO inbox (id, model, input, priority, eta, expires, deadline, metadata, retry, callback_url, callback_events) \
         VALUES ('{}', 'digits', '[ 1.50 ]', -7, FROM_UNIXTIME(2000000000.25), NOW(6), '2030-01-01 00:00:00', '{{\"order\": 3}}', \
                 '{{\"max_retries\": 5}}', 'https://example.com/\"', '[\"failed\"]'); \
         INSERT INTO inbox (id, model, body, content_type) \
         VALUES ('{}', 'digits', X'0000803F00', 'application/octet-stream'); \
         INSERT INTO inbox (model, input) VALUES ('digits', '1')",
        first.to_string().to_uppercase(),
        second.to_string().replace('-', ""),
    );
    client.query_drop(written).await.unwrap();
    let rows = store.inbox_rows(inbox_query(9)).await.unwrap();
    let [row, bytes, fresh] = <[InboxRow; 3]>::try_from(rows).unwrap();
    assert_eq!((row.id, bytes.id), (first, second));
    assert_eq!(row.input, InboxInput::Json(Bytes::from_static(b"[ 1.50 ]")));
    assert_eq!(row.due_at, Some(Timestamp::from_micros(2_000_000_000_250_000)));
    assert_eq!(
        row.deadline_at,
        Some(Timestamp::from_micros(1_893_481_200_000_000))
    );
    let age = row.expires_at.unwrap().since(row.inserted_at) + row.inserted_at.since(row.expires_at.unwrap());
    assert!(age < LONG, "both are of now: {row:?}");
    assert_eq!(
        (row.priority, row.metadata.as_deref()),
        (-7, Some("{\"order\": 3}"))
    );
    assert_eq!(row.retry.as_deref(), Some("{\"max_retries\": 5}"));
    assert_eq!(row.callback_url.as_deref(), Some("\"https://example.com/\\\"\""));
    assert_eq!(row.callback_events.as_deref(), Some("[\"failed\"]"));
    let body = InboxInput::Body {
        content_type: "application/octet-stream".into(),
        bytes: Bytes::from_static(b"\0\0\x80\x3f\0"),
    };
    assert_eq!(bytes.input, body);
    let made = fresh.id.to_string();
    assert!(
        made.as_bytes()[14] == b'7' && b"89ab".contains(&made.as_bytes()[19]),
        "{made}"
    );
    store.close().await.unwrap();
}

/// A user who may not make triggers has a store all the same, and is told what is missing for an inbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_database_refuses_the_triggers_there_is_a_store_without_an_inbox() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let user = format!("u{}", &database.name[database.name.len() - 20..]);
    database
        .run(&format!(
            "CREATE USER {user}@'%' IDENTIFIED BY 'secret'; GRANT ALL ON {0}.* TO {user}@'%'; REVOKE TRIGGER ON {0}.* FROM {user}@'%'",
            database.name
        ))
        .await;
    let options = database.options_as(&user, "secret");
    let store = MysqlStore::open(options.clone()).await.unwrap();
    store.probe().await.unwrap();
    assert!(store.inbox().is_none());
    store.close().await.unwrap();
    let looked = look(&options.target, false).await.unwrap();
    let need = looked.inbox_refused.unwrap();
    assert!(
        need.contains("the right TRIGGER") && need.contains("log_bin_trust_function_creators"),
        "{need}"
    );

    database
        .run(&format!("GRANT TRIGGER ON {}.* TO {user}@'%'", database.name))
        .await;
    let store = MysqlStore::open(options.clone()).await.unwrap();
    assert!(store.inbox().is_some());
    store.close().await.unwrap();
    assert_eq!(look(&options.target, false).await.unwrap().inbox_refused, None);
    database.run(&format!("DROP USER {user}@'%'")).await;
}
