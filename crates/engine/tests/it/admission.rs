//! Who is let in: by model, by client, in all; also when many come at once, and after a restart.

use std::sync::Arc;
use std::time::Duration;

use cresset_config::{Admission, ClientBounds};
use cresset_engine::{Client, Engine, EngineError, EngineOptions, PredictTerms, Submission};
use cresset_runner::testing::FakePool;
use cresset_task::{ClientKey, Code};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::house::{House, config, echo, json, model, store, submission, until};

fn of(client: &Client, text: &str) -> Submission {
    Submission {
        client: Some(client.clone()),
        ..submission(text)
    }
}

fn named(engine: &Engine, name: &str) -> Client {
    engine.enter(ClientKey::named(name).unwrap(), None).unwrap()
}

/// Code, setting, limit and figure of a refusal, after a look at its hint.
fn refused(error: EngineError) -> (Code, &'static str, u64, u64) {
    let bound = error.bound().unwrap_or_else(|| panic!("{error} is at no bound"));
    assert!(error.retry_after().unwrap() >= Duration::from_secs(1));
    (error.code(), bound.setting, bound.limit, bound.current)
}

fn bounds(total: u64, each: u64) -> Admission {
    Admission {
        max_queue: Some(total),
        client: ClientBounds {
            max_queue: Some(each),
            ..ClientBounds::default()
        },
        ..Admission::default()
    }
}

/// An engine on this folder whose pool is not up.
fn engine(dir: &TempDir, admission: Admission) -> (Engine, Arc<FakePool>) {
    let options = EngineOptions {
        admission,
        ..EngineOptions::default()
    };
    let engine = Engine::start(Arc::new(store(dir.path())), &options);
    let (events, news) = mpsc::channel(16);
    let pool = FakePool::by_hand(1, 2, events);
    engine.serve(Arc::new(config()), pool.clone(), news);
    (engine, pool)
}

#[tokio::test]
async fn a_client_and_all_together_have_bounds_of_their_own_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _pool) = engine(&dir, bounds(5, 3));
    let (ada, grace) = (named(&engine, "ada"), named(&engine, "grace"));
    for _ in 0..3 {
        engine.submit(of(&ada, "1")).await.unwrap();
    }
    let error = engine.submit(of(&ada, "1")).await.unwrap_err();
    assert_eq!(refused(error), (Code::ClientLimit, "clients.max_queue", 3, 3));
    for _ in 0..2 {
        engine.submit(of(&grace, "1")).await.unwrap();
    }
    let error = engine.submit(of(&grace, "1")).await.unwrap_err();
    assert_eq!(refused(error), (Code::ServerFull, "limits.max_queue_total", 5, 5));
    let error = engine.submit(submission("1")).await.unwrap_err();
    assert_eq!(refused(error), (Code::ServerFull, "limits.max_queue_total", 5, 5));
    drop((ada, grace));
    engine.stop(Duration::ZERO).await;
    drop(engine);

    let (engine, pool) = self::engine(&dir, bounds(6, 3));
    let (ada, grace) = (named(&engine, "ada"), named(&engine, "grace"));
    let error = engine.submit(of(&ada, "1")).await.unwrap_err();
    assert_eq!(refused(error), (Code::ClientLimit, "clients.max_queue", 3, 3));
    engine.submit(of(&grace, "1")).await.unwrap();
    pool.all_up();
    let job = pool.next_job().await;
    // What is leased is not queued any more.
    until(|| engine.model("echo").unwrap().depth.tasks == 0).await;
    engine.submit(of(&ada, "2")).await.unwrap();
    assert!(pool.finish(job.batch, echo(job.items)));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn many_that_come_at_once_are_let_in_up_to_the_bound_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _pool) = engine(&dir, bounds(20, 7));
    let (ada, grace) = (named(&engine, "ada"), named(&engine, "grace"));
    let submits = (0..200).map(|i| {
        let task = match i % 3 {
            0 => of(&ada, "1"),
            1 => of(&grace, "1"),
            _ => submission("1"),
        };
        let engine = engine.clone();
        async move { engine.submit(task).await }
    });
    let mut calls = tokio::task::JoinSet::new();
    submits.for_each(|submit| drop(calls.spawn(submit)));
    let answers = calls.join_all().await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((15..=20).contains(&accepted), "{accepted}");
    assert!(answers.into_iter().filter_map(Result::err).all(|error| {
        let (code, _, limit, current) = refused(error);
        current >= limit && matches!(code, Code::ClientLimit | Code::ServerFull)
    }));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn an_input_that_never_fits_is_told_so_and_not_when_to_come_back() {
    let mut small = config();
    small.limits.max_queue_bytes = 10;
    small.limits.max_waiting_bytes = Some(10);
    let house = House::by_hand(small);
    let too_long = "12345678901";
    for error in [
        house.submit(too_long).await.unwrap_err(),
        house.predict(too_long).await.unwrap_err(),
    ] {
        assert_eq!((error.code(), error.retry_after()), (Code::BodyTooLarge, None));
        assert!(error.to_string().contains("allows 10"), "{error}");
    }
    house.submitted("123456").await;
    let error = house.submit("123456").await.unwrap_err();
    assert_eq!(refused(error), (Code::QueueFull, "limits.max_queue_bytes", 10, 6));
    let waits = house.predicting("123456").await;
    let error = house.predict("123456").await.unwrap_err();
    assert_eq!(
        refused(error),
        (Code::Overloaded, "limits.max_waiting_bytes", 10, 6)
    );
    waits.abort();
    house.engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn waiting_predictions_are_bounded_by_client_and_in_all_and_give_their_places_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = Admission {
        max_waiting: Some(3),
        client: ClientBounds {
            max_waiting: Some(2),
            ..ClientBounds::default()
        },
        ..Admission::default()
    };
    let (engine, pool) = engine(&dir, options);
    let call = |name: &str| {
        let (caller, client) = (engine.clone(), named(&engine, name));
        #[expect(clippy::disallowed_methods, reason = "the test joins it")]
        tokio::spawn(async move {
            caller
                .predict(
                    &model(),
                    json("1"),
                    PredictTerms {
                        client: Some(client),
                        ..PredictTerms::default()
                    },
                )
                .await
        })
    };
    let waiting = |n| move |engine: &Engine| engine.model("echo").unwrap().waiting == n;
    let mut calls = vec![call("ada"), call("ada")];
    until(|| waiting(2)(&engine)).await;
    let error = call("ada").await.unwrap().unwrap_err();
    assert_eq!(refused(error), (Code::ClientLimit, "clients.max_waiting", 2, 2));
    calls.push(call("grace"));
    until(|| waiting(3)(&engine)).await;
    let error = call("grace").await.unwrap().unwrap_err();
    assert_eq!(
        refused(error),
        (Code::ServerFull, "limits.max_waiting_total", 3, 3)
    );
    pool.all_up();
    let job = pool.next_job().await;
    assert!(pool.finish(job.batch, echo(job.items)));
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    until(|| waiting(0)(&engine)).await;
    let again = call("ada");
    let job = pool.next_job().await;
    assert!(pool.finish(job.batch, echo(job.items)));
    assert!(again.await.unwrap().is_ok());
    engine.stop(Duration::ZERO).await;
}
