//! Bodies that are too large, too many or too slow; connections that are too many or say nothing.

use std::time::Duration;

use cresset_gateway::GatewayOptions;

use crate::fixture;
use crate::house::{House, finish, until};

const LIMIT: usize = 1000;

async fn small() -> House {
    House::with(GatewayOptions {
        max_body_bytes: LIMIT,
        ..Default::default()
    })
    .await
    .with_echo()
    .await
}

/// A body of exactly this many bytes.
fn body(bytes: usize) -> String {
    format!(r#"{{"input":"{}"}}"#, "x".repeat(bytes - 12))
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
    let house = small().await;
    assert_eq!(
        house.post("/v1/models/echo/predict", &body(LIMIT)).await.status,
        200
    );
    let refused = house.post("/v1/models/echo/predict", &body(LIMIT + 1)).await;
    assert_eq!(refused.code(), "body_too_large");
    assert_eq!(
        refused.problem()["detail"],
        "a body may have at most 1000 bytes; this one announces 1001"
    );
    house.close().await;
}

#[tokio::test]
async fn an_announced_giant_is_refused_before_it_is_sent() {
    let house = small().await;
    let mut caller = house.caller().await;
    caller
        .send("POST /v1/models/echo/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n")
        .await;
    assert_eq!(caller.answer().await.code(), "body_too_large");
    house.close().await;
}

#[tokio::test]
async fn a_caller_that_asks_first_is_told_before_it_sends_anything() {
    let house = small().await;
    let head = |length: usize| {
        format!(
            "POST /v1/models/echo/predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut caller = house.caller().await;
    caller.send(head(13)).await;
    assert_eq!(caller.answer().await.status, 100);
    caller.send(body(13)).await;
    assert_eq!(caller.answer().await.json()["result"], "x");
    caller.send(head(LIMIT + 1)).await;
    let refused = caller.answer().await;
    assert_eq!(
        refused.code(),
        "body_too_large",
        "the final answer, with no `100 Continue` before it"
    );
    house.close().await;
}

#[tokio::test]
async fn a_chunked_giant_is_refused_while_it_is_sent_and_its_sender_still_reads_why() {
    let house = small().await;
    let mut caller = house.caller().await;
    caller
        .send("POST /v1/models/echo/tasks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    // 32 MiB, far above what socket buffers hold: without lingering the connection would be reset under the sender.
    for _ in 0..512 {
        caller
            .try_send(&chunk)
            .await
            .expect("the rest is thrown away, not refused");
    }
    let refused = caller.answer().await;
    assert_eq!(refused.code(), "body_too_large");
    assert_eq!(
        refused.problem()["detail"],
        "a body may have at most 1000 bytes; this one is longer"
    );
    house.close().await;
}

#[tokio::test]
async fn a_large_body_sent_to_nowhere_still_hears_where_it_went_wrong() {
    let house = small().await;
    for path in ["/v1/models/nobody/tasks", "/no/such/path", "/v1/models"] {
        let mut caller = house.caller().await;
        caller
            .try_send(format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n"
            ))
            .await
            .unwrap();
        caller
            .try_send(vec![b'x'; 8_000_000])
            .await
            .expect("the rest is thrown away, not refused");
        assert!((404..=405).contains(&caller.answer().await.status));
        assert_eq!(
            caller.get("/health/live").await.status,
            200,
            "the connection goes on"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told_so() {
    let options = GatewayOptions {
        body_timeout: Duration::from_millis(30),
        ..Default::default()
    };
    let house = House::with(options).await.with_echo().await;
    let mut caller = house.caller().await;
    caller
        .send("POST /v1/models/echo/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"input\":")
        .await;
    let refused = caller.answer().await;
    assert_eq!(refused.code(), "request_timeout");
    assert_eq!(
        refused.problem()["detail"],
        "9 bytes of the body came, the last of them too slowly: in each 30ms (`server.body_timeout`) it must move on by \
         1024 bytes a second (`server.min_rate`), or end"
    );
    let mut caller = house.caller().await;
    caller
        .send("POST /v1/models/echo/tasks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        .await;
    assert!(
        caller.is_closed().await,
        "broken framing leaves nothing to answer on"
    );
    assert_eq!(house.get("/health/live").await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn bodies_held_at_once_are_bounded() {
    let house = House::with(GatewayOptions {
        max_inflight_bytes: 1500,
        max_body_bytes: 1200,
        ..Default::default()
    })
    .await;
    let pool = house.by_hand(fixture::object("slow"));
    pool.all_up();
    house.until_ready().await;
    let mut first = house.caller().await;
    first.send_post("/v1/models/slow/predict", body(1000)).await;
    let held = pool.next_job().await;
    let refused = house.post("/v1/models/slow/predict", &body(1000)).await;
    assert_eq!(
        (refused.status, refused.code(), refused.header("retry-after")),
        (503, "server_busy".into(), Some("1"))
    );
    finish(&pool, &held, "1");
    assert_eq!(first.answer().await.status, 200);
    let mut second = house.caller().await;
    second.send_post("/v1/models/slow/predict", body(1000)).await;
    finish(&pool, &pool.next_job().await, "2");
    assert_eq!(
        second.answer().await.json()["result"],
        2,
        "what was held is given back"
    );
    house.close().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let house = House::with(GatewayOptions {
        idle_timeout: Duration::from_millis(30),
        ..Default::default()
    })
    .await;
    let mut silent = house.caller().await;
    assert!(silent.is_closed().await);
    house.close().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_takes_its_prediction_with_it() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("slow"));
    pool.all_up();
    house.until_ready().await;
    let mut staying = house.caller().await;
    staying
        .send_post("/v1/models/slow/predict", r#"{"input":"staying"}"#)
        .await;
    let held = pool.next_job().await;
    let mut leaving = house.caller().await;
    leaving
        .send_post("/v1/models/slow/predict", r#"{"input":"leaving"}"#)
        .await;
    let waiting = || house.engine.model("slow").unwrap().waiting;
    until(|| waiting() == 2).await;
    drop(leaving);
    until(|| waiting() == 1).await;
    finish(&pool, &held, "1");
    assert_eq!(staying.answer().await.status, 200);
    assert!(
        house
            .engine
            .render_metrics()
            .contains(r#"route="/v1/models/{model}/predict",code="499"}"#)
    );
    house.close().await;
}

#[tokio::test]
async fn callers_that_come_at_once_are_all_let_in_before_one_is_accepted() {
    // As many as the kernel allows, at most 400: the open files of a test have a limit too.
    let kernel: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let listener = cresset_gateway::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let door = listener.local_addr().unwrap();
    let callers: Vec<_> = (0..kernel.min(400))
        .map(|_| tokio::net::TcpStream::connect(door))
        .collect();
    // A caller that finds the line full tries again after a second, and would find it full again, as nobody is let in.
    let all = tokio::time::timeout(
        Duration::from_secs(30),
        futures_util::future::try_join_all(callers),
    );
    assert_eq!(all.await.unwrap().unwrap().len(), kernel.min(400));
}
