//! Results that come piece by piece, and how far a task has come: to those who follow it, and to who called.

use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_engine::{
    EngineError, Event, Following, Piece, Place, PredictEvent, PredictStream, PredictTerms, Predicted,
};
use cresset_runner::testing::Held;
use cresset_runner::{Chunk, DownReason, ItemEnd, JobEnd, LogLevel, LogLine, Report};
use cresset_task::{State, TaskId};

use crate::house::{House, LONG, config, echo, failure, json, model, submission, until};

fn streaming() -> ModelConfig {
    let mut config = config();
    config.stream.enabled = true;
    config.retry.max_retries = 1;
    config.retry.delay = std::time::Duration::from_millis(1);
    config.retry.on = vec!["Busy".into()];
    config
}

fn pieces(item: u32, texts: &[&str]) -> Vec<Chunk> {
    let chunk = |text: &&str| Chunk {
        item,
        text: Bytes::from(format!("\"{text}\"")),
    };
    texts.iter().map(chunk).collect()
}

fn report(fraction: f64) -> Vec<Report> {
    vec![Report {
        items: None,
        fraction,
        message: Some("words".into()),
    }]
}

fn show(piece: &Piece) -> String {
    match piece {
        Piece::Chunk { number, text, .. } => format!("{number}:{}", String::from_utf8_lossy(text)),
        Piece::Gap { from, to, .. } => format!("gap {from}-{to}"),
        Piece::Restart { attempt } => format!("restart {attempt}"),
        Piece::Progress(progress) => format!("{}%", progress.fraction * 100.0),
        Piece::Line { number, line } => {
            format!(
                "{number} of {}: {} {}",
                line.attempt,
                line.level.name(),
                line.text
            )
        }
    }
}

async fn next(following: &mut Following) -> Option<String> {
    let event = tokio::time::timeout(LONG, following.next())
        .await
        .expect("something comes");
    event.unwrap().map(|event| match event {
        Event::State(view) => view.record.state.to_string(),
        Event::Live(piece) => show(&piece),
    })
}

/// What comes, up to and with `last`.
async fn up_to(following: &mut Following, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let one = next(following).await.expect("it has not ended");
        let is_last = one == last;
        all.push(one);
        if is_last {
            return all;
        }
    }
}

async fn begun(house: &House) -> (TaskId, Held) {
    let id = house.submitted("1").await;
    let job = house.pool.next_job().await;
    (id, job)
}

#[tokio::test]
async fn followers_are_given_the_pieces_in_order_before_the_end_and_from_where_they_were() {
    let house = House::by_hand(streaming());
    house.pool.all_up();
    let (id, job) = begun(&house).await;
    let mut following = house.engine.follow(id, Place::default());
    assert_eq!(next(&mut following).await.as_deref(), Some("STARTED"));
    house.pool.chunks(job.batch, pieces(0, &["a", "b"]));
    assert_eq!(up_to(&mut following, "1:\"b\"").await, ["0:\"a\"", "1:\"b\""]);
    let was_here = following.place();
    house.pool.chunks(job.batch, pieces(0, &["c"]));
    house.pool.finish(job.batch, echo(job.items));
    assert_eq!(up_to(&mut following, "SUCCESS").await, ["2:\"c\"", "SUCCESS"]);
    assert_eq!(next(&mut following).await, None);
    let mut back = house.engine.follow(id, was_here);
    assert_eq!(up_to(&mut back, "SUCCESS").await, ["2:\"c\"", "SUCCESS"]);
    // Who comes just after the end is given all of it.
    let mut late = house.engine.follow(id, Place::default());
    let all = ["0:\"a\"", "1:\"b\"", "2:\"c\"", "SUCCESS"];
    assert_eq!(up_to(&mut late, "SUCCESS").await, all);
    let mut done = house.engine.follow(id, late.place());
    assert_eq!(next(&mut done).await, None);
    house.end().await;
}

