//! An instance that lies: about lengths, places, numbers and types, in its answers and in the memory that it shares. Whatever
//! it does, the server names the cause, ends that process and no other, and the next one serves.

use std::time::Duration;

use cresset_runner::{DownReason, ItemEnd, JobEnd};
use cresset_task::Payload;

use crate::support::{Fixture, floats, set, tensor_model};

/// How long a batch may take here.
const LIMIT: Duration = Duration::from_secs(2);
const U64_LAST_ALIGNED: u64 = u64::MAX - 63;

/// A model of two floats, whose first process answers as `recipe` says, and whose others answer with their input.
fn hostile(recipe: &str) -> Fixture {
    let recipe = recipe.to_owned();
    Fixture::new(move |dir| {
        let mut config = tensor_model(dir, &[2]);
        config.limits.timeout = LIMIT;
        set(&mut config, "FAKE_HOSTILE", &recipe);
        config
    })
}

fn item() -> Vec<Payload> {
    vec![floats("x", &[1.0, 2.0])]
}

/// What came back, as the floats' bytes.
fn answer(end: &JobEnd) -> Option<Vec<u8>> {
    let JobEnd::Items(ends) = end else { return None };
    match &ends[..] {
        [ItemEnd::Done(Payload::Tensors(set))] => Some(set.0[0].1.data.to_vec()),
        _ => None,
    }
}

/// The process that came up after the hostile one serves.
async fn the_next_serves(it: &mut Fixture) {
    it.up().await;
    it.run(item());
    let (_, end, _) = it.ended().await;
    let right: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(answer(&end), Some(right));
}

