//! What every store of parcels keeps. The table and the suite are as those of [`conformance_suite!`](crate::conformance_suite).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::{Dice, limited};
use crate::{PARCELS_SWEPT_MAX, Parcels};

/// What the suite needs of such a store. Each case gets a fresh one.
#[async_trait]
pub trait ParcelsHarness: Send + Sync {
    /// Opens it; again, it is the same one, as another server has it.
    async fn open(&self) -> Arc<dyn Parcels>;

    /// All that is there was put so much earlier than it was.
    async fn age(&self, by: Duration);

    /// How many parcels there are.
    async fn count(&self) -> i64;
}

const HOUR: Duration = Duration::from_secs(3600);

macro_rules! table {
    ($d:tt $($case:ident,)*) => {
        /// One promise, checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(non_camel_case_types, reason = "a case is named by a sentence, and so is its test")]
        pub enum ParcelsCase {
            $(#[doc = "One."] $case,)*
        }

        async fn play(case: ParcelsCase, harness: &dyn ParcelsHarness) {
            match case {
                $(ParcelsCase::$case => $case(harness).await,)*
            }
        }

        /// A test for every case. Takes an expression that makes a fresh
        /// [`ParcelsHarness`](crate::conformance::ParcelsHarness) if what it needs is there.
        #[macro_export]
        macro_rules! parcels_suite {
            (or_skip $d harness:expr) => {
                $(
                    #[test]
                    fn $case() {
                        if let Some(harness) = $d harness {
                            $d crate::conformance::check_parcels($d crate::conformance::ParcelsCase::$case, &harness);
                        }
                    }
                )*
            };
        }
    };
}

table! { $
    what_is_put_is_there_whole_for_everybody_who_opens_the_store,
    a_parcel_that_is_put_twice_stays_as_it_was,
    what_is_removed_is_gone_and_what_is_not_there_is_nobodys_mistake,
    what_nobody_keeps_is_swept_and_what_somebody_keeps_is_not,
    a_sweep_is_bounded_and_ends_with_zero,
    many_parcels_at_once_are_each_their_own,
}

/// Checks one promise.
pub fn check_parcels(case: ParcelsCase, harness: &dyn ParcelsHarness) {
    limited(format!("{case:?}"), play(case, harness));
}

/// Bytes of this length, other ones each time.
fn some(dice: &mut Dice, length: usize) -> Bytes {
    let pattern = dice.bytes(251);
    pattern.iter().copied().cycle().take(length).collect()
}

async fn what_is_put_is_there_whole_for_everybody_who_opens_the_store(harness: &dyn ParcelsHarness) {
    let (one, other) = (harness.open().await, harness.open().await);
    assert_eq!(one.store(), other.store());
    let mut dice = Dice::new(7);
    // Below, at and above what a store may keep in one piece.
    for length in [0, 1, 100_000, 4 << 20, (4 << 20) + 1, 20 << 20] {
        let (id, bytes) = (Uuid::now_v7(), some(&mut dice, length));
        assert_eq!(other.get(id).await.unwrap(), None, "{length}");
        one.put(id, bytes.clone()).await.unwrap();
        assert!(other.get(id).await.unwrap() == Some(bytes), "{length}");
    }
    one.close().await;
    other.close().await;
    let again = harness.open().await;
    assert_eq!(again.store(), one.store(), "it is kept in the store");
    assert_eq!(harness.count().await, 6);
    again.close().await;
}

async fn a_parcel_that_is_put_twice_stays_as_it_was(harness: &dyn ParcelsHarness) {
    let parcels = harness.open().await;
    let mut dice = Dice::new(8);
    for length in [10, 9 << 20] {
        let (id, bytes) = (Uuid::now_v7(), some(&mut dice, length));
        for _ in 0..2 {
            parcels.put(id, bytes.clone()).await.unwrap();
        }
        parcels.put(id, some(&mut dice, 10)).await.unwrap();
        assert!(parcels.get(id).await.unwrap() == Some(bytes), "{length}");
    }
    assert_eq!(harness.count().await, 2);
    parcels.close().await;
}

async fn what_is_removed_is_gone_and_what_is_not_there_is_nobodys_mistake(harness: &dyn ParcelsHarness) {
    let parcels = harness.open().await;
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        parcels.put(*id, Bytes::from_static(b"abc")).await.unwrap();
    }
    parcels.remove(&[ids[0], Uuid::now_v7()]).await.unwrap();
    parcels.remove(&[ids[0], ids[1]]).await.unwrap();
    parcels.remove(&[]).await.unwrap();
    parcels.keep(&[]).await.unwrap();
    parcels.keep(&[ids[0]]).await.unwrap();
    assert_eq!(parcels.get(ids[0]).await.unwrap(), None);
    assert_eq!(parcels.get(ids[2]).await.unwrap().as_deref(), Some(&b"abc"[..]));
    assert_eq!(harness.count().await, 1);
    parcels.close().await;
}

async fn what_nobody_keeps_is_swept_and_what_somebody_keeps_is_not(harness: &dyn ParcelsHarness) {
    let parcels = harness.open().await;
    let (kept, left, new) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let large = Bytes::from(vec![7; 9 << 20]);
    for id in [kept, left] {
        parcels.put(id, large.clone()).await.unwrap();
    }
    assert_eq!(parcels.sweep(HOUR).await.unwrap(), 0);
    harness.age(2 * HOUR).await;
    parcels.put(new, large.clone()).await.unwrap();
    parcels.keep(&[kept, Uuid::now_v7()]).await.unwrap();
    assert_eq!(parcels.sweep(HOUR).await.unwrap(), 1);
    assert_eq!(parcels.get(left).await.unwrap(), None);
    for id in [kept, new] {
        assert!(parcels.get(id).await.unwrap().as_ref() == Some(&large));
    }
    parcels.close().await;
}

async fn a_sweep_is_bounded_and_ends_with_zero(harness: &dyn ParcelsHarness) {
    let parcels = harness.open().await;
    for _ in 0..=PARCELS_SWEPT_MAX {
        parcels
            .put(Uuid::now_v7(), Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    harness.age(2 * HOUR).await;
    assert_eq!(parcels.sweep(HOUR).await.unwrap(), PARCELS_SWEPT_MAX);
    assert_eq!(parcels.sweep(HOUR).await.unwrap(), 1);
    assert_eq!(parcels.sweep(HOUR).await.unwrap(), 0);
    assert_eq!(harness.count().await, 0);
    parcels.close().await;
}

async fn many_parcels_at_once_are_each_their_own(harness: &dyn ParcelsHarness) {
    let parcels = harness.open().await;
    let mut dice = Dice::new(9);
    let all: Vec<_> = (0..12_usize)
        .map(|at| (Uuid::now_v7(), some(&mut dice, at << 18)))
        .collect();
    let mut putting = tokio::task::JoinSet::new();
    for (id, bytes) in all.clone() {
        let parcels = Arc::clone(&parcels);
        putting.spawn(async move { parcels.put(id, bytes).await.unwrap() });
    }
    putting.join_all().await;
    let mut getting = tokio::task::JoinSet::new();
    for (id, bytes) in all {
        let parcels = Arc::clone(&parcels);
        getting.spawn(async move { assert!(parcels.get(id).await.unwrap() == Some(bytes)) });
    }
    getting.join_all().await;
    parcels.close().await;
}
