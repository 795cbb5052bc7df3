//! Batches through real processes: in, out, and what is made of the answers.
#![expect(clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use crate::support::*;
use cresset_runner::{ItemEnd, JobEnd};
use cresset_task::{Code, Payload};

fn done(end: &JobEnd) -> Vec<Payload> {
    let JobEnd::Items(ends) = end else {
        panic!("{end:?}")
    };
    ends.iter()
        .map(|end| match end {
            ItemEnd::Done(payload) => payload.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn objects_come_back_item_by_item_and_batches_in_order() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    for round in 0..50 {
        let first: Vec<_> = (0..3).map(|i| json(&format!("[{round},{i}]"))).collect();
        let second = vec![json("\"naïve\"")];
        let ids = [it.run(first.clone()), it.run(second.clone())];
        for (id, items) in ids.into_iter().zip([first, second]) {
            let (batch, end, timing) = it.ended().await;
            assert_eq!((batch, done(&end)), (id, items));
            assert!(timing.compute > Duration::ZERO);
        }
    }
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_instance_has_two_slots_and_a_third_job_comes_back() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    let first = it.order(r#"{"do":"sleep","seconds":0.05}"#);
    let second = it.order("2");
    let back = it.try_run(vec![json("3")]).unwrap_err().0;
    assert_eq!(back.items, [json("3")]);
    assert_eq!(it.ended().await.0, first);
    let third = it.order("3"); // the credit is back as soon as the end is announced
    assert_eq!(it.ended().await.0, second);
    assert_eq!(it.ended().await.0, third);
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn large_batches_of_objects_pass_in_both_directions_at_once() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    let large = json(&format!("\"{}\"", "x".repeat(8 << 20)));
    let ids = [it.run(vec![large.clone()]), it.run(vec![large.clone()])];
    for id in ids {
        let (batch, end, _) = it.ended().await;
        assert_eq!(batch, id);
        assert!(done(&end) == std::slice::from_ref(&large));
    }
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn items_fail_alone_and_batches_raise_whole() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    it.run(vec![
        json("1"),
        json(r#"{"do":"fail"}"#),
        json(r#"{"do":"not_json"}"#),
        json("4"),
    ]);
    let (_, end, _) = it.ended().await;
    let JobEnd::Items(ends) = end else {
        panic!("{end:?}")
    };
    let codes: Vec<_> = ends
        .iter()
        .map(|end| match end {
            ItemEnd::Done(_) | ItemEnd::Skipped => None,
            ItemEnd::Failed(failure) => Some((
                failure.code,
                failure.type_.as_str(),
                failure.stage.unwrap().name(),
            )),
        })
        .collect();
    assert_eq!(
        codes,
        [
            None,
            Some((Code::ModelError, "KeyError", "preprocess")),
            Some((Code::BadOutput, "BadOutput", "output")),
            None
        ]
    );
    it.order(r#"{"do":"raise"}"#);
    let (_, end, _) = it.ended().await;
    let JobEnd::Raised(failure) = end else {
        panic!("{end:?}")
    };
    assert_eq!(
        (failure.type_.as_str(), failure.message.as_str()),
        ("ValueError", "bad batch")
    );
    assert_eq!(it.answer("5").await, "5", "it goes on");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn tensors_are_stacked_in_shared_memory_and_come_back_by_rows() {
    let mut it = Fixture::new(|dir| tensor_model(dir, &[3]));
    it.up().await;
    for round in 0..50 {
        let rows: Vec<[f32; 3]> = (0..5).map(|i| [round as f32, i as f32, 0.5]).collect();
        it.run(rows.iter().map(|row| floats("x", row)).collect());
        it.run(vec![floats("x", &[9.0, 8.0, 7.0])]);
        let (_, end, _) = it.ended().await;
        assert_eq!(
            done(&end),
            rows.iter().map(|row| floats("y", row)).collect::<Vec<_>>()
        );
        let (_, end, _) = it.ended().await;
        assert_eq!(done(&end), [floats("y", &[9.0, 8.0, 7.0])]);
    }
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_batch_too_large_for_the_slab_gets_a_larger_slab() {
    let mut it = Fixture::new(|dir| tensor_model(dir, &[-1]));
    it.up().await;
    // Of the default region of 1 MiB the first fits, the second does not, and the third waits behind it.
    let sizes = [1000, 400_000, 10, 2_000_000, 1];
    let rows: Vec<Vec<f32>> = sizes
        .iter()
        .map(|n| (0..*n).map(|i| i as f32).collect())
        .collect();
    let mut sent = 0;
    for (answered, row) in rows.iter().enumerate() {
        while sent < rows.len() && sent < answered + 2 {
            it.run(vec![floats("x", &rows[sent])]);
            sent += 1;
        }
        let (_, end, _) = it.ended().await;
        assert!(done(&end) == [floats("y", row)], "row of {}", row.len());
    }
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn inline_and_named_outputs_are_read() {
    for how in ["inline", "named"] {
        let mut it = Fixture::new(|dir| {
            let mut config = tensor_model(dir, &[2]);
            set(&mut config, "FAKE_TENSOR", how);
            config.outputs.clear();
            config
        });
        it.up().await;
        it.run(vec![floats("x", &[1.0, 2.0]), floats("x", &[3.0, 4.0])]);
        let name = if how == "named" { "out0" } else { "output" };
        let (_, end, _) = it.ended().await;
        assert_eq!(done(&end), [floats(name, &[1.0, 2.0]), floats(name, &[3.0, 4.0])]);
        it.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn wrong_shapes_fail_the_batch_and_nan_fails_its_item() {
    let with = |how: &'static str| {
        Fixture::new(move |dir| {
            let mut config = tensor_model(dir, &[2]);
            set(&mut config, "FAKE_TENSOR", how);
            config
        })
    };
    let items = || vec![floats("x", &[1.0, 2.0]), floats("x", &[3.0, 4.0])];
    let mut it = with("shape");
    it.up().await;
    it.run(items());
    let (_, end, _) = it.ended().await;
    let JobEnd::Items(ends) = end else {
        panic!("{end:?}")
    };
    for end in ends {
        let ItemEnd::Failed(failure) = end else {
            panic!("{end:?}")
        };
        assert_eq!(
            failure.message,
            "output `y` has shape [2, 1], model.toml says [2]"
        );
    }
    it.stop(Duration::from_secs(5)).await;

    let mut it = with("nan");
    it.up().await;
    it.run(items());
    let (_, end, _) = it.ended().await;
    let JobEnd::Items(ends) = end else {
        panic!("{end:?}")
    };
    let [ItemEnd::Failed(failure), ItemEnd::Done(fine)] = &ends[..] else {
        panic!("{ends:?}")
    };
    assert_eq!(failure.code, Code::NonFiniteOutput);
    assert_eq!(*fine, floats("y", &[3.0, 4.0]));
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_tensor_model_with_postprocess_answers_with_json() {
    let mut it = Fixture::new(|dir| {
        let mut config = tensor_model(dir, &[2]);
        set(&mut config, "FAKE_TENSOR", "object");
        set(&mut config, "FAKE_START", "returns_object");
        config
    });
    it.up().await;
    let ids = [
        it.run(vec![floats("x", &[1.0, 2.0])]),
        it.run(vec![floats("x", &[1.0, 2.0]); 2]),
    ];
    for id in ids {
        let (batch, end, _) = it.ended().await;
        assert_eq!(batch, id);
        assert!(done(&end).iter().all(|p| matches!(p, Payload::Json(_))));
    }
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn payloads_of_the_wrong_kind_end_their_job_and_nothing_else() {
    let mut it = Fixture::new(|dir| tensor_model(dir, &[2]));
    it.up().await;
    it.run(vec![json("1")]);
    let (_, end, _) = it.ended().await;
    assert!(matches!(end, JobEnd::Raised(f) if f.code == Code::Internal));
    it.run(vec![floats("x", &[1.0, 2.0])]);
    assert_eq!(done(&it.ended().await.1), [floats("y", &[1.0, 2.0])]);
    it.stop(Duration::from_secs(5)).await;
}
