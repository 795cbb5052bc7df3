//! Inputs that take their process down: kept with their evidence, run again when asked, and nothing else is.

use cresset_config::{ModelConfig, ModelLimits};
use cresset_engine::Submission;
use cresset_queue::{LetterFilter, LetterQuery};
use cresset_runner::{DownReason, JobEnd, Scene};
use cresset_task::{Code, Outcome, Payload, RetryTerms, State, TaskId};

use crate::house::{House, LONG, config, echo, json, submission, text, until};

/// Dies of anything with "poison" in it.
fn dies_of_poison(items: Vec<Payload>) -> JobEnd {
    if !items.iter().any(|item| text(item).contains("poison")) {
        return echo(items);
    }
    JobEnd::Lost {
        reason: DownReason::Signal(11),
        suspect: true,
        scene: Some(Box::new(Scene {
            resident_bytes: Some(3 << 30),
            last_lines: vec!["about to crash".into()],
        })),
    }
}

fn all() -> LetterQuery {
    LetterQuery {
        limit: 100,
        ..LetterQuery::default()
    }
}

async fn letters(house: &House) -> Vec<TaskId> {
    let page = house.engine.dead_letters(all()).await.unwrap();
    page.letters.into_iter().map(|letter| letter.id).collect()
}

#[tokio::test]
async fn one_poisonous_input_of_a_batch_becomes_a_letter_and_the_rest_succeeds() {
    let house = House::automatic(config(), dies_of_poison);
    let mut ids = Vec::new();
    for i in 0..8 {
        let input = if i == 5 {
            "\"poison\"".to_owned()
        } else {
            i.to_string()
        };
        ids.push(house.submitted(&input).await);
    }
    house.pool.all_up();
    for (i, id) in ids.iter().enumerate() {
        let record = house.engine.wait(*id, LONG).await.unwrap().record;
        match record.outcome {
            Some(Outcome::Failure(failure)) if i == 5 => assert_eq!(failure.code, Code::InstanceDied),
            Some(Outcome::Success(_)) if i != 5 => {}
            other => panic!("task {i}: {other:?}"),
        }
    }
    assert_eq!(letters(&house).await, [ids[5]]);
    let letter = house.engine.dead_letter(ids[5]).await.unwrap();
    assert_eq!(letter.evidence.cause, "signal");
    assert_eq!(letter.evidence.reason, "was ended by signal 11");
    assert!(letter.evidence.tried >= config().limits.max_attempts);
    assert_eq!(letter.evidence.resident_bytes, Some(3 << 30));
    assert_eq!(letter.evidence.log, ["about to crash"]);
    assert_eq!(letter.version.as_deref(), Some("7"));
    assert_eq!(house.engine.dead_input(ids[5]).await.unwrap(), json("\"poison\""));
    let counted = "cresset_dead_letters_total{model=\"echo\"} 1\n";
    until(|| house.engine.render_metrics().contains(counted)).await;
    house.end().await;
}

#[tokio::test]
async fn a_prediction_that_kills_fails_and_leaves_no_letter() {
    let house = House::automatic(config(), dies_of_poison);
    house.pool.all_up();
    let error = house.predict("\"poison\"").await.unwrap_err();
    assert_eq!(error.code(), Code::InstanceDied);
    assert!(letters(&house).await.is_empty());
    house.end().await;
}

#[tokio::test]
async fn a_task_that_merely_fails_leaves_no_letter() {
    let house = House::automatic(config(), |_| JobEnd::Raised(crate::house::failure("boom")));
    house.pool.all_up();
    let id = house.submitted("1").await;
    let record = house.engine.wait(id, LONG).await.unwrap().record;
    assert_eq!(record.state, State::Failure);
    let error = house.engine.dead_letter(id).await.unwrap_err();
    assert_eq!(error.code(), Code::UnknownLetter);
    for error in [
        house.engine.dead_input(id).await.unwrap_err(),
        house.engine.replay(id, None).await.unwrap_err(),
        house.engine.purge_dead(id).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::UnknownLetter);
    }
    house.end().await;
}

