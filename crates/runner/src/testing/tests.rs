use super::*;
use crate::port::ItemEnd;

fn job(batch: u64) -> Job {
    Job {
        batch: BatchId(batch),
        items: vec![Payload::Json("1".into())],
        traces: Vec::new(),
        names: Vec::new(),
    }
}

#[tokio::test]
async fn an_automatic_pool_ends_each_job_once() {
    let (events, mut seen) = mpsc::channel(1);
    let pool = FakePool::automatic(1, 2, events, |items| {
        JobEnd::Items(items.into_iter().map(ItemEnd::Done).collect())
    });
    assert_eq!(pool.status().state, PoolState::Starting);
    assert!(
        pool.run(InstanceId(0), job(1)).is_err(),
        "down instances take nothing"
    );
    pool.all_up();
    assert!(matches!(
        seen.recv().await,
        Some(PoolEvent::Up {
            instance: InstanceId(0),
            slots: 2
        })
    ));
    for batch in 1..=5 {
        pool.run(InstanceId(0), job(batch)).unwrap();
        let Some(PoolEvent::Ended {
            batch: ended,
            end: JobEnd::Items(ends),
            ..
        }) = seen.recv().await
        else {
            panic!("no end for batch {batch}");
        };
        assert_eq!((ended, ends.len()), (BatchId(batch), 1));
    }
    pool.stop(Duration::ZERO).await;
    assert!(matches!(
        seen.recv().await,
        Some(PoolEvent::Down {
            reason: DownReason::Stopped,
            ..
        })
    ));
    assert_eq!(pool.status().state, PoolState::Stopped);
}

#[tokio::test]
async fn a_killed_instance_blames_the_first_job_only_and_ends_all_before_it_is_down() {
    let (events, mut seen) = mpsc::channel(1);
    let pool = FakePool::by_hand(2, 2, events);
    pool.up(InstanceId(1));
    seen.recv().await.unwrap();
    pool.run(InstanceId(1), job(1)).unwrap();
    pool.run(InstanceId(1), job(2)).unwrap();
    assert_eq!(
        pool.run(InstanceId(1), job(3)).unwrap_err().0.batch,
        BatchId(3),
        "no third slot"
    );
    assert_eq!(pool.next_job().await.batch, BatchId(1));
    pool.kill(InstanceId(1), DownReason::Exited(3));
    for (want, blame) in [(1, true), (2, false)] {
        let Some(PoolEvent::Ended { batch, end, .. }) = seen.recv().await else {
            panic!("no end")
        };
        assert_eq!(batch, BatchId(want));
        assert_eq!(
            end,
            JobEnd::Lost {
                reason: DownReason::Exited(3),
                suspect: blame,
                scene: None,
            }
        );
    }
    assert!(matches!(
        seen.recv().await,
        Some(PoolEvent::Down {
            instance: InstanceId(1),
            ..
        })
    ));
    assert_eq!(pool.status().state, PoolState::Down);
    pool.up(InstanceId(1));
    assert!(matches!(seen.recv().await, Some(PoolEvent::Up { .. })));
    pool.run(InstanceId(1), job(4)).unwrap();
    assert!(pool.finish(BatchId(4), JobEnd::Items(vec![])));
    assert!(!pool.finish(BatchId(4), JobEnd::Items(vec![])), "a job ends once");
    assert_eq!(pool.status().instances[1].restarts, 1);
}
