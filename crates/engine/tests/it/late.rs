//! Predictions that have not ended at their limit and go on as tasks: nothing of them is run twice, and nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use cresset_config::ModelConfig;
use cresset_engine::{Accepted, Engine, EngineError, EngineOptions, Predicted, Submission};
use cresset_queue::TaskQuery;
use cresset_runner::testing::{FakePool, Held};
use cresset_runner::{DownReason, ItemEnd, JobEnd, Unwanted};
use cresset_task::{Attempt, ClientKey, Code, InstanceId, State, TaskId, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::caching::caching;
use crate::house::{House, LONG, config, echo, failure, store, submission, text, until};
use crate::store::Moody;

const SHORT: Option<Duration> = Some(Duration::from_millis(20));
const FIRST: InstanceId = InstanceId(0);

type Call = JoinHandle<Result<Predicted, EngineError>>;

/// Predictions wait behind the one that runs.
fn one_by_one() -> ModelConfig {
    let mut config = config();
    config.batching.max_batch_size = 1;
    config
}

/// A prediction that may become a task, on its way.
fn calls(engine: &Engine, submission: Submission, limit: Option<Duration>) -> Call {
    let engine = engine.clone();
    #[expect(clippy::disallowed_methods, reason = "the test joins it")]
    tokio::spawn(async move { engine.predict_or_task(submission, limit).await })
}

async fn task(call: Call) -> Accepted {
    match call.await.unwrap() {
        Ok(Predicted::Task(accepted)) => accepted,
        other => panic!("not a task but {other:?}"),
    }
}

/// A prediction that runs, and has become a task.
async fn gone_on(house: &House, input: &str) -> (Accepted, Held) {
    let call = calls(&house.engine, submission(input), SHORT);
    let job = house.pool.next_job().await;
    (task(call).await, job)
}

async fn tasks(engine: &Engine) -> usize {
    let query = TaskQuery {
        limit: 100,
        ..TaskQuery::default()
    };
    engine.tasks(query).await.unwrap().tasks.len()
}

async fn end(engine: &Engine, id: TaskId) -> (State, Attempt) {
    let record = engine.wait(id, LONG).await.unwrap().record;
    (record.state, record.attempts)
}

fn counted(engine: &Engine, line: &str) {
    let metrics = engine.render_metrics();
    assert!(metrics.contains(line), "{line} is not in\n{metrics}");
}

#[tokio::test]
async fn what_runs_at_its_limit_is_the_first_attempt_of_a_task() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let (accepted, job) = gone_on(&house, "7").await;
    assert_eq!((accepted.state, accepted.replayed), (State::Started, false));
    assert!(accepted.durable);
    let record = house.engine.task(accepted.id).await.unwrap().record;
    assert_eq!((record.state, record.attempts), (State::Started, Attempt(1)));
    assert!(record.started_at.unwrap() >= record.created_at);
    assert_eq!(record.created_at, accepted.created_at);
    let view = house.engine.model("echo").unwrap();
    assert_eq!(
        (view.waiting, view.depth.tasks),
        (0, 0),
        "neither waits nor is queued"
    );
    assert!(house.pool.finish(job.batch, echo(job.items)));
    let record = house.engine.wait(accepted.id, LONG).await.unwrap().record;
    assert_eq!((record.state, record.attempts), (State::Success, Attempt(1)));
    assert!(record.history.is_empty());
    assert_eq!(house.pool.taken(), 1, "run once");
    counted(
        &house.engine,
        "cresset_predictions_total{model=\"echo\",status=\"TASK\"} 1",
    );
    counted(
        &house.engine,
        "cresset_predictions_total{model=\"echo\",status=\"FAILURE\"} 0",
    );
    house.end().await;
}

