//! The connection goes.

use cresset_queue::Broker;
use cresset_queue_postgres::PostgresStore;

use crate::common::Schema;

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
