//! Large bodies: kept in files while they come, read back in their turn, gone whatever happens.

use std::path::Path;

use cresset_gateway::{GatewayOptions, SpoolOptions};

use crate::house::{House, until};

const ABOVE: usize = 100_000;

fn options(dir: &Path, max_bytes: u64) -> GatewayOptions {
    GatewayOptions {
        max_body_bytes: 2_000_000,
        max_inflight_bytes: 3_200_000,
        spool: Some(SpoolOptions {
            dir: dir.join("spool"),
            above: ABOVE,
            max_bytes,
        }),
        ..Default::default()
    }
}

/// A body of exactly this many bytes.
fn body(bytes: usize) -> String {
    format!(r#"{{"input":"{}"}}"#, "x".repeat(bytes - 12))
}

fn head(path: &str, framing: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n")
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir.join("spool")).unwrap().next().is_none()
}

/// The sizes of this folder's files that are open, without a name or with one.
fn sizes(dir: &Path) -> Vec<u64> {
    let ours = dir.join("spool").display().to_string();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.map(|entry| entry.path())
        .filter(|path| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains(&ours)))
        .filter_map(|path| Some(std::fs::metadata(path).ok()?.len()))
        .collect()
}

fn open_files(dir: &Path) -> usize {
    sizes(dir).len()
}

#[tokio::test]
async fn a_large_body_arrives_as_it_was_sent_announced_or_in_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::with(options(dir.path(), 10 << 20)).await.with_echo().await;
    let path = "/v1/models/echo/predict";
    for size in [ABOVE - 1, ABOVE, ABOVE + 1, 131_072, 1_999_999] {
        let body = body(size);
        let announced = house.post(path, &body).await;
        assert_eq!(announced.json()["result"].as_str().unwrap().len(), size - 12);
        let mut caller = house.caller().await;
        caller.send(head(path, "transfer-encoding: chunked")).await;
        for piece in body.as_bytes().chunks(70_000) {
            caller.send(format!("{:x}\r\n", piece.len())).await;
            caller.send(piece).await;
            caller.send("\r\n").await;
        }
        caller.send("0\r\n\r\n").await;
        assert_eq!(caller.answer().await.json(), announced.json(), "{size}");
    }
    assert!(is_empty(dir.path()) && open_files(dir.path()) == 0);
    house.close().await;
}

#[tokio::test]
async fn bodies_that_do_not_fit_into_memory_together_have_their_turns() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::with(options(dir.path(), 64 << 20)).await.with_echo().await;
    let mut callers = Vec::new();
    for _ in 0..12 {
        let mut caller = house.caller().await;
        caller.send_post("/v1/models/echo/tasks", body(1_900_000)).await;
        callers.push(caller);
    }
    for caller in &mut callers {
        assert_eq!(caller.answer().await.status, 202, "23 MB through 3 MB");
    }
    assert_eq!(open_files(dir.path()), 0);
    house.close().await;
}

#[tokio::test]
async fn a_body_given_up_half_way_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::with(options(dir.path(), 10 << 20)).await.with_echo().await;
    let mut caller = house.caller().await;
    caller
        .send(head("/v1/models/echo/tasks", "content-length: 1900000"))
        .await;
    caller.send("x".repeat(500_000)).await;
    until(|| open_files(dir.path()) == 1).await;
    assert!(is_empty(dir.path()), "it has no name");
    drop(caller);
    until(|| open_files(dir.path()) == 0).await;
    house.close().await;
}

#[tokio::test]
async fn the_room_for_files_is_bounded_and_the_bound_names_itself() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::with(options(dir.path(), 2_500_000))
        .await
        .with_echo()
        .await;
    let mut first = house.caller().await;
    first
        .send(head("/v1/models/echo/tasks", "content-length: 1900000"))
        .await;
    first.send("x".repeat(1_500_000)).await;
    until(|| sizes(dir.path()).iter().sum::<u64>() > 1_400_000).await;
    let mut second = house.caller().await;
    second.send_post("/v1/models/echo/tasks", body(1_900_000)).await;
    let refused = second.answer().await;
    assert_eq!((refused.status, refused.code()), (503, "server_busy".into()));
    assert_eq!(refused.problem()["bound"]["setting"], "limits.max_spool_bytes");
    assert!(refused.problem()["retry_after"].as_u64().unwrap() >= 1);
    drop(first);
    until(|| open_files(dir.path()) == 0).await;
    let answer = house.post("/v1/models/echo/tasks", &body(1_900_000)).await;
    assert_eq!(answer.status, 202, "there is room again");
    house.close().await;
}