#[tokio::test]
async fn lines_are_for_those_who_read_them_and_outlive_the_run_that_wrote_them() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let (id, job) = begun(&house).await;
    let place = Place::default();
    let mut reader = house.engine.follow(id, place).with_lines();
    let mut other = house.engine.follow(id, place);
    assert_eq!(next(&mut reader).await.as_deref(), Some("STARTED"));
    let write = |job: &Held, items: Option<Vec<u32>>, text: &str| {
        let line = LogLine {
            items,
            level: LogLevel::Warning,
            text: text.into(),
        };
        house.pool.logs(job.batch, vec![line]);
    };
    write(&job, Some(vec![0]), "mine");
    write(&job, Some(vec![1]), "of nobody who is there");
    write(&job, None, "of all");
    let lines = ["0 of 1: warning mine", "1 of 1: warning of all"];
    assert_eq!(up_to(&mut reader, lines[1]).await, lines);
    // The process dies, and what was written is still there for who comes now.
    house.pool.kill(job.instance, DownReason::Exited(3));
    house.pool.all_up();
    let job = house.pool.next_job().await;
    write(&job, None, "again");
    assert_eq!(next(&mut reader).await.as_deref(), Some("2 of 2: warning again"));
    let mut late = house.engine.follow(id, place).with_lines();
    let came = up_to(&mut late, "2 of 2: warning again").await;
    assert_eq!(came[came.len() - 3..came.len() - 1], lines);
    house.pool.finish(job.batch, echo(job.items));
    assert_eq!(up_to(&mut other, "SUCCESS").await, ["STARTED", "SUCCESS"]);
    assert_eq!(next(&mut reader).await.as_deref(), Some("SUCCESS"));
    house.end().await;
}

#[tokio::test]
async fn a_line_goes_with_its_item_and_with_no_other_of_the_batch() {
    let house = House::by_hand(config());
    // Nobody runs yet, so they wait for each other.
    let ids = [house.submitted("0").await, house.submitted("1").await];
    let call = house.predicting("2").await;
    house.pool.all_up();
    let (mut ran, mut most) = (0, 0);
    while ran < 3 {
        let job = house.pool.next_job().await;
        for (at, item) in job.items.iter().enumerate() {
            let line = LogLine {
                items: Some(vec![at as u32]),
                level: LogLevel::Info,
                text: format!("of {item:?}"),
            };
            house.pool.logs(job.batch, vec![line]);
        }
        ran += job.items.len();
        most = most.max(job.items.len());
        house.pool.finish(job.batch, echo(job.items));
    }
    assert!(most > 1, "none ran together");
    call.await.unwrap().unwrap();
    for (text, id) in ["0", "1"].into_iter().zip(ids) {
        let mut follower = house.engine.follow(id, Place::default()).with_lines();
        let came = up_to(&mut follower, "SUCCESS").await;
        let lines: Vec<_> = came.iter().filter(|one| one.contains("info")).collect();
        assert_eq!(lines, [&format!("0 of 1: info of {:?}", json(text))]);
    }
    house.end().await;
}

#[tokio::test]
async fn only_the_newest_lines_are_kept() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let (id, job) = begun(&house).await;
    for number in 0..300 {
        let line = LogLine {
            items: None,
            level: LogLevel::Info,
            text: format!("{number}"),
        };
        house.pool.logs(job.batch, vec![line]);
    }
    house.pool.finish(job.batch, echo(job.items));
    let mut late = house.engine.follow(id, Place::default()).with_lines();
    let came = up_to(&mut late, "SUCCESS").await;
    let lines: Vec<_> = came.iter().filter(|one| one.contains("info")).collect();
    assert_eq!(lines.last().map(|last| last.as_str()), Some("299 of 1: info 299"));
    assert!(lines.len() <= 256, "{}", lines.len());
    house.end().await;
}