#[tokio::test]
async fn what_waits_at_its_limit_is_queued_as_any_task() {
    let house = House::by_hand(one_by_one());
    house.pool.all_up();
    let busy = [house.predicting("a").await, house.predicting("b").await];
    let running = [house.pool.next_job().await, house.pool.next_job().await];
    let said = Submission {
        metadata: Some("{\"order\":17}".into()),
        tenant: Some("them".parse().unwrap()),
        ..submission("late")
    };
    let accepted = task(calls(&house.engine, said, SHORT)).await;
    assert_eq!(accepted.state, State::Pending);
    assert_eq!(house.engine.model("echo").unwrap().depth.tasks, 1);
    let record = house.engine.task(accepted.id).await.unwrap().record;
    assert_eq!(record.metadata.as_deref(), Some(&b"{\"order\":17}"[..]));
    let owner = house.engine.owner(accepted.id).await.unwrap();
    assert_eq!(owner, cresset_task::Ownership::Of(Some("them".parse().unwrap())));
    for job in running {
        house.pool.finish(job.batch, echo(job.items));
    }
    let job = house.pool.next_job().await;
    assert_eq!(job.items.iter().map(text).collect::<Vec<_>>(), ["late"]);
    house.pool.finish(job.batch, echo(job.items));
    assert_eq!(
        end(&house.engine, accepted.id).await,
        (State::Success, Attempt(1))
    );
    for call in busy {
        call.await.unwrap().unwrap();
    }
    assert_eq!(house.pool.taken(), 3, "run once");
    house.end().await;
}

#[tokio::test]
async fn what_ends_in_time_or_is_hung_up_on_is_stored_nowhere() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let call = calls(&house.engine, submission("1"), None);
    let job = house.pool.next_job().await;
    house.pool.finish(job.batch, echo(job.items));
    assert!(matches!(call.await.unwrap(), Ok(Predicted::Ended(_))));
    let call = calls(&house.engine, submission("2"), None);
    let job = house.pool.next_job().await;
    call.abort();
    until(|| !house.pool.cancelled().is_empty()).await;
    assert_eq!(house.pool.cancelled(), [(job.batch, 0, Unwanted::HungUp)]);
    house.pool.finish(job.batch, echo(job.items));
    let call = calls(&house.engine, submission("3"), None);
    let job = house.pool.next_job().await;
    let failed = JobEnd::Items(vec![ItemEnd::Failed(failure("no"))]);
    house.pool.finish(job.batch, failed);
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::ModelError);
    assert_eq!(tasks(&house.engine).await, 0);
    house.end().await;
}

/// An engine on a store that refuses and waits when it is told to.
fn moody(dir: &std::path::Path) -> (Arc<Moody>, Engine, Arc<FakePool>) {
    let (moody, _) = Moody::new(store(dir), None);
    let engine = Engine::start(moody.clone(), &EngineOptions::default());
    let (events, news) = mpsc::channel(16);
    let pool = FakePool::by_hand(1, 2, events);
    engine.serve(Arc::new(one_by_one()), pool.clone(), news);
    pool.all_up();
    (moody, engine, pool)
}

#[tokio::test]
async fn what_cannot_be_stored_is_late_and_its_run_comes_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (moody, engine, pool) = moody(dir.path());
    moody.fill(true);
    let running = calls(&engine, submission("1"), SHORT);
    let job = pool.next_job().await;
    let refused = running.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::PredictTimeout);
    assert!(
        refused
            .to_string()
            .contains("could not become a task: the task store"),
        "{refused}"
    );
    moody.fill(false);
    pool.finish(job.batch, echo(job.items));
    // Something that comes after it has been recorded, so it would be too.
    let (next, id) = (pool.next_job(), engine.submit(submission("2")).await.unwrap().id);
    let job = next.await;
    assert_eq!(job.items.iter().map(text).collect::<Vec<_>>(), ["2"]);
    pool.finish(job.batch, echo(job.items));
    assert_eq!(end(&engine, id).await, (State::Success, Attempt(1)));
    assert_eq!(tasks(&engine).await, 1);
    counted(
        &engine,
        "cresset_predictions_total{model=\"echo\",status=\"FAILURE\"} 1",
    );
    engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_run_that_ends_while_its_task_is_being_stored_is_recorded_then() {
    let dir = tempfile::tempdir().unwrap();
    let (moody, engine, pool) = moody(dir.path());
    let shut = moody.door.write().await;
    let call = calls(&engine, submission("1"), SHORT);
    let job = pool.next_job().await;
    until(|| moody.knocks() == 1).await;
    pool.finish(job.batch, echo(job.items));
    until(|| engine.model("echo").unwrap().running == 0).await;
    assert!(!call.is_finished());
    drop(shut);
    let accepted = task(call).await;
    assert_eq!(end(&engine, accepted.id).await, (State::Success, Attempt(1)));
    assert_eq!(pool.taken(), 1, "run once");
    engine.stop(LONG).await;
}

