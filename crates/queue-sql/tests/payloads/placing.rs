//! Which payloads are files, and how long.

use std::fs;

use bytes::Bytes;
use cresset_queue::{Broker, Finished, Idempotency, Lookup, NewTask, QueueErrorKind, ResultStore, Submitted};
use cresset_queue_sql::SqliteOptions;
use cresset_task::{DType, Outcome, Payload, TaskId, Tensor, TensorSet, Timestamp};
use rusqlite::Connection;

use crate::common::folder::{beside, payload_files};
use crate::house::{DAY, House, INLINE, LARGE, json, options, task};

#[tokio::test]
async fn large_payloads_are_files_and_small_ones_are_not() {
    let house = House::new();
    house.submit(INLINE).await;
    assert!(
        !beside(&house.path, ".payloads").exists(),
        "no folder before it is needed"
    );
    let id = house.submit(INLINE + 1).await;
    let files = payload_files(&house.path);
    let (path, bytes) = files.first_key_value().unwrap();
    assert_eq!(
        (files.len(), bytes),
        (1, &vec![b'1'; INLINE + 1]),
        "a JSON input as it was sent"
    );
    let text = id.to_string();
    let shard = path.parent().unwrap().to_str().unwrap();
    assert!(text.ends_with(shard), "{text} is in {shard}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&format!("{text}.in.")), "{name}");

    let leases = house.lease().await;
    house.finish(&leases[0], Outcome::Success(json(INLINE))).await;
    assert_eq!(house.files().len(), 1);
    house.finish(&leases[1], Outcome::Success(json(LARGE))).await;
    assert_eq!(house.files().len(), 2);
    assert_eq!(
        house.record(id).await.outcome,
        Some(Outcome::Success(json(LARGE)))
    );
}

/// The names of tensors and their shapes count too, though they weigh nothing in the queue.
#[tokio::test]
async fn what_counts_is_the_stored_form() {
    let house = House::new();
    let empty = Tensor::new(DType::Uint8, vec![0; 16], Bytes::new()).unwrap();
    let named = |number| (format!("tensor-{number}").into(), empty.clone());
    let payload = Payload::Tensors(TensorSet((0..20).map(named).collect()));
    assert_eq!(payload.weight(), 0);
    let new = NewTask {
        payload: payload.clone(),
        ..task(1)
    };
    house.store.submit(new).await.unwrap();
    assert_eq!(house.files().len(), 1);
    assert_eq!(house.lease().await[0].payload, Ok(payload));
}

#[tokio::test]
async fn what_is_refused_leaves_no_file() {
    let house = House::new();
    let first = task(LARGE);
    house.store.submit(first.clone()).await.unwrap();
    assert!(house.store.submit(first.clone()).await.is_err(), "a taken id");
    house.files_are(1).await;

    let idempotency = |digest| {
        Some(Idempotency {
            key: "k".parse().unwrap(),
            digest: [digest; 32],
        })
    };
    let keyed = |digest| NewTask {
        idempotency: idempotency(digest),
        ..task(LARGE)
    };
    assert_eq!(house.store.submit(keyed(7)).await.unwrap(), Submitted::New);
    let again = house.store.submit(keyed(7)).await.unwrap();
    assert!(matches!(again, Submitted::Replayed { .. }));
    assert_eq!(house.store.submit(keyed(8)).await.unwrap(), Submitted::KeyReused);
    house.files_are(2).await;

    let lease = house.lease().await.remove(0);
    let large = || Outcome::Success(json(LARGE));
    assert_eq!(house.finish(&lease, large()).await, Finished::Recorded);
    assert_eq!(house.finish(&lease, large()).await, Finished::Stale);
    house.files_are(3).await;

    let house = house.reopen().await;
    assert_eq!(house.files().len(), 3);
    house.store.close().await.unwrap();
    assert_eq!(
        house.store.submit(task(LARGE)).await.unwrap_err().kind,
        QueueErrorKind::Closed
    );
    house.files_are(3).await;
}

#[tokio::test]
async fn many_at_once_under_one_key_leave_one_file() {
    let house = House::new();
    let mut submits = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let store = house.store.clone();
        let keyed = NewTask {
            idempotency: Some(Idempotency {
                key: "k".parse().unwrap(),
                digest: [7; 32],
            }),
            ..task(LARGE)
        };
        submits.spawn(async move { store.submit(keyed).await.unwrap() == Submitted::New });
    }
    let new = submits.join_all().await.into_iter().filter(|new| *new).count();
    assert_eq!(new, 1);
    house.files_are(1).await;
    assert_eq!(house.lease().await[0].payload, Ok(json(LARGE)));
}

