use super::*;
use bytes::Bytes;
use cresset_task::{Attempt, Code, DType, Failure, State, Tensor, TensorSet, Timestamp};
use serde_json::Value;

fn record(state: State, outcome: Option<Outcome>) -> TaskView {
    let at = |s: i64| Timestamp::from_micros(1_700_000_000_000_000 + s * 1_000_000);
    let record = TaskRecord {
        id: "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10".parse().unwrap(),
        model: "digits".parse().unwrap(),
        state,
        created_at: at(0),
        started_at: outcome.is_some().then(|| at(1)),
        finished_at: outcome.is_some().then(|| at(2)),
        due_at: None,
        expires_at: (state == State::Pending).then(|| at(60)),
        deadline_at: (state == State::Pending).then(|| at(90)),
        attempts: Attempt(u32::from(outcome.is_some())),
        retries: 0,
        history: Vec::new(),
        priority: -3,
        metadata: Some(Bytes::from_static(br#"{"z": 1, "a": "\u00e9"}"#)),
        version: outcome.is_some().then(|| "7\"".into()),
        replay_of: None,
        outcome,
        cached: false,
        retry: None,
        trace: None,
    };
    TaskView {
        record,
        queue_position: (state == State::Pending).then_some(4),
        progress: None,
    }
}

fn written(view: &TaskView) -> String {
    String::from_utf8(write(view, false)).unwrap()
}

#[test]
fn a_queued_task() {
    insta::assert_snapshot!(written(&record(State::Pending, None)));
}

#[test]
fn a_task_that_waits_to_be_tried_again() {
    let mut view = record(State::Retry, None);
    let at = Timestamp::from_micros(1_700_000_000_000_000);
    view.record.due_at = Some(at.plus(std::time::Duration::from_secs(9)));
    view.record.retries = 1;
    view.record.history = (1..=2)
        .map(|n| Redelivery {
            attempt: Attempt(n),
            at,
            reason: "a \"reason\"".into(),
        })
        .collect();
    insta::assert_snapshot!(written(&view));
}

#[test]
fn a_json_result_is_spliced_in_as_it_is() {
    let result = Payload::Json(Bytes::from_static(br#"{"label" : "seven", "p": 1e-3}"#));
    insta::assert_snapshot!(written(&record(State::Success, Some(Outcome::Success(result)))));
}

#[test]
fn a_tensor_result_is_written_as_arrays() {
    let data: Vec<u8> = [0.1_f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = Tensor::new(DType::Float32, vec![2], data.into()).unwrap();
    let result = Payload::Tensors(TensorSet(vec![("logits".into(), tensor)]));
    insta::assert_snapshot!(written(&record(State::Success, Some(Outcome::Success(result)))));
}

#[test]
fn a_failure_keeps_its_traceback_to_itself_unless_told() {
    let failure = Failure {
        code: Code::ModelError,
        type_: "ValueError".into(),
        message: "a \"quote\"\nand a line".into(),
        traceback: Some("line 3".into()),
        stage: Some(cresset_task::Stage::Postprocess),
        again: Default::default(),
    };
    let view = record(State::Failure, Some(Outcome::Failure(failure)));
    insta::assert_snapshot!(written(&view));
    let shown: Value = serde_json::from_slice(&write(&view, true)).unwrap();
    assert_eq!(shown["error"]["traceback"], "line 3");
}

#[test]
fn a_revoked_task() {
    let reason = "cancelled by the caller".into();
    insta::assert_snapshot!(written(&record(
        State::Revoked,
        Some(Outcome::Revoked { reason })
    )));
}

#[test]
fn the_weight_is_an_estimate_that_saves_growing() {
    let result = Payload::Json(Bytes::from(vec![b'1'; 100_000]));
    let view = record(State::Success, Some(Outcome::Success(result)));
    assert!(weight(&view) >= written(&view).len());
}
