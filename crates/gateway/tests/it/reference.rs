//! The committed reference pages are what the code says. `UPDATE_DOCS=1 cargo test -p cresset-gateway` rewrites them.

use std::path::Path;

use cresset_gateway::{openapi, reference};
use cresset_runner::{DownReason, RecycleReason};
use cresset_task::InstanceId;

use crate::house::{House, until};

fn check(name: &str, want: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference")
        .join(name);
    if std::env::var_os("UPDATE_DOCS").is_some_and(|v| !v.is_empty() && v != "0") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, want).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == want,
        "docs/reference/{name} is stale; rewrite it with: UPDATE_DOCS=1 cargo test -p cresset-gateway"
    );
}

#[test]
fn the_openapi_document_is_current() {
    check("openapi.json", &openapi());
}

#[test]
fn the_page_of_errors_is_current() {
    check("errors.md", &reference::errors());
}

#[test]
fn the_page_of_calls_is_current() {
    check("http.md", &reference::http());
}

#[tokio::test]
async fn the_page_of_metrics_is_current() {
    let house = House::open().await;
    let mut config = crate::fixture::object("echo");
    config.cache.enabled = true;
    let pool = house.automatic(config);
    pool.all_up();
    house.until_ready().await;
    house.post("/v1/models/echo/predict", r#"{"input":1}"#).await;
    pool.recycle(InstanceId(0), RecycleReason::Tasks(1), DownReason::Stopped);
    pool.fail_to_replace(InstanceId(0), DownReason::Exited(1));
    pool.kill(InstanceId(0), DownReason::Exited(1));
    until(|| !house.engine.health().ready).await; // counted before it shows
    let celery = house.engine.metrics().celery();
    celery.ended("proj.echo", "SUCCESS");
    celery.redelivered("proj.echo");
    celery.held("active", 1);
    celery.connected("redis", true);
    let metrics = house.get("/metrics").await;
    check("metrics.md", &reference::metrics(metrics.text()));
    house.close().await;
}
