//! What an instance says before it answers: pieces of results, and how far it has come; and an instance that lies in that.

use std::time::Duration;

use cresset_runner::{Chunk, DownReason, ItemEnd, JobEnd, PoolEvent, Report};
use cresset_task::Payload;

use crate::support::{Fixture, json, object_model};

const PROGRESS: u8 = 14;
const CHUNKS: u8 = 15;

fn streaming(enabled: bool) -> Fixture {
    Fixture::new(move |dir| {
        let mut config = object_model(dir);
        config.stream.enabled = enabled;
        config
    })
}

fn raw(frames: &str) -> Payload {
    json(&format!(r#"{{"do": "raw", "frames": [{frames}]}}"#))
}

/// The body of a CHUNKS: (item, number, text).
fn chunks(pieces: &[(u32, u32, &str)]) -> String {
    let mut body = (pieces.len() as u32).to_le_bytes().to_vec();
    for (item, number, text) in pieces {
        for word in [*item, *number, text.len() as u32] {
            body.extend(word.to_le_bytes());
        }
    }
    pieces.iter().for_each(|(.., text)| body.extend(text.as_bytes()));
    body.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn chunks_frame(pieces: &[(u32, u32, &str)]) -> String {
    format!(r#"{{"kind": {CHUNKS}, "hex": "{}"}}"#, chunks(pieces))
}

fn progress_frame(report: &str) -> String {
    format!(r#"{{"kind": {PROGRESS}, "json": {{"reports": [{report}]}}}}"#)
}

#[tokio::test]
async fn pieces_and_progress_come_before_the_end_in_order() {
    let mut it = streaming(true);
    it.up().await;
    let first = chunks_frame(&[(0, 0, "\"a\""), (1, 0, "1")]);
    let second = chunks_frame(&[(1, 1, "[2]")]);
    let said = progress_frame(r#"{"items": [1], "fraction": 0.5, "message": "half"}"#);
    let batch = it.run(vec![raw(&format!("{first}, {said}, {second}")), json("2")]);
    let mut texts = Vec::new();
    let mut reports = Vec::new();
    loop {
        match it.next().await {
            PoolEvent::Chunks {
                batch: of, chunks, ..
            } => {
                assert_eq!(of, batch);
                let show = |Chunk { item, text }| format!("{item} {}", String::from_utf8_lossy(&text));
                texts.extend(chunks.into_iter().map(show));
            }
            PoolEvent::Progress { reports: more, .. } => reports.extend(more),
            PoolEvent::Ended { end, .. } => {
                assert!(matches!(end, JobEnd::Items(_)), "{end:?}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts, ["0 \"a\"", "1 1", "1 [2]"]);
    let wanted = Report {
        items: Some(vec![1]),
        fraction: 0.5,
        message: Some("half".into()),
    };
    assert_eq!(reports, [wanted]);
    it.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn each_lie_is_named_and_ends_its_process() {
    let one = r#"{"items": [0], "fraction": 0.5, "message": null}"#;
    let long = "00".repeat(2 << 20);
    let too_long = format!("01000000000000000000000000002000{long}");
    let progress =
        |changes: &str| format!(r#"{{"kind": {PROGRESS}, "json": {{"reports": [{one}]}}, {changes}}}"#);
    let hex = |kind: u8, hex: &str| format!(r#"{{"kind": {kind}, "hex": "{hex}"}}"#);
    let cases = [
        (
            progress_frame(&one.replace("[0]", "[1]")),
            "item 1 of a batch of 1",
        ),
        (
            progress_frame(&one.replace("[0]", "[4294967295]")),
            "of a batch of 1",
        ),
        (progress_frame(&one.replace("0.5", "1.01")), "a fraction of 1.01"),
        (progress_frame(&one.replace("0.5", "-1")), "a fraction of -1"),
        (
            progress_frame(&one.replace("0.5", "\"much\"")),
            "the JSON of a PROGRESS",
        ),
        (
            progress_frame(&one.replace("0.5", "null")),
            "the JSON of a PROGRESS",
        ),
        (progress(r#""head": {"seq": 77}"#), "was next"),
        (progress(r#""head": {"slot": 1}"#), "was next"),
        (progress(r#""head": {"batch": 2}"#), "was next"),
        (progress(r#""head": {"batch": 0}"#), "for no items"),
        (progress(r#""head": {"flags": 1}"#), "flags 0x1"),
        (hex(PROGRESS, "ff"), "not UTF-8"),
        (chunks_frame(&[(1, 0, "1")]), "item 1 of a batch of 1"),
        (chunks_frame(&[(0, 1, "1")]), "piece 1 of item 0, when 0 was next"),
        (
            chunks_frame(&[(0, 0, "1"), (0, 0, "1")]),
            "piece 0 of item 0, when 1 was next",
        ),
        (chunks_frame(&[(0, 0, "NaN")]), "is not JSON"),
        (chunks_frame(&[(0, 0, "")]), "is not JSON"),
        (hex(CHUNKS, "ffffffff"), "cut short"),
        (hex(CHUNKS, "0000000001"), "left over"),
        (hex(CHUNKS, &too_long), "has at most"),
    ];
    let mut wrong = Vec::new();
    for (frame, words) in cases {
        // Each its own: one that dies again and again is waited for longer and longer.
        let mut it = streaming(true);
        it.up().await;
        it.run(vec![raw(&frame)]);
        let (_, end, _) = it.ended().await;
        let reason = it.down().await;
        let named = matches!(&reason, DownReason::Protocol(what) if what.contains(words));
        if !named || !matches!(end, JobEnd::Lost { suspect: true, .. }) {
            wrong.push(format!("{words}: {reason:?}"));
        }
        it.up().await;
        it.run(vec![json("1")]);
        assert!(
            matches!(it.ended().await.1, JobEnd::Items(_)),
            "the next one serves"
        );
        it.stop(Duration::from_secs(10)).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_model_that_gives_its_results_whole_gives_no_pieces() {
    let mut it = streaming(false);
    it.up().await;
    it.run(vec![raw(&chunks_frame(&[(0, 0, "1")]))]);
    let (_, end, _) = it.ended().await;
    assert!(
        matches!(&end, JobEnd::Lost { reason: DownReason::Protocol(what), .. } if what.contains("gives its results whole")),
        "{end:?}"
    );
    it.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_flood_of_progress_is_thinned() {
    let mut it = streaming(false);
    it.up().await;
    let flood = progress_frame(r#"{"items": null, "fraction": 0.5, "message": "x"}"#)
        .replace(r#""kind""#, r#""times": 20000, "kind""#);
    it.run(vec![raw(&flood)]);
    let mut heard = 0;
    let end = loop {
        match it.next().await {
            PoolEvent::Progress { .. } => heard += 1,
            PoolEvent::Ended { end, timing, .. } => {
                let most = timing.compute.as_millis() / 50 + 1;
                assert!((1..=most).contains(&heard), "{heard} of at most {most}");
                break end;
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(
        matches!(&end, JobEnd::Items(ends) if matches!(ends[..], [ItemEnd::Done(_)])),
        "{end:?}"
    );
    it.stop(Duration::from_secs(10)).await;
}
