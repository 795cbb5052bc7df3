//! What every store keeps whose database is on another machine, when the connection goes. The table and the suite are as
//! those of [`conformance_suite!`](crate::conformance_suite), with a harness that can do worse.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cresset_task::{TaskId, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::proxy::{IsAnswer, Proxy};
use super::world::{ALL, at, giving_up, model, request, success, task};
use super::{Applications, CASE_LIMIT, inbox_entry, inbox_query, inbox_take, limited};
use crate::{About, Backend, Finished, Lookup, QueueErrorKind, Role, Submitted};

/// What the suite needs of such a store. Each case gets a fresh one, in a database that is reached without TLS.
#[async_trait]
pub trait RemoteHarness: Applications + Send + Sync {
    /// Where the database is.
    fn address(&self) -> (String, u16);

    /// How a commit looks on the wire.
    fn commit(&self) -> &'static [u8];

    /// What is all of the answer to a commit, and to what it came with.
    fn answer(&self) -> IsAnswer {
        |answer| !answer.is_empty()
    }

    /// Words that each connection for reading is set up with.
    fn set_up(&self) -> &'static [u8];

    /// Opens the store, with the database at this port of this machine if one is said.
    async fn open(&self, port: Option<u16>) -> Arc<dyn Backend>;

    /// Ends the session in which the store writes.
    async fn end_session(&self);

    /// How many tasks there are in the tables.
    async fn tasks(&self) -> i64;

    /// Makes the tables forget that the last group was committed, as a copy would that lacks it; with `and_leases` they
    /// forget all leases too.
    async fn forget(&self, and_leases: bool);

    /// Takes every server for ended, as another one would that finds them without sessions.
    async fn end_all(&self);
}

const SUBMITTERS: usize = 8;
const SUBMITS: usize = 40;
/// Ends of the connection while they submit.
const ENDS: usize = 6;

macro_rules! table {
    ($d:tt $($case:ident,)*) => {
        /// One promise, checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(non_camel_case_types, reason = "a case is named by a sentence, and so is its test")]
        pub enum RemoteCase {
            $(#[doc = "One."] $case,)*
        }

        async fn play(case: RemoteCase, wire: Wire) {
            match case {
                $(RemoteCase::$case => $case(wire).await,)*
            }
        }

        /// A test for every case. Takes an expression that makes a fresh
        /// [`RemoteHarness`](crate::conformance::RemoteHarness) if what it needs is there.
        #[macro_export]
        macro_rules! remote_suite {
            (or_skip $d harness:expr) => {
                $(
                    #[test]
                    fn $case() {
                        if let Some(harness) = $d harness {
                            $d crate::conformance::check_remote($d crate::conformance::RemoteCase::$case, harness);
                        }
                    }
                )*
            };
        }
    };
}

table! { $
    connections_that_end_under_load_cost_nobody_an_error_and_nothing_is_lost,
    a_commit_that_nobody_heard_of_is_answered_as_what_it_is,
    what_was_refused_though_it_was_committed_is_undone,
    what_was_refused_is_undone_before_anything_else_however_long_that_takes,
    numbers_that_the_database_forgot_are_not_given_again,
    leases_that_the_database_remembers_end_when_it_forgot_others,
    a_connection_that_is_lost_while_it_is_opened_costs_no_reader_an_error,
    connections_that_are_lost_whenever_they_are_opened_are_told_until_one_is_not,
    a_row_that_was_taken_stays_taken_though_its_taker_was_told_otherwise,
    who_was_taken_for_ended_goes_on_as_a_new_server,
}

/// Plays one case against a fresh harness; panics when the promise is broken.
pub fn check_remote(case: RemoteCase, harness: impl RemoteHarness + 'static) {
    limited(format!("{case:?}"), async {
        let proxy = Proxy::to(harness.address(), harness.commit(), harness.answer()).await;
        let store = harness.open(Some(proxy.port)).await;
        let wire = Wire {
            harness: Box::new(harness),
            proxy,
            store,
        };
        play(case, wire).await;
    });
}

/// A store whose connections go by a wire that can be cut.
struct Wire {
    harness: Box<dyn RemoteHarness>,
    proxy: Proxy,
    store: Arc<dyn Backend>,
}

impl Wire {
    async fn submit(&self) -> TaskId {
        let task = task("digits");
        let id = task.id;
        assert_eq!(self.store.submit(task).await.unwrap(), Submitted::New);
        id
    }

    /// It is told that the database is away.
    async fn is_refused(&self) -> TaskId {
        let task = task("digits");
        let id = task.id;
        let refused = self.store.submit(task).await.unwrap_err();
        assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
        id
    }

    /// All that there is to lease: which, and for the how-manieth time.
    async fn lease(&self) -> Vec<(TaskId, u32)> {
        let leases = self.store.lease(request("digits", ALL)).await.unwrap();
        leases.iter().map(|lease| (lease.id, lease.attempt.0)).collect()
    }

    async fn is_found(&self, id: TaskId) -> bool {
        matches!(self.store.fetch(id).await.unwrap(), Lookup::Found(_))
    }

    fn depth(&self) -> u64 {
        self.store.depth(&model("digits")).tasks
    }

    /// Until the store works again.
    async fn recovered(&self) {
        until(async || self.store.probe().await.is_ok()).await;
    }
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let comes = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await; // only keeps the asking civil
        }
    };
    timeout(CASE_LIMIT, comes).await.unwrap();
}

