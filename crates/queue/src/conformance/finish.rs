//! One terminal state, once; and what is shown of it.

use bytes::Bytes;
use cresset_task::{
    Attempt, Code, DType, Failure, Outcome, Payload, Stage, State, TaskId, Tensor, TensorSet,
};

use super::world::{World, at, ended, json, request, success, task};
use crate::{Completion, Finished, LeaseRequest, NewTask};

/// Every kind of outcome, with the state it leads to.
pub(super) fn outcomes() -> Vec<(Outcome, State)> {
    let tensor = Tensor::new(DType::Uint8, vec![3], Bytes::from_static(b"abc")).unwrap();
    let failure = Failure {
        code: Code::ModelError,
        type_: "ValueError".into(),
        message: "bad \"input\"\n\u{1f525}".into(),
        traceback: Some("Traceback ...".into()),
        stage: Some(Stage::Predict),
        again: Default::default(),
    };
    let bare = Failure {
        code: Code::InstanceDied,
        traceback: None,
        stage: None,
        ..failure.clone()
    };
    vec![
        (Outcome::Success(json("[0.5, null]")), State::Success),
        (
            Outcome::Success(Payload::Tensors(TensorSet(vec![("y".into(), tensor)]))),
            State::Success,
        ),
        (Outcome::Failure(failure), State::Failure),
        (Outcome::Failure(bare), State::Failure),
        (
            Outcome::Revoked {
                reason: "cancelled by the caller".into(),
            },
            State::Revoked,
        ),
        (
            Outcome::Revoked {
                reason: String::new(),
            },
            State::Revoked,
        ),
    ]
}

pub(super) async fn every_kind_of_outcome_is_kept_and_shown(world: World) {
    for (number, (outcome, state)) in outcomes().into_iter().enumerate() {
        let id = world.submit(task("digits")).await;
        let lease = world.lease_one("digits").await;
        let version = (number % 2 == 0).then(|| "v2".to_owned());
        let completion = Completion {
            version: version.clone(),
            cached: number % 2 == 1,
            ..ended(&lease, outcome.clone(), at(99))
        };
        assert_eq!(world.finish(completion).await, Finished::Recorded);
        let record = world.record(id).await;
        assert_eq!(record.outcome, Some(outcome));
        assert_eq!(record.state, state);
        assert_eq!(record.finished_at, Some(at(99)));
        assert_eq!(record.version, version);
        assert_eq!(record.cached, number % 2 == 1);
        assert_eq!(record.attempts, Attempt(1));
    }
}

pub(super) async fn runs_under_one_lease_count_as_attempts(world: World) {
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    let completion = Completion {
        redeliveries: 2,
        history: Vec::new(),
        ..success(&lease, at(9))
    };
    assert_eq!(world.finish(completion).await, Finished::Recorded);
    assert_eq!(world.record(id).await.attempts, Attempt(3));
}

pub(super) async fn a_recorded_outcome_survives_a_crash(world: World) {
    let mut before = Vec::new();
    for (outcome, _) in outcomes() {
        let id = world.submit(task("digits")).await;
        let lease = world.lease_one("digits").await;
        assert_eq!(
            world.finish(ended(&lease, outcome, at(99))).await,
            Finished::Recorded
        );
        before.push(world.record(id).await);
    }
    let world = world.crash().await;
    for record in before {
        assert_eq!(world.record(record.id).await, record);
    }
    assert!(
        world.lease("digits", 10).await.is_empty(),
        "an ended task is not run again"
    );
}

pub(super) async fn only_the_holder_of_the_lease_ends_a_task(world: World) {
    let id = world.submit(task("digits")).await;
    let claim = |attempt| Completion {
        id,
        attempt: Attempt(attempt),
        redeliveries: 0,
        history: Vec::new(),
        outcome: Outcome::Revoked {
            reason: "not mine".into(),
        },
        version: None,
        finished_at: at(5),
        evidence: None,
        cached: false,
    };
    assert_eq!(
        world.finish(claim(0)).await,
        Finished::Stale,
        "queued: nobody holds it"
    );
    assert_eq!(
        world.finish(claim(1)).await,
        Finished::Stale,
        "queued: attempt 1 is still to come"
    );
    let first = world.lease_one("digits").await;
    assert_eq!(world.finish(claim(0)).await, Finished::Stale);
    assert_eq!(world.finish(claim(2)).await, Finished::Stale);
    world.release(std::slice::from_ref(&first)).await;
    assert_eq!(world.finish(claim(1)).await, Finished::Stale, "given back");
    let second = world.lease_one("digits").await;
    assert_eq!(
        world.finish(success(&first, at(5))).await,
        Finished::Stale,
        "another attempt holds it"
    );
    assert_eq!(world.record(id).await.state, State::Started);
    assert_eq!(world.finish(success(&second, at(6))).await, Finished::Recorded);
    let nobody = Completion {
        id: TaskId::fresh(),
        ..claim(1)
    };
    assert_eq!(world.finish(nobody).await, Finished::Stale, "no such task");
}

