use std::collections::BTreeMap;

use async_trait::async_trait;
use cresset_engine::QueueErrorKind;
use tokio_util::task::TaskTracker;

use super::*;

/// Parcels in memory, and what was asked of them.
#[derive(Debug, Default)]
struct Memory {
    there: Mutex<BTreeMap<Uuid, Bytes>>,
    kept: Mutex<Vec<Uuid>>,
    swept: Mutex<u64>,
    fails: Mutex<Option<QueueErrorKind>>,
}

impl Memory {
    fn answers(&self) -> Result<(), QueueError> {
        let fails = *self.fails.lock().unwrap();
        fails.map_or(Ok(()), |kind| Err(QueueError::new(kind, "test", "no")))
    }

    fn count(&self) -> usize {
        self.there.lock().unwrap().len()
    }
}

#[async_trait]
impl Parcels for Memory {
    fn store(&self) -> Uuid {
        Uuid::max()
    }

    async fn put(&self, id: Uuid, bytes: Bytes) -> Result<(), QueueError> {
        self.answers()?;
        self.there.lock().unwrap().insert(id, bytes);
        Ok(())
    }

    async fn get(&self, id: Uuid) -> Result<Option<Bytes>, QueueError> {
        self.answers()?;
        Ok(self.there.lock().unwrap().get(&id).cloned())
    }

    async fn keep(&self, ids: &[Uuid]) -> Result<(), QueueError> {
        self.kept.lock().unwrap().extend(ids);
        Ok(())
    }

    async fn remove(&self, ids: &[Uuid]) -> Result<(), QueueError> {
        self.answers()?;
        self.there.lock().unwrap().retain(|id, _| !ids.contains(id));
        Ok(())
    }

    async fn sweep(&self, unkept_for: Duration) -> Result<u64, QueueError> {
        assert!(
            unkept_for > Duration::from_secs(3600),
            "a result may wait so long for its gateway"
        );
        Ok(std::mem::take(&mut *self.swept.lock().unwrap()))
    }

    async fn close(&self) {}
}

/// A depot with somebody who looks after it.
fn cared() -> (Arc<Memory>, Arc<Depot>, TaskTracker, CancellationToken) {
    let memory = Arc::new(Memory::default());
    let depot = Depot::new(Arc::clone(&memory) as Arc<dyn Parcels>, 10);
    let (tracker, leave) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(Arc::clone(&depot).care(leave.clone()));
    tracker.close();
    (memory, depot, tracker, leave)
}

async fn left(depot: &Arc<Depot>, input: &Payload) -> (Left, Parcel) {
    let left = Left::new(Some(Arc::clone(depot)));
    let (parcel, bytes) = depot.pack(input);
    left.add(parcel.id);
    depot.put(&parcel, &bytes).await.unwrap().unwrap();
    (left, parcel)
}

fn input() -> Payload {
    Payload::Json("[1, 2, 3, 4, 5]".into())
}

#[tokio::test(start_paused = true)]
async fn an_input_goes_a_moment_after_its_end_and_one_whose_item_goes_on_elsewhere_stays() {
    let (memory, depot, tracker, leave) = cared();
    let (ended, first) = left(&depot, &input()).await;
    let (abandoned, second) = left(&depot, &input()).await;
    assert_eq!(depot.get(&first).await.unwrap(), Ok(Some(input())));
    ended.done();
    drop(abandoned);
    tokio::time::sleep(DONE_FOR - Duration::from_millis(10)).await;
    assert_eq!(memory.count(), 2, "its end may not be recorded yet");
    tokio::time::sleep(2 * REMOVE_EVERY).await;
    assert_eq!(depot.get(&first).await.unwrap(), Ok(None));
    assert_eq!(depot.get(&second).await.unwrap(), Ok(Some(input())));
    drop(ended);
    assert!(depot.ours().needed.is_empty());
    leave.cancel();
    tracker.wait().await;
    assert_eq!(memory.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_away_for_long_is_said_to_be_needed_and_what_is_done_goes_with_the_server() {
    let (memory, depot, tracker, leave) = cared();
    let (held, parcel) = left(&depot, &input()).await;
    *memory.swept.lock().unwrap() = 3;
    // What is said at the start is another thing.
    tokio::time::sleep(REMOVE_EVERY).await;
    memory.kept.lock().unwrap().clear();
    tokio::time::sleep(KEEP_EVERY).await;
    assert_eq!(*memory.kept.lock().unwrap(), [parcel.id]);
    assert_eq!(*memory.swept.lock().unwrap(), 0);
    held.done();
    leave.cancel();
    tracker.wait().await;
    assert_eq!(memory.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_again_and_one_that_says_no_is_not() {
    let (memory, depot, _tracker, _leave) = cared();
    let (held, parcel) = left(&depot, &input()).await;
    *memory.fails.lock().unwrap() = Some(QueueErrorKind::Unavailable);
    assert!(
        depot
            .get(&parcel)
            .await
            .unwrap_err()
            .to_string()
            .starts_with("store: ")
    );
    held.done();
    tokio::time::sleep(2 * DONE_FOR).await;
    assert_eq!(memory.count(), 1);
    *memory.fails.lock().unwrap() = Some(QueueErrorKind::Corrupt);
    assert!(matches!(depot.get(&parcel).await, Ok(Err(Never(_)))));
    *memory.fails.lock().unwrap() = None;
    tokio::time::sleep(2 * REMOVE_EVERY).await;
    assert_eq!(memory.count(), 0, "it was not forgotten");
    let huge = Parcel {
        size: PARCEL_BYTES_MAX + 1,
        ..parcel
    };
    assert!(matches!(depot.get(&huge).await, Ok(Err(Never(why))) if why.contains("more than")));
}

#[test]
fn only_what_is_large_goes_by_the_store() {
    let depot = Depot::new(Arc::new(Memory::default()), 10);
    assert!(!depot.takes(0) && !depot.takes(10) && depot.takes(11));
    assert!(!depot.takes(PARCEL_BYTES_MAX as usize + 1));
}

#[tokio::test]
async fn what_is_done_is_remembered_within_bounds() {
    let depot = Depot::new(Arc::new(Memory::default()), 10);
    for _ in 0..DONE_MAX + 3 {
        depot.done(Uuid::now_v7());
    }
    assert_eq!(depot.ours().done.len(), DONE_MAX);
    depot.remove(Duration::ZERO).await.unwrap();
    assert!(depot.ours().done.is_empty());
}