async fn connections_that_end_under_load_cost_nobody_an_error_and_nothing_is_lost(wire: Wire) {
    let mut submitters = JoinSet::new();
    for _ in 0..SUBMITTERS {
        let store = Arc::clone(&wire.store);
        submitters.spawn(async move {
            for _ in 0..SUBMITS {
                assert_eq!(store.submit(task("digits")).await.unwrap(), Submitted::New);
            }
        });
    }
    for _ in 0..ENDS {
        wire.harness.end_session().await;
        wire.recovered().await;
    }
    submitters.join_all().await;
    assert_eq!(wire.depth() as usize, SUBMITTERS * SUBMITS);
    let leases = wire.store.lease(request("digits", ALL)).await.unwrap();
    assert_eq!(leases.len(), SUBMITTERS * SUBMITS);
    wire.harness.end_session().await;
    // A lease outlives its connection, as its holder does.
    let ended = wire.store.finish(vec![success(&leases[0], at(5))]).await;
    assert_eq!(ended.unwrap(), [Finished::Recorded]);
    wire.store.close().await.unwrap();
}

async fn a_commit_that_nobody_heard_of_is_answered_as_what_it_is(wire: Wire) {
    for _ in 0..3 {
        wire.proxy.cut_after_commit(false);
        let id = wire.submit().await;
        assert!(wire.is_found(id).await);
    }
    wire.proxy.cut_after_commit(false);
    let leases = wire.lease().await;
    assert_eq!(leases.len(), 3);
    assert!(
        leases.iter().all(|(_, attempt)| *attempt == 1),
        "each was leased once"
    );
    assert_eq!(wire.harness.tasks().await, 3);
    wire.store.close().await.unwrap();
}

async fn what_was_refused_though_it_was_committed_is_undone(wire: Wire) {
    let kept = wire.submit().await;
    wire.proxy.cut_after_commit(true);
    let lost = wire.is_refused().await;
    wire.is_refused().await;
    assert_eq!(wire.harness.tasks().await, 2, "it was committed");

    wire.proxy.open();
    wire.recovered().await;
    assert_eq!(wire.store.fetch(lost).await.unwrap(), Lookup::Unknown);
    assert!(wire.is_found(kept).await);
    assert_eq!(wire.depth(), 1);

    wire.proxy.cut_after_commit(true);
    let refused = wire.store.lease(request("digits", ALL)).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    wire.proxy.open();
    wire.recovered().await;
    assert_eq!(wire.lease().await, [(kept, 2)]);
    wire.store.close().await.unwrap();
}

/// However often the connection goes while that is done.
async fn what_was_refused_is_undone_before_anything_else_however_long_that_takes(wire: Wire) {
    wire.proxy.cut_after_commit(true);
    wire.is_refused().await;
    assert_eq!(wire.harness.tasks().await, 1);
    wire.proxy.cut_at(b"DELETE FROM tasks", 3);
    wire.proxy.open();
    wire.recovered().await;
    assert_eq!(wire.proxy.cuts_left(), 0);
    assert_eq!(wire.depth(), 0);
    assert_eq!(wire.lease().await, []);
    assert_eq!(wire.harness.tasks().await, 0);
    wire.store.close().await.unwrap();
}