pub(super) async fn the_first_outcome_stays(world: World) {
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(world.finish(success(&lease, at(5))).await, Finished::Recorded);
    let before = world.record(id).await;
    for (outcome, _) in outcomes() {
        assert_eq!(world.finish(ended(&lease, outcome, at(6))).await, Finished::Stale);
    }
    assert_eq!(world.record(id).await, before);
}

pub(super) async fn answers_stand_in_the_order_of_completions(world: World) {
    world.submit_many("digits", 3).await;
    let leases = world.lease("digits", 3).await;
    let unknown = Completion {
        id: TaskId::fresh(),
        ..success(&leases[0], at(5))
    };
    let answers = world
        .store
        .finish(vec![
            unknown,
            success(&leases[2], at(5)),
            success(&leases[2], at(6)),
            success(&leases[0], at(7)),
            Completion {
                attempt: Attempt(9),
                ..success(&leases[1], at(8))
            },
        ])
        .await
        .unwrap();
    use Finished::{Recorded, Stale};
    assert_eq!(answers, [Stale, Recorded, Stale, Recorded, Stale]);
    assert_eq!(world.record(leases[2].id).await.finished_at, Some(at(5)));
    assert_eq!(world.record(leases[1].id).await.state, State::Started);
    assert!(world.store.finish(Vec::new()).await.unwrap().is_empty());
}

pub(super) async fn of_many_finishers_exactly_one_is_recorded(world: World) {
    for _ in 0..20 {
        let id = world.submit(task("digits")).await;
        let lease = world.lease_one("digits").await;
        let mut finishers = tokio::task::JoinSet::new();
        for number in 0..16 {
            let store = world.store.clone();
            let completion = ended(&lease, Outcome::Success(json(&number.to_string())), at(number));
            finishers.spawn(async move { (number, store.finish(vec![completion]).await.unwrap()[0]) });
        }
        let answers = finishers.join_all().await;
        let recorded: Vec<_> = answers
            .iter()
            .filter(|(_, a)| *a == Finished::Recorded)
            .map(|(number, _)| *number)
            .collect();
        assert_eq!(recorded.len(), 1, "{answers:?}");
        let record = world.record(id).await;
        assert_eq!(
            record.outcome,
            Some(Outcome::Success(json(&recorded[0].to_string())))
        );
        assert_eq!(record.finished_at, Some(at(recorded[0])));
    }
}

pub(super) async fn a_holder_from_before_a_crash_is_stale(world: World) {
    let id = world.submit(task("digits")).await;
    let old = world.lease_one("digits").await;
    let world = world.crash().await;
    assert_eq!(world.finish(success(&old, at(5))).await, Finished::Stale);
    let new = world.lease_one("digits").await;
    assert_eq!(new.attempt, old.attempt.next(), "the fence does not fall back");
    assert_eq!(world.finish(success(&old, at(5))).await, Finished::Stale);
    assert_eq!(world.finish(success(&new, at(6))).await, Finished::Recorded);
    assert_eq!(world.record(id).await.finished_at, Some(at(6)));
}

pub(super) async fn each_step_of_a_life_is_shown_as_soon_as_it_is_answered(world: World) {
    for round in 0..50 {
        let id = world
            .submit(NewTask {
                created_at: at(round),
                ..task("digits")
            })
            .await;
        let mut wanted = world.record(id).await;
        assert_eq!((wanted.state, wanted.created_at), (State::Pending, at(round)));

        let lease = world
            .store
            .lease(LeaseRequest {
                now: at(round + 1),
                ..request("digits", 1)
            })
            .await
            .unwrap();
        wanted.state = State::Started;
        wanted.started_at = Some(at(round + 1));
        wanted.attempts = Attempt(1);
        assert_eq!(world.record(id).await, wanted);

        world.release(&lease).await;
        wanted.state = State::Pending;
        assert_eq!(world.record(id).await, wanted);

        let lease = world
            .store
            .lease(LeaseRequest {
                now: at(round + 2),
                ..request("digits", 1)
            })
            .await
            .unwrap();
        assert_eq!(
            world.finish(success(&lease[0], at(round + 3))).await,
            Finished::Recorded
        );
        wanted.state = State::Success;
        wanted.started_at = Some(at(round + 2));
        wanted.finished_at = Some(at(round + 3));
        wanted.attempts = Attempt(2);
        wanted.version = Some("3".into());
        wanted.outcome = success(&lease[0], at(0)).outcome.into();
        assert_eq!(world.record(id).await, wanted);
    }
}