#[tokio::test]
async fn a_run_that_begins_again_voids_what_was_read() {
    let house = House::by_hand(streaming());
    house.pool.all_up();
    let (id, job) = begun(&house).await;
    let mut following = house.engine.follow(id, Place::default());
    house.pool.chunks(job.batch, pieces(0, &["a"]));
    up_to(&mut following, "0:\"a\"").await;
    // The process dies: the same lease, another delivery.
    house.pool.kill(job.instance, DownReason::Exited(3));
    assert_eq!(next(&mut following).await.as_deref(), Some("restart 2"));
    house.pool.all_up();
    let job = house.pool.next_job().await;
    house.pool.chunks(job.batch, pieces(0, &["b"]));
    assert_eq!(next(&mut following).await.as_deref(), Some("0:\"b\""));
    // The retry policy: another lease.
    let was_here = following.place();
    let busy = JobEnd::Items(vec![ItemEnd::Failed(cresset_task::Failure {
        type_: "Busy".into(),
        ..failure("busy")
    })]);
    house.pool.finish(job.batch, busy);
    let job = house.pool.next_job().await;
    house.pool.chunks(job.batch, pieces(0, &["c"]));
    let came = up_to(&mut following, "0:\"c\"").await;
    assert_eq!(
        came.iter().filter(|one| *one == "restart 3").count(),
        1,
        "{came:?}"
    );
    assert!(!came.contains(&"0:\"b\"".to_owned()), "{came:?}");
    let mut back = house.engine.follow(id, was_here);
    let came = up_to(&mut back, "0:\"c\"").await;
    assert!(came.contains(&"restart 3".to_owned()), "{came:?}");
    house.pool.finish(job.batch, echo(job.items));
    assert_eq!(next(&mut following).await.as_deref(), Some("SUCCESS"));
    house.end().await;
}

#[tokio::test]
async fn a_slow_reader_is_told_of_a_gap_and_has_the_result() {
    let mut config = streaming();
    config.stream.replay_bytes = 1 << 10;
    let house = House::by_hand(config);
    house.pool.all_up();
    let (id, job) = begun(&house).await;
    let mut following = house.engine.follow(id, Place::default());
    assert_eq!(next(&mut following).await.as_deref(), Some("STARTED"));
    let long = "x".repeat(500);
    house
        .pool
        .chunks(job.batch, pieces(0, &[&long, &long, &long, "last"]));
    house.pool.finish(job.batch, echo(job.items));
    let ended = house.engine.wait(id, LONG).await.unwrap();
    assert_eq!(ended.record.state, State::Success);
    let came = up_to(&mut following, "SUCCESS").await;
    let kept = format!("2:\"{long}\"");
    assert_eq!(came, ["gap 0-1", &kept, "3:\"last\"", "SUCCESS"]);
    house.end().await;
}

#[tokio::test]
async fn progress_is_shown_while_it_runs_and_of_the_run_that_is() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let (id, job) = begun(&house).await;
    let progress = async || house.engine.task(id).await.unwrap().progress;
    assert_eq!(progress().await, None);
    let mut following = house.engine.follow(id, Place::default());
    assert_eq!(next(&mut following).await.as_deref(), Some("STARTED"));
    house.pool.progress(job.batch, report(0.25));
    assert_eq!(next(&mut following).await.as_deref(), Some("25%"));
    let shown = progress().await.expect("it was said");
    assert_eq!((shown.fraction, shown.message.as_deref()), (0.25, Some("words")));
    house.pool.kill(job.instance, DownReason::Exited(3));
    house.pool.all_up();
    let again = house.pool.next_job().await;
    assert_eq!(progress().await, None, "that was another run");
    // A batch that has ended is not heard any more.
    house.pool.progress(job.batch, report(0.9));
    house.pool.progress(again.batch, report(0.5));
    assert_eq!(next(&mut following).await.as_deref(), Some("50%"));
    house.pool.finish(again.batch, echo(again.items));
    assert_eq!(next(&mut following).await.as_deref(), Some("SUCCESS"));
    assert_eq!(progress().await, None);
    house.end().await;
}

#[tokio::test]
async fn of_a_cancelled_task_nothing_more_is_heard() {
    let house = House::by_hand(streaming());
    house.pool.all_up();
    let (id, job) = begun(&house).await;
    let mut following = house.engine.follow(id, Place::default());
    house.pool.chunks(job.batch, pieces(0, &["a"]));
    up_to(&mut following, "0:\"a\"").await;
    house.engine.cancel(id).await.unwrap();
    until(|| !house.pool.cancelled().is_empty()).await;
    house.pool.chunks(job.batch, pieces(0, &["b"]));
    assert_eq!(next(&mut following).await.as_deref(), Some("REVOKED"));
    house
        .pool
        .finish(job.batch, JobEnd::Items(vec![ItemEnd::Skipped]));
    assert_eq!(next(&mut following).await, None);
    house.end().await;
}

async fn predict(house: &House) -> Result<PredictStream, EngineError> {
    house
        .engine
        .predict_stream(&model(), json("1"), PredictTerms::default())
        .await
}