/// The database forgets what it had confirmed: no number of a lease is given twice.
async fn numbers_that_the_database_forgot_are_not_given_again(wire: Wire) {
    let id = wire.submit().await;
    assert_eq!(wire.lease().await, [(id, 1)]);
    wire.harness.forget(true).await;
    wire.harness.end_session().await;
    wire.recovered().await;
    let again = wire.lease().await;
    assert!(again[0].1 > 1, "{again:?}");
    wire.store.close().await.unwrap();
}

/// It may have forgotten that a task was given back: none stays leased to nobody.
async fn leases_that_the_database_remembers_end_when_it_forgot_others(wire: Wire) {
    let id = wire.submit().await;
    let held = wire.store.lease(request("digits", ALL)).await.unwrap();
    wire.harness.forget(false).await;
    wire.harness.end_session().await;
    wire.recovered().await;
    assert_eq!(wire.depth(), 1);
    let ended = wire.store.finish(vec![success(&held[0], at(5))]).await;
    assert_eq!(ended.unwrap(), [Finished::Stale]);
    let again = wire.store.lease(request("digits", ALL)).await.unwrap();
    assert_eq!((again.len(), again[0].id), (1, id));
    assert!(again[0].attempt.0 > held[0].attempt.0, "{:?}", again[0].attempt);
    let ended = wire.store.finish(vec![success(&again[0], at(6))]).await;
    assert_eq!(ended.unwrap(), [Finished::Recorded]);
    wire.store.close().await.unwrap();
}

/// So often as it is opened again.
async fn a_connection_that_is_lost_while_it_is_opened_costs_no_reader_an_error(wire: Wire) {
    let id = wire.submit().await;
    wire.proxy.cut_at(wire.harness.set_up(), 5);
    assert!(wire.is_found(id).await);
    assert_eq!(wire.proxy.cuts_left(), 0);
    wire.store.close().await.unwrap();
}

async fn connections_that_are_lost_whenever_they_are_opened_are_told_until_one_is_not(wire: Wire) {
    let id = wire.submit().await;
    wire.proxy.cut_at(wire.harness.set_up(), usize::MAX);
    let refused = wire.store.fetch(id).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    wire.proxy.cut_at(wire.harness.set_up(), 0);
    until(async || matches!(wire.store.fetch(id).await, Ok(Lookup::Found(_)))).await;
    wire.store.close().await.unwrap();
}

/// The commit that takes a row of the inbox is not heard of, and its taker is told that it failed: the task must be there all
/// the same.
async fn a_row_that_was_taken_stays_taken_though_its_taker_was_told_otherwise(wire: Wire) {
    let (ids, transaction) = wire.harness.begin(&[("digits", "1".into())]).await;
    transaction.end(true).await;
    let rows = wire.store.inbox_rows(inbox_query(9)).await.unwrap();
    wire.proxy.cut_after_commit(true);
    let entries = rows.iter().map(inbox_entry).collect();
    let refused = wire
        .store
        .inbox_take(entries, Timestamp::now())
        .await
        .unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    wire.proxy.open();
    wire.recovered().await;
    assert!(wire.is_found(ids[0]).await);
    assert_eq!(wire.depth(), 1);
    assert_eq!(inbox_take(&*wire.store, 9).await, []);
    assert_eq!(wire.harness.tasks().await, 1);
    wire.store.close().await.unwrap();
}

/// It writes nothing more as what it was, and what it said of itself is so all the same.
async fn who_was_taken_for_ended_goes_on_as_a_new_server(wire: Wire) {
    let store = &wire.store;
    wire.submit().await;
    let about = About {
        role: Role::Worker,
        host: "gpu-1".into(),
        ..About::default()
    };
    store.introduce(about.clone(), true).await.unwrap();
    let before = store.members(false).await.unwrap();
    let held = store.lease(request("digits", ALL)).await.unwrap();
    wire.harness.end_all().await;
    let ended = store.finish(vec![success(&held[0], at(5))]).await.unwrap();
    assert_eq!(ended, [Finished::Stale]);
    wire.submit().await;
    let members = store.members(false).await.unwrap();
    assert_eq!((before.len(), members.len()), (1, 1));
    assert!(members[0].id > before[0].id, "{members:?}");
    assert_eq!(members[0].about, about);
    store.release(vec![giving_up(&held[0])]).await.unwrap();
    let again = store.lease(request("digits", ALL)).await.unwrap();
    assert_eq!((again.len(), again[0].attempt.0), (2, 2));
    assert_eq!(wire.depth(), 0);
    store.close().await.unwrap();
}