#[tokio::test]
async fn who_hangs_up_while_their_task_is_being_stored_has_it_stored_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (moody, engine, pool) = moody(dir.path());
    let shut = moody.door.write().await;
    let call = calls(&engine, submission("1"), SHORT);
    let job = pool.next_job().await;
    until(|| moody.knocks() == 1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    drop(shut);
    pool.finish(job.batch, echo(job.items));
    engine.stop(LONG).await;
    let (engine, _pool) = reopened(dir.path());
    let page = engine.tasks(TaskQuery::default()).await.unwrap();
    let states: Vec<_> = page.tasks.iter().map(|task| task.state).collect();
    assert_eq!(states, [State::Success]);
    engine.stop(Duration::ZERO).await;
}

/// Another engine on the same store.
fn reopened(dir: &std::path::Path) -> (Engine, Arc<FakePool>) {
    let engine = Engine::start(Arc::new(store(dir)), &EngineOptions::default());
    let (events, news) = mpsc::channel(16);
    let pool = FakePool::by_hand(1, 2, events);
    engine.serve(Arc::new(config()), pool.clone(), news);
    pool.all_up();
    (engine, pool)
}

#[tokio::test]
async fn what_has_become_a_task_and_has_not_ended_at_a_stop_is_run_by_the_next_server() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let (accepted, _held) = gone_on(&house, "1").await;
    let House { engine, dir, pool } = house;
    engine.stop(Duration::ZERO).await;
    drop((engine, pool));
    let (engine, pool) = reopened(dir.path());
    let job = pool.next_job().await;
    pool.finish(job.batch, echo(job.items));
    assert_eq!(end(&engine, accepted.id).await, (State::Success, Attempt(2)));
    engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_task_that_was_a_prediction_is_blamed_tried_again_and_stopped_as_any_other() {
    let mut retrying = one_by_one();
    retrying.retry.max_retries = 1;
    retrying.retry.delay = Duration::from_millis(1);
    retrying.retry.on = vec!["ValueError".into()];
    let house = House::by_hand(retrying);
    house.pool.all_up();
    // Its process dies before its limit and after it, then it raises, and then it succeeds.
    let call = calls(&house.engine, submission("1"), Some(Duration::from_millis(150)));
    house.pool.next_job().await;
    house.pool.kill(FIRST, DownReason::Exited(3));
    house.pool.all_up();
    house.pool.next_job().await;
    let accepted = task(call).await;
    house.pool.kill(FIRST, DownReason::Exited(3));
    house.pool.all_up();
    let job = house.pool.next_job().await;
    let failed = JobEnd::Items(vec![ItemEnd::Failed(failure("busy"))]);
    house.pool.finish(job.batch, failed);
    let job = house.pool.next_job().await;
    house.pool.finish(job.batch, echo(job.items));
    let record = house.engine.wait(accepted.id, LONG).await.unwrap().record;
    assert_eq!(
        (record.state, record.attempts, record.retries),
        (State::Success, Attempt(4), 1)
    );
    let attempts: Vec<_> = record.history.iter().map(|entry| entry.attempt.0).collect();
    assert_eq!(attempts, [1, 2, 3], "{:?}", record.history);
    assert_eq!(record.history[2].reason, "ValueError: busy");

    let (accepted, job) = gone_on(&house, "2").await;
    house.engine.cancel(accepted.id).await.unwrap();
    until(|| !house.pool.cancelled().is_empty()).await;
    assert_eq!(house.pool.cancelled(), [(job.batch, 0, Unwanted::Cancelled)]);
    house
        .pool
        .finish(job.batch, JobEnd::Items(vec![ItemEnd::Skipped]));
    assert_eq!(
        end(&house.engine, accepted.id).await,
        (State::Revoked, Attempt(1))
    );
    house.end().await;
}