#[tokio::test]
async fn each_lie_of_an_answer_is_named_and_ends_its_process_alone() {
    let overflow = format!(r#"{{"tensor": {{"offset": {U64_LAST_ALIGNED}}}}}"#);
    let cases = [
        // Descriptors.
        (r#"{"tensor": {"dtype": 99}}"#, "element type 99 is not known"),
        (r#"{"tensor": {"rank": 0}}"#, "a tensor of rank 0"),
        (r#"{"tensor": {"rank": 18}}"#, "a tensor of rank 18"),
        (r#"{"tensor": {"rank": 5}}"#, "cut short"),
        (r#"{"tensor": {"pad": 1}}"#, "padding of a tensor descriptor"),
        (r#"{"tensor": {"dims": [1, -2]}}"#, "a tensor with dimension -2"),
        (
            r#"{"tensor": {"dims": [4611686018427387904, 4611686018427387904]}}"#,
            "does not have 8 bytes",
        ),
        (r#"{"tensor": {"nbytes": 4}}"#, "does not have 4 bytes"),
        (r#"{"tensor": {"offset": 4100}}"#, "not a multiple"),
        (r#"{"tensor": {"offset": 0}}"#, "not in the output region"),
        (&overflow, "not in the output region"),
        (
            r#"{"tensor": {"offset": 1099511627776}}"#,
            "not in the output region",
        ),
        // Frames.
        (r#"{"frame": {"n_tensors": 2}}"#, "cut short"),
        (r#"{"frame": {"n_tensors": 300}}"#, "has 300 tensors"),
        (r#"{"frame": {"n_tensors": 0}}"#, "left over"),
        (r#"{"frame": {"flags": 8}}"#, "flags 0x8"),
        (r#"{"frame": {"flags": 4}}"#, "flags 0x4"),
        (r#"{"frame": {"reserved": 7}}"#, "reserved field"),
        (r#"{"frame": {"kind": 0}}"#, "frame kind 0 is not known"),
        (r#"{"frame": {"kind": 4}}"#, "RUN"),
        (r#"{"frame": {"kind": 2}}"#, "READY"),
        (r#"{"frame": {"batch": 0}}"#, "for no items"),
        (r#"{"frame": {"batch": 7}}"#, "(1, 0, 1) was next"),
        (r#"{"frame": {"slot": 1}}"#, "(1, 0, 1) was next"),
        (r#"{"frame": {"slot": 4000000000}}"#, "(1, 0, 1) was next"),
        (r#"{"seq_plus": 1}"#, "was next"),
        (r#"{"seq_plus": 1000000}"#, "was next"),
        (r#"{"frame": {"len": 4294967295}}"#, "over the limit"),
        (r#"{"tail": "00"}"#, "left over"),
        // Bodies of other kinds.
        (r#"{"frame": {"flags": 1}, "tensor": {"offset": 64}}"#, "inline"),
        (r#"{"frame": {"flags": 1}, "tensor": {"offset": 0}}"#, "cut short"),
        (
            r#"{"frame": {"flags": 2}, "head": "0000"}"#,
            "0 output names for 1 tensors",
        ),
        (r#"{"frame": {"flags": 2}, "head": "01000100ff"}"#, "not UTF-8"),
        (r#"{"frame": {"kind": 7}}"#, "has 1 tensors"),
        (
            r#"{"frame": {"kind": 8, "n_tensors": 0}, "body": "7b"}"#,
            "the JSON of a",
        ),
        (
            r#"{"frame": {"kind": 8, "n_tensors": 0}, "body": "ff"}"#,
            "not UTF-8",
        ),
    ];
    let mut wrong = Vec::new();
    for (recipe, words) in cases {
        let mut it = hostile(recipe);
        it.up().await;
        let batches = [it.run(item()), it.run(item())];
        let mut told = Vec::new();
        for batch in batches {
            let (ended, end, _) = it.ended().await;
            assert_eq!(ended, batch, "{recipe}");
            match end {
                JobEnd::Lost { reason, suspect, .. } => told.push((reason, suspect)),
                other => panic!("{recipe}: {other:?}"),
            }
        }
        let reason = it.down().await;
        let named = matches!(&reason, DownReason::Protocol(what) if what.contains(words));
        if !named || told != [(reason.clone(), true), (reason.clone(), false)] {
            wrong.push(format!("{recipe}: {told:?}"));
        }
        the_next_serves(&mut it).await;
        assert!(it.stop(Duration::from_secs(10)).await.len() <= 1);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_answer_that_stops_half_way_is_waited_for_until_the_time_limit_only() {
    for cut in [1, 31, 32, 40] {
        let mut it = hostile(&format!(r#"{{"cut": {cut}, "sleep": 600}}"#));
        it.up().await;
        it.run(item());
        let (_, end, _) = it.ended().await;
        assert!(
            matches!(&end, JobEnd::Lost { reason: DownReason::Hung(limit), .. } if *limit == LIMIT),
            "{end:?}"
        );
        assert_eq!(it.down().await, DownReason::Hung(LIMIT));
        the_next_serves(&mut it).await;
        it.stop(Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn an_answer_that_comes_twice_counts_once() {
    let mut it = hostile(r#"{"times": 2, "sleep": 600}"#);
    it.up().await;
    let batches = [it.run(item()), it.run(item())];
    let (first, end, _) = it.ended().await;
    assert_eq!(first, batches[0]);
    assert!(answer(&end).is_some(), "{end:?}");
    let (second, end, _) = it.ended().await;
    assert_eq!(second, batches[1]);
    assert!(
        matches!(&end, JobEnd::Lost { reason: DownReason::Protocol(what), .. } if what.contains("was next")),
        "{end:?}"
    );
    assert!(matches!(it.down().await, DownReason::Protocol(_)));
    the_next_serves(&mut it).await;
    it.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn the_shared_memory_cannot_be_taken_away() {
    let mut it = hostile(r#"{"truncate": true}"#);
    it.up().await;
    it.run(item());
    let (_, end, _) = it.ended().await;
    assert!(
        answer(&end).is_some(),
        "the seal refuses, and it serves on: {end:?}"
    );
    it.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn memory_that_is_scribbled_on_gives_wrong_numbers_and_nothing_else() {
    let mut it = hostile(r#"{"scribble": true}"#);
    it.up().await;
    let mut results = Vec::new();
    for _ in 0..100 {
        it.run(item());
        let (_, end, _) = it.ended().await;
        // NaN is refused item by item; whatever is a number is a result.
        let JobEnd::Items(ends) = end else {
            panic!("{end:?}")
        };
        if let [ItemEnd::Done(Payload::Tensors(set))] = &ends[..] {
            let data = set.0[0].1.data.clone();
            assert_eq!(data.len(), 8);
            results.push((data.to_vec(), data));
        }
    }
    // A result was copied out of the shared memory: it does not change any more.
    assert!(results.iter().all(|(then, now)| then[..] == now[..]));
    it.stop(Duration::from_secs(10)).await;
}