#[tokio::test]
async fn a_purge_has_removed_the_files_when_it_answers() {
    let house = House::new();
    let kept = house.submit(LARGE).await;
    let gone = house.submit(LARGE).await;
    let leases = house.lease().await;
    house.finish(&leases[1], Outcome::Success(json(LARGE))).await;
    assert_eq!(house.files().len(), 3);
    let late = Timestamp::from_micros(3).plus(2 * DAY);
    assert_eq!(house.store.purge(late).await.unwrap(), 1);
    assert_eq!(house.files().len(), 1);
    assert!(house.files()[0].starts_with(&kept.to_string()));
    assert_eq!(house.store.fetch(gone).await.unwrap(), Lookup::Expired);
}

/// The limit may change between two starts: what is stored stays where it is, and readable.
#[tokio::test]
async fn a_changed_limit_is_for_new_payloads() {
    let house = House::new();
    house.submit(LARGE).await;
    let all_in_rows = SqliteOptions {
        max_inline_bytes: usize::MAX,
        ..options(&house.path)
    };
    let house = house.reopen_with(all_in_rows).await;
    house.submit(LARGE).await;
    assert_eq!(house.files().len(), 1);
    let house = house.reopen().await;
    let payloads: Vec<_> = house.lease().await.into_iter().map(|l| l.payload).collect();
    assert_eq!(payloads, [Ok(json(LARGE)), Ok(json(LARGE))]);
}

/// What the rows and files below hold is as the first version with files wrote it and never changes: every later one must
/// read it.
#[tokio::test]
async fn files_are_read_as_they_were_first_written() {
    const INPUT: &str = "00000000-0000-0000-0000-000000000001.in.00000000000000aa-1f";
    const OUTCOME: &str = "00000000-0000-0000-0000-000000000001.out.00000000000000aa-20";
    const TEXT: &[u8] = b"Nobody inspects the spammish repetition";
    let house = House::new();
    let id = TaskId::from_bytes(1_u128.to_be_bytes());
    let new = NewTask { id, ..task(1) };
    house.store.submit(new).await.unwrap();
    let conn = Connection::open(&house.path).unwrap();
    let row = |table: &str, name: &str, length: i64, checksum: i64| {
        let sql = format!("UPDATE {table} SET bytes = x'', file = ?1, length = ?2, checksum = ?3");
        assert_eq!(conn.execute(&sql, (name, length, checksum)).unwrap(), 1);
    };
    let folder = beside(&house.path, ".payloads").join("01");
    fs::create_dir_all(&folder).unwrap();

    row("inputs", INPUT, 3, 4_952_883_123_889_572_249);
    fs::write(folder.join(INPUT), "abc").unwrap();
    let lease = house.lease().await.remove(0);
    assert_eq!(lease.payload, Ok(Payload::Json(Bytes::from_static(b"abc"))));

    house.finish(&lease, Outcome::Success(json(1))).await;
    row("outcomes", OUTCOME, 39, -302_119_147_016_844_303);
    fs::write(folder.join(OUTCOME), TEXT).unwrap();
    let outcome = Outcome::Success(Payload::Json(Bytes::from_static(TEXT)));
    assert_eq!(house.record(id).await.outcome, Some(outcome));
}