async fn said(stream: &mut PredictStream) -> String {
    let event = tokio::time::timeout(LONG, stream.next())
        .await
        .expect("something comes");
    match event.expect("it has not ended") {
        PredictEvent::Live(piece) => show(&piece),
        PredictEvent::End(end) => match *end {
            Ok(prediction) => format!("result {}", crate::house::text(&prediction.output)),
            Err(error) => format!("error {error}"),
        },
    }
}

#[tokio::test]
async fn who_calls_reads_along_and_has_the_result_at_the_end() {
    let house = House::by_hand(streaming());
    house.pool.all_up();
    let mut stream = predict(&house).await.unwrap();
    let job = house.pool.next_job().await;
    house.pool.progress(job.batch, report(0.5));
    house.pool.chunks(job.batch, pieces(0, &["a"]));
    house.pool.kill(job.instance, DownReason::Exited(3));
    house.pool.all_up();
    let job = house.pool.next_job().await;
    house.pool.chunks(job.batch, pieces(0, &["b"]));
    house.pool.finish(job.batch, echo(job.items));
    let mut came = Vec::new();
    while came
        .last()
        .is_none_or(|last: &String| !last.starts_with("result"))
    {
        came.push(said(&mut stream).await);
    }
    // Nothing was read before the process died: so there is nothing to void.
    assert_eq!(came, ["0:\"b\"", "result 1"]);
    assert!(stream.next().await.is_none());

    let mut fails = predict(&house).await.unwrap();
    let job = house.pool.next_job().await;
    house.pool.chunks(job.batch, pieces(0, &["a"]));
    assert_eq!(said(&mut fails).await, "0:\"a\"");
    let end = JobEnd::Items(vec![ItemEnd::Failed(failure("boom"))]);
    house.pool.finish(job.batch, end);
    assert_eq!(said(&mut fails).await, "error ValueError: boom");
    house.end().await;
}

#[tokio::test]
async fn hanging_up_stops_the_model_and_what_is_refused_is_refused_at_once() {
    let house = House::by_hand(streaming());
    house.pool.all_up();
    let stream = predict(&house).await.unwrap();
    let job = house.pool.next_job().await;
    drop(stream);
    until(|| !house.pool.cancelled().is_empty()).await;
    house
        .pool
        .finish(job.batch, JobEnd::Items(vec![ItemEnd::Skipped]));
    house.engine.drain();
    assert!(matches!(predict(&house).await, Err(EngineError::ShuttingDown)));
    house.end().await;
}

#[tokio::test]
async fn nothing_is_left_of_those_who_read_along() {
    let house = House::by_hand(streaming());
    house.pool.all_up();
    for _ in 0..3 {
        let mut stream = predict(&house).await.unwrap();
        let job = house.pool.next_job().await;
        house.pool.chunks(job.batch, pieces(0, &["a", "b"]));
        assert_eq!(said(&mut stream).await, "0:\"a\"");
        drop(stream);
        house
            .pool
            .finish(job.batch, JobEnd::Items(vec![ItemEnd::Skipped]));
    }
    until(|| house.engine.residue().feed_bytes == 0).await;
    house.end().await;
}

#[tokio::test]
async fn who_follows_a_prediction_that_has_become_a_task_is_told_which_pieces_came_before() {
    let house = House::by_hand(streaming());
    house.pool.all_up();
    let limit = Some(std::time::Duration::from_millis(20));
    let engine = house.engine.clone();
    #[expect(clippy::disallowed_methods, reason = "the test joins it")]
    let call = tokio::spawn(async move { engine.predict_or_task(submission("1"), limit).await });
    let job = house.pool.next_job().await;
    house.pool.chunks(job.batch, pieces(0, &["a", "b"]));
    let Ok(Predicted::Task(accepted)) = call.await.unwrap() else {
        panic!("it should have become a task")
    };
    let mut following = house.engine.follow(accepted.id, Place::default());
    assert_eq!(next(&mut following).await.as_deref(), Some("STARTED"));
    house.pool.chunks(job.batch, pieces(0, &["c"]));
    assert_eq!(up_to(&mut following, "2:\"c\"").await, ["gap 0-1", "2:\"c\""]);
    house.pool.finish(job.batch, echo(job.items));
    assert_eq!(up_to(&mut following, "SUCCESS").await, ["SUCCESS"]);
    house.end().await;
}
