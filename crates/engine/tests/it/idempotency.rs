//! Submits that are sent again.

use bytes::Bytes;
use cresset_engine::{Accepted, Submission};
use cresset_task::{Code, State};

use crate::house::{House, LONG, config, echo, json, submission};

fn keyed(key: &str, text: &str) -> Submission {
    Submission {
        due_at: None,
        expires_at: None,
        deadline_at: None,
        idempotency_key: Some(key.parse().unwrap()),
        ..submission(text)
    }
}

#[tokio::test]
async fn the_same_submit_again_is_the_same_task_and_is_not_counted() {
    let house = House::by_hand(config());
    let first = house.engine.submit(keyed("k", "1")).await.unwrap();
    assert!(!first.replayed);
    let replayed = Accepted {
        replayed: true,
        ..first.clone()
    };
    assert_eq!(house.engine.submit(keyed("k", "1")).await.unwrap(), replayed);
    let metrics = house.engine.render_metrics();
    assert!(
        metrics.contains("cresset_tasks_total{model=\"echo\",status=\"PENDING\"} 1\n"),
        "{metrics}"
    );
    assert_eq!(house.engine.model("echo").unwrap().depth.tasks, 1);

    house.pool.all_up();
    let job = house.pool.next_job().await;
    assert_eq!(job.items.len(), 1, "it runs once");
    house.pool.finish(job.batch, echo(job.items));
    house.engine.wait(first.id, LONG).await.unwrap();
    let ended = Accepted {
        state: State::Success,
        ..replayed
    };
    assert_eq!(house.engine.submit(keyed("k", "1")).await.unwrap(), ended);
    house.end().await;
}

#[tokio::test]
async fn a_key_with_another_input_priority_or_metadata_is_refused() {
    let house = House::by_hand(config());
    house.engine.submit(keyed("k", "1")).await.unwrap();
    let others = [
        keyed("k", "2"),
        Submission {
            priority: 1,
            ..keyed("k", "1")
        },
        Submission {
            metadata: Some(Bytes::from_static(b"{}")),
            ..keyed("k", "1")
        },
    ];
    for other in others {
        let error = house.engine.submit(other).await.unwrap_err();
        assert_eq!(error.code(), Code::IdempotencyKeyReused);
        assert!(
            error.retry_after().is_none(),
            "trying again does not help: {error}"
        );
    }
    assert_eq!(house.engine.model("echo").unwrap().depth.tasks, 1);
    house.engine.stop(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn a_large_input_is_recognised_too() {
    let house = House::by_hand(config());
    let large = |last: char| {
        let mut submission = keyed("k", "1");
        submission.input = json(&format!("\"{}{last}\"", "x".repeat(1 << 20)));
        submission
    };
    let first = house.engine.submit(large('a')).await.unwrap();
    let again = house.engine.submit(large('a')).await.unwrap();
    assert_eq!((again.id, again.replayed), (first.id, true));
    let error = house.engine.submit(large('b')).await.unwrap_err();
    assert_eq!(error.code(), Code::IdempotencyKeyReused);
    house.engine.stop(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn a_full_queue_still_answers_what_it_accepted_before() {
    let mut small = config();
    small.limits.max_queue = 1;
    let house = House::by_hand(small);
    let first = house.engine.submit(keyed("k", "1")).await.unwrap();
    let again = house.engine.submit(keyed("k", "1")).await.unwrap();
    assert_eq!((again.id, again.replayed), (first.id, true));
    let reused = house.engine.submit(keyed("k", "2")).await.unwrap_err();
    assert_eq!(reused.code(), Code::IdempotencyKeyReused);
    let fresh = house.engine.submit(keyed("other", "1")).await.unwrap_err();
    assert_eq!(fresh.code(), Code::QueueFull);
    house.engine.stop(std::time::Duration::ZERO).await;
}
