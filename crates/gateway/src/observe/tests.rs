use std::io;
use std::sync::{Arc as StdArc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use cresset_engine::{Engine, EngineOptions};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_task::Code;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::*;

/// What is logged while it lives, on this thread.
#[derive(Clone, Default)]
struct Log(StdArc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn kept(level: tracing::Level) -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn what_is_our_fault_is_a_warning_with_its_cause_and_the_rest_is_quiet() {
    let (log, _guard) = Log::kept(tracing::Level::INFO);
    let (response, _) = ask("/panics").await;
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    ask("/no/such/path").await;
    let text = log.text();
    let lines: Vec<_> = text.lines().filter(|l| l.contains("request")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    for part in ["WARN", &id, "/panics", "code=internal", "panic: a secret"] {
        assert!(lines[0].contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn every_request_is_one_line_at_debug() {
    let (log, _guard) = Log::kept(tracing::Level::DEBUG);
    ask("/no/such/path").await;
    let text = log.text();
    assert_eq!(
        text.lines().filter(|l| l.contains("cresset_gateway")).count(),
        1,
        "{text}"
    );
}

async fn panics() -> Response {
    panic!("a secret")
}

async fn ask(path: &str) -> (Response, String) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(SqliteOptions::at(dir.path().join("tasks.db"))).unwrap();
    let engine = Engine::start(StdArc::new(store), &EngineOptions::default());
    let app = App::new(
        engine.clone(),
        Default::default(),
        CancellationToken::new(),
        TaskTracker::new(),
        None,
    );
    let router: Router = Router::new()
        .route("/panics", get(panics))
        .route(
            "/fails/{why}",
            get(|| async { Problem::new(Code::StoreUnavailable, "no") }),
        )
        .layer(axum::middleware::from_fn_with_state(app, observe));
    let response = router
        .oneshot(Request::get(path).body(Body::empty()).unwrap())
        .await
        .unwrap();
    (response, engine.render_metrics())
}

#[tokio::test]
async fn a_panic_becomes_a_problem_and_is_counted() {
    let (response, metrics) = ask("/panics").await;
    assert_eq!(response.status(), Code::Internal.http_status());
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    assert!(
        text.contains("\"code\":\"internal\"") && text.contains("/panics") && !text.contains("secret"),
        "{text}"
    );
    assert!(metrics.contains(r#"route="/panics",code="500"} 1"#), "{metrics}");
}

#[tokio::test]
async fn problems_are_counted_under_the_pattern_of_their_route() {
    let (response, metrics) = ask("/fails/because").await;
    assert_eq!(response.status(), Code::StoreUnavailable.http_status());
    assert!(
        metrics.contains(r#"route="/fails/{why}",code="503"} 1"#),
        "{metrics}"
    );
}
