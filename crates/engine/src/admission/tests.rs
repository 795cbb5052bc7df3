use cresset_task::ClientKey;
use std::time::Duration;

use super::*;

fn room(tasks: u64, bytes: u64) -> Room {
    Room {
        settings: OF_MODEL,
        tasks: Some(tasks),
        bytes: Some(bytes),
    }
}

fn load(tasks: u64, bytes: u64) -> Load {
    Load { tasks, bytes }
}

#[test]
fn what_is_on_its_way_counts_as_if_it_were_there() {
    let coming = Coming::default();
    let first = coming.claim(10, &room(3, 100), || load(1, 50)).unwrap();
    let second = coming.claim(10, &room(3, 100), || load(1, 50)).unwrap();
    let refused = coming.claim(10, &room(3, 100), || load(1, 50)).err().unwrap();
    assert_eq!(
        (refused.setting, refused.limit, refused.current),
        ("limits.max_queue", 3, 3)
    );
    drop(first); // the store has it now
    assert!(coming.claim(10, &room(3, 100), || load(2, 60)).is_err());
    drop(second);
    assert!(coming.claim(10, &room(3, 100), || load(2, 60)).is_ok());
    assert_eq!(
        coming.tasks.load(Ordering::Relaxed),
        0,
        "refusals and ends give back"
    );
    assert_eq!(coming.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn bytes_are_bounded_as_tasks_are() {
    let coming = Coming::default();
    let _first = coming.claim(60, &room(9, 100), Load::default).unwrap();
    let refused = coming.claim(41, &room(9, 100), Load::default).err().unwrap();
    assert_eq!(refused.to_string(), "60 of 100 bytes (`limits.max_queue_bytes`)");
    assert!(coming.claim(40, &room(9, 100), Load::default).is_ok());
}

#[test]
fn of_many_at_once_none_slips_past_the_bound() {
    let (coming, stored) = (Coming::default(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let claim = coming.claim(1, &room(100, 1000), || load(stored.load(Ordering::Acquire), 0));
                    if claim.is_ok() {
                        stored.fetch_add(1, Ordering::AcqRel);
                    }
                }
            });
        }
    });
    assert_eq!(stored.load(Ordering::Relaxed), 100);
}

fn enter(clients: &Arc<Clients>, name: &str, limit: Option<u64>) -> Result<Client, (Bound, Duration)> {
    let key = ClientKey::named(name).unwrap();
    client::enter(clients, key, None, limit, Duration::from_secs(3))
}

#[test]
fn a_client_has_so_many_requests_under_way_and_others_do_not_count() {
    let clients = Arc::default();
    let first = enter(&clients, "ada", Some(2)).unwrap();
    let twin = first.clone();
    let second = enter(&clients, "ada", Some(2)).unwrap();
    let (bound, retry_after) = enter(&clients, "ada", Some(2)).unwrap_err();
    assert_eq!(bound.to_string(), "2 of 2 requests (`clients.max_requests`)");
    assert!(retry_after >= Duration::from_secs(1));
    assert!(enter(&clients, "grace", Some(2)).is_ok());
    drop(first);
    assert!(
        enter(&clients, "ada", Some(2)).is_err(),
        "a clone is the same request"
    );
    drop(twin);
    let third = enter(&clients, "ada", Some(2)).unwrap();
    drop((second, third));
    assert_eq!(clients.len(), 0, "no entry is left of a client without requests");
}