#[tokio::test]
async fn a_full_queue_refuses_what_waits_and_not_what_runs() {
    let mut narrow = one_by_one();
    narrow.limits.max_queue = 1;
    let house = House::by_hand(narrow);
    house.pool.all_up();
    let running = calls(&house.engine, submission("1"), SHORT);
    let first = house.pool.next_job().await;
    let behind = house.predicting("2").await;
    let second = house.pool.next_job().await;
    // Queued, and not leased before its time.
    let delayed = Submission {
        due_at: Some(Timestamp::now().plus(LONG)),
        ..submission("3")
    };
    house.engine.submit(delayed).await.unwrap();
    let waiting = calls(&house.engine, submission("4"), SHORT);
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::PredictTimeout);
    assert!(refused.to_string().contains("`limits.max_queue`"), "{refused}");
    let accepted = task(running).await;
    house.pool.finish(first.batch, echo(first.items));
    house.pool.finish(second.batch, echo(second.items));
    assert_eq!(
        end(&house.engine, accepted.id).await,
        (State::Success, Attempt(1))
    );
    behind.await.unwrap().unwrap();
    house.engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_prediction_does_not_stand_in_the_way_of_the_task_that_it_becomes() {
    let house = House::by_hand(one_by_one());
    house.pool.all_up();
    let busy = [house.predicting("a").await, house.predicting("b").await];
    let held = [house.pool.next_job().await, house.pool.next_job().await];
    let key = ClientKey::named("somebody").unwrap();
    let client = house.engine.enter(key, Some(1)).unwrap();
    let of_client = Submission {
        client: Some(client),
        ..submission("1")
    };
    let accepted = task(calls(&house.engine, of_client.clone(), SHORT)).await;
    assert_eq!(accepted.state, State::Pending);
    let second = house.engine.predict_or_task(of_client, SHORT).await.unwrap_err();
    assert_eq!(second.code(), Code::ClientLimit, "the one it may have is queued");
    for job in held {
        house.pool.finish(job.batch, echo(job.items));
    }
    for call in busy {
        call.await.unwrap().unwrap();
    }
    house.engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn who_follows_a_computation_follows_it_as_a_task() {
    let house = House::by_hand(caching());
    house.pool.all_up();
    let leads = calls(&house.engine, submission("1"), Some(Duration::from_millis(100)));
    let job = house.pool.next_job().await;
    let follows = calls(&house.engine, submission("1"), SHORT);
    let follower = task(follows).await;
    let leader = task(leads).await;
    assert_eq!(leader.state, State::Started);
    let caller = house.predicting("1").await;
    house.pool.finish(job.batch, echo(job.items));
    assert!(caller.await.unwrap().is_ok());
    assert_eq!(end(&house.engine, leader.id).await, (State::Success, Attempt(1)));
    let record = house.engine.wait(follower.id, LONG).await.unwrap().record;
    assert_eq!((record.state, record.cached), (State::Success, true));
    assert_eq!(house.pool.taken(), 1, "run once");
    house.end().await;
}

#[tokio::test]
async fn many_at_once_each_become_their_own_task() {
    let mut wide = config();
    wide.batching.max_delay = Duration::from_millis(1);
    let house = House::by_hand(wide);
    house.pool.all_up();
    let calls: Vec<_> = (0..12)
        .map(|n| calls(&house.engine, submission(&n.to_string()), SHORT))
        .collect();
    let mut accepted = Vec::new();
    for call in calls {
        accepted.push(task(call).await);
    }
    for _ in 0..12 {
        if house.engine.model("echo").unwrap().depth.tasks == 0 && house.pool.held(FIRST).is_empty() {
            break;
        }
        let job = house.pool.next_job().await;
        house.pool.finish(job.batch, echo(job.items));
    }
    for (n, accepted) in accepted.iter().enumerate() {
        let record = house.engine.wait(accepted.id, LONG).await.unwrap().record;
        let output = record.outcome.unwrap();
        assert!(format!("{output:?}").contains(&format!("b\"{n}\"")), "{output:?}");
        assert_eq!(record.attempts, Attempt(1));
    }
    assert_eq!(house.engine.residue(), Default::default());
    house.end().await;
}
