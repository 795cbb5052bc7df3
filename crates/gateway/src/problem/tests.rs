use super::*;
use crate::schema::{FieldError, Position};
use cresset_task::Stage;
use serde_json::Value;

/// What a caller gets, as `observe` would send it.
pub(crate) fn sent(problem: Problem, tracebacks: bool) -> Response {
    let mut response = problem.into_response();
    let details = response.extensions_mut().remove::<Arc<Details>>().unwrap();
    let headers = [(
        crate::request_id::X_REQUEST_ID,
        HeaderValue::from_static("the-id"),
    )];
    let id = RequestId::of(&headers.into_iter().collect());
    details.write(&mut response, "/v1/some/path", &id, tracebacks);
    response
}

/// The document that a caller gets.
pub(crate) fn document(problem: Problem) -> Value {
    read(sent(problem, false))
}

fn read(response: Response) -> Value {
    use futures_util::FutureExt;
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .now_or_never()
        .unwrap()
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn failure() -> Failure {
    Failure {
        code: Code::ModelError,
        type_: "ValueError".into(),
        message: "too dark".into(),
        traceback: Some("File \"model.py\", line 3".into()),
        stage: Some(Stage::Predict),
        again: Default::default(),
    }
}

#[test]
fn every_code_has_the_same_shape() {
    for code in Code::ALL {
        let response = sent(Problem::new(*code, "what was wrong"), false);
        assert_eq!(response.status().as_u16(), code.http_status());
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let document = read(response);
        let members: Vec<_> = document.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            members,
            [
                "type",
                "title",
                "status",
                "detail",
                "code",
                "instance",
                "request_id"
            ]
        );
        assert_eq!(document["type"], format!("/docs/errors#{code}"));
    }
}

#[test]
fn a_plain_problem() {
    insta::assert_json_snapshot!(document(Problem::new(
        Code::UnknownRoute,
        "there is nothing at `/x`"
    )));
}

#[test]
fn wrong_fields_are_named() {
    let field = |name: &str| FieldError {
        field: name.into(),
        message: "is missing".into(),
    };
    insta::assert_json_snapshot!(
        "one_wrong_field",
        document(Problem::fields(vec![field("input[3][1]")]))
    );
    insta::assert_json_snapshot!(
        "two_wrong_fields",
        document(Problem::fields(vec![field("input"), field("eta")]))
    );
    let many = document(Problem::fields(vec![field("x"); FIELD_ERRORS_MAX + 1]));
    assert_eq!(many["errors"].as_array().unwrap().len(), FIELD_ERRORS_MAX);
    assert!(
        many["detail"]
            .as_str()
            .unwrap()
            .starts_with("more than 16 fields are wrong: ")
    );
}

#[test]
fn a_position_is_given() {
    let at = Position {
        byte: 11,
        line: 2,
        column: 4,
    };
    insta::assert_json_snapshot!(document(Problem::new(Code::MalformedBody, "not JSON").at(at)));
}

#[test]
fn a_failure_is_told_with_its_class_and_a_traceback_only_if_shown() {
    insta::assert_json_snapshot!("failure", document(Problem::failed(failure())));
    insta::assert_json_snapshot!(
        "failure_with_traceback",
        read(sent(Problem::failed(failure()), true))
    );
}

#[test]
fn retry_after_is_rounded_up_and_never_zero() {
    for (given, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_500, 60)] {
        let problem = Problem::new(Code::QueueFull, "").retry_after(Duration::from_millis(given));
        let response = sent(problem, false);
        assert_eq!(response.headers()[header::RETRY_AFTER], seconds.to_string());
        assert_eq!(read(response)["retry_after"], seconds);
    }
}

#[test]
fn a_panic_is_told_without_its_message() {
    let problem = Problem::panicked(&String::from("secret 42"));
    assert_eq!(problem.0.cause.as_deref(), Some("panic: secret 42"));
    assert!(problem.0.is_our_fault());
    insta::assert_json_snapshot!(document(problem));
}

#[test]
fn only_the_server_is_blamed_for_what_it_did() {
    assert!(Problem::new(Code::StoreUnavailable, "").0.is_our_fault());
    assert!(!Problem::new(Code::UnknownTask, "").0.is_our_fault());
    assert!(!Problem::failed(failure()).0.is_our_fault());
}