#[tokio::test]
async fn a_letter_is_replayed_once_and_runs_like_any_other_task() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let id = house.submitted("\"poison\"").await;
    for _ in 0..config().limits.max_attempts {
        let job = house.pool.next_job().await;
        assert!(house.pool.finish(job.batch, dies_of_poison(job.items)));
    }
    let died = house.engine.wait(id, LONG).await.unwrap().record;
    assert_eq!(died.state, State::Failure);

    let replay = house.engine.replay(id, None).await.unwrap();
    assert_eq!(
        (replay.letter, replay.state, replay.replayed, replay.durable),
        (id, Some(State::Pending), false, true)
    );
    let again = house.engine.replay(id, None).await.unwrap();
    assert_eq!((again.id, again.replayed), (replay.id, true));
    // The model was mended.
    let job = house.pool.next_job().await;
    assert_eq!(job.items, [json("\"poison\"")]);
    assert!(house.pool.finish(job.batch, echo(job.items)));
    let record = house.engine.wait(replay.id, LONG).await.unwrap().record;
    assert_eq!((record.state, record.replay_of), (State::Success, Some(id)));
    let again = house.engine.replay(id, None).await.unwrap();
    assert_eq!(
        (again.id, again.state, again.replayed),
        (replay.id, Some(State::Success), true)
    );
    let metrics = house.engine.render_metrics();
    let accepted = "cresset_tasks_total{model=\"echo\",status=\"PENDING\"} 2\n";
    assert!(metrics.contains(accepted), "{metrics}");
    assert_eq!(
        house
            .engine
            .purge_dead_all(LetterFilter::default())
            .await
            .unwrap(),
        1
    );
    assert!(letters(&house).await.is_empty());
    house.end().await;
}

#[tokio::test]
async fn a_replay_waits_in_the_queue_and_obeys_its_bounds() {
    let tight = ModelConfig {
        limits: ModelLimits {
            max_queue: 1,
            max_attempts: 1,
            ..config().limits
        },
        ..config()
    };
    let house = House::by_hand(tight);
    house.pool.all_up();
    let id = house.submitted("\"poison\"").await;
    let job = house.pool.next_job().await;
    assert!(house.pool.finish(job.batch, dies_of_poison(job.items)));
    house.engine.wait(id, LONG).await.unwrap();
    house
        .pool
        .kill(cresset_task::InstanceId(0), DownReason::Exited(1));
    house.submitted("1").await;
    let error = house.engine.replay(id, None).await.unwrap_err();
    assert_eq!(error.code(), Code::QueueFull);
    assert_eq!(house.engine.dead_letter(id).await.unwrap().replayed_as, None);
    house.pool.all_up();
    let job = house.pool.next_job().await;
    assert!(house.pool.finish(job.batch, echo(job.items)));
    let replay = house.engine.replay(id, None).await.unwrap();
    assert!(!replay.replayed);
    let job = house.pool.next_job().await;
    assert!(house.pool.finish(job.batch, echo(job.items)));
    house.engine.wait(replay.id, LONG).await.unwrap();
    house.engine.drain();
    // What was replayed before is told also to those who come too late for new work.
    assert_eq!(house.engine.replay(id, None).await.unwrap().id, replay.id);
    house.end().await;
}

#[tokio::test]
async fn a_replay_is_tried_again_as_its_task_was_to_be() {
    let house = House::automatic(config(), dies_of_poison);
    house.pool.all_up();
    let terms = RetryTerms {
        max_retries: Some(9),
        on: Some(vec!["Busy".into()]),
        ..RetryTerms::default()
    };
    let said = Submission {
        retry: Some(Box::new(terms.clone())),
        ..submission("\"poison\"")
    };
    let id = house.engine.submit(said).await.unwrap().id;
    house.engine.wait(id, LONG).await.unwrap();
    let letter = house.engine.dead_letter(id).await.unwrap();
    assert_eq!(letter.retry.as_deref(), Some(&terms));
    let replay = house.engine.replay(id, None).await.unwrap();
    let record = house.engine.wait(replay.id, LONG).await.unwrap().record;
    assert_eq!(record.retry.as_deref(), Some(&terms));
    house.end().await;
}
