//! Files that are lost, damaged, or not what the row says.

use std::fs;
use std::path::Path;

use cresset_queue::{Broker, Finished, Lookup, QueueErrorKind, ResultStore};
use cresset_queue_sql::SqliteStore;
use cresset_task::{Outcome, State, Timestamp};
use rusqlite::Connection;

use crate::house::{DAY, House, LARGE, json, model, options};

/// What can happen to a file.
const DAMAGES: [fn(&Path); 6] = [
    |file| fs::remove_file(file).unwrap(),
    |file| fs::write(file, "").unwrap(),
    |file| fs::write(file, vec![b'1'; LARGE - 1]).unwrap(),
    |file| fs::write(file, vec![b'1'; LARGE + 1]).unwrap(),
    // As a power cut may leave it in the mode that does not flush: the length without the bytes.
    |file| fs::write(file, vec![0; LARGE]).unwrap(),
    |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    },
];

#[tokio::test]
async fn a_task_whose_file_is_lost_or_damaged_is_leased_with_its_damage() {
    let house = House::new();
    let mut ids = Vec::new();
    for damage in DAMAGES {
        let id = house.submit(LARGE).await;
        damage(&house.file(id, "in"));
        ids.push(id);
    }
    // Whole ones behind them are leased with them.
    let good = [house.submit(LARGE).await, house.submit(1).await];
    ids.extend(good);
    let leases = house.lease().await;
    assert_eq!(leases.iter().map(|l| l.id).collect::<Vec<_>>(), ids);
    assert_eq!(house.store.depth(&model()).tasks, 0);
    let (damaged, whole) = leases.split_at(DAMAGES.len());
    for lease in damaged {
        let damage = lease.payload.as_ref().unwrap_err().to_string();
        assert!(
            damage.starts_with("the stored input cannot be read: "),
            "{damage}"
        );
        assert!(!damage.contains("tasks.db"), "no paths for callers: {damage}");
    }
    let whole: Vec<_> = whole.iter().map(|l| l.payload.clone()).collect();
    assert_eq!(whole, [Ok(json(LARGE)), Ok(json(1))]);
    // They are leases as all others: given back, they come again, and their holder ends them.
    house.give_back(&leases[0]).await;
    let again = house.lease().await.remove(0);
    assert_eq!((again.id, &again.payload), (ids[0], &leases[0].payload));
    let ended = house.finish(&again, Outcome::Success(json(1))).await;
    assert_eq!(
        (ended, house.record(ids[0]).await.state),
        (Finished::Recorded, State::Success)
    );
}

#[tokio::test]
async fn a_lost_outcome_is_an_error_for_who_asks_for_it_and_expires() {
    let house = House::new();
    let mut ids = Vec::new();
    for damage in DAMAGES {
        let id = house.submit(1).await;
        let lease = house.lease().await.remove(0);
        house.finish(&lease, Outcome::Success(json(LARGE))).await;
        damage(&house.file(id, "out"));
        let error = house.store.fetch(id).await.unwrap_err();
        assert_eq!(error.kind, QueueErrorKind::Corrupt, "{error}");
        ids.push(id);
    }
    let late = Timestamp::from_micros(3).plus(2 * DAY);
    assert_eq!(house.store.purge(late).await.unwrap(), ids.len());
    for id in ids {
        assert_eq!(house.store.fetch(id).await.unwrap(), Lookup::Expired);
    }
}

#[tokio::test]
async fn a_row_that_names_a_foreign_file_is_damaged() {
    let house = House::new();
    let (mine, other) = (house.submit(LARGE).await, house.submit(LARGE).await);
    house.submit(LARGE).await;
    let secret = house.path.with_file_name("secret");
    fs::write(&secret, vec![b'1'; LARGE]).unwrap();
    let conn = Connection::open(&house.path).unwrap();
    let theirs = house.file(other, "in");
    let theirs = theirs.file_name().unwrap().to_str().unwrap();
    let rename = "UPDATE inputs SET file = ?2 WHERE seq = ?1";
    conn.execute(rename, (1, theirs)).unwrap();
    conn.execute(rename, (3, "../../secret")).unwrap();
    let leases = house.lease().await;
    let readable: Vec<_> = leases.iter().map(|l| (l.id, l.payload.is_ok())).collect();
    assert_eq!(readable[..2], [(mine, false), (other, true)]);
    assert_eq!((readable.len(), readable[2].1), (3, false));
    for lease in &leases {
        house.finish(lease, Outcome::Success(json(1))).await;
    }
    let late = Timestamp::from_micros(3).plus(2 * DAY);
    house.store.purge(late).await.unwrap();
    assert!(secret.exists());
}

#[tokio::test]
async fn payloads_without_their_database_are_refused() {
    let house = House::new();
    house.submit(LARGE).await;
    let path = house.path.clone();
    house.store.close().await.unwrap();
    let aside = path.with_file_name("aside.db");
    fs::rename(&path, &aside).unwrap();
    let refused = SqliteStore::open(options(&path)).unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Corrupt);
    assert!(refused.to_string().contains("tasks.db.payloads"), "{refused}");
    // Put back, all is well; and a folder with nothing in it is no reason to refuse.
    fs::rename(&aside, &path).unwrap();
    let house = house.reopen().await;
    let lease = house.lease().await.remove(0);
    house.finish(&lease, Outcome::Success(json(1))).await;
    house
        .store
        .purge(Timestamp::from_micros(3).plus(2 * DAY))
        .await
        .unwrap();
    house.store.close().await.unwrap();
    fs::remove_file(&path).unwrap();
    assert!(SqliteStore::open(options(&path)).unwrap().opened().created);
}
