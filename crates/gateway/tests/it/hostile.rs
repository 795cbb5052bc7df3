//! Bytes that are meant to do harm. Each is refused in words or by a closed connection, and costs nobody else anything: the
//! server answers at once afterwards, all memory for bodies is free again, and no connection is left.
//!
//! Callers that are slow are in `slow`, bodies that are large in `limits`, plain mistakes in `refusals`.

mod bodies;
mod framing;
mod heads;

use cresset_gateway::GatewayOptions;

use crate::house::{House, LONG, until};
use crate::wire::{Answer, Caller};

/// All memory for bodies, and the largest body.
const MEMORY: usize = 1 << 20;

async fn house() -> House {
    let options = GatewayOptions {
        max_body_bytes: MEMORY,
        max_inflight_bytes: MEMORY,
        ..Default::default()
    };
    House::with(options).await.with_echo().await
}

/// What comes of these bytes: an answer, or a closed connection.
async fn fate(house: &House, bytes: impl AsRef<[u8]>) -> Option<Answer> {
    let mut caller = house.caller().await;
    // It may have been refused before all of it was sent.
    let _sent = caller.try_send(bytes).await;
    caller.answer_or_end().await
}

/// The same, which must be this answer.
async fn refused(house: &House, name: &str, bytes: impl AsRef<[u8]>, status: u16, code: &str) {
    let Some(answer) = fate(house, bytes).await else {
        panic!("{name}: closed without a word");
    };
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{name}: {answer:?}"
    );
    let text = String::from_utf8(answer.body).expect("problems are text");
    assert!(
        text.len() < 4096,
        "{name}: an answer is no larger than its question: {}",
        text.len()
    );
}

/// A body, with a head that fits.
fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/models/echo/predict HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The server is as it was: nothing is held, nobody is there, and it answers.
async fn unharmed(house: House) {
    until(|| house.engine.render_metrics().contains("cresset_connections 0\n")).await;
    let whole = format!(r#"{{"input":"{}"}}"#, "x".repeat(MEMORY - 12));
    let mut caller: Caller = house.caller().await;
    // The rest of a refused body may be on its way out for a moment.
    let free = async { while caller.post("/v1/models/echo/predict", &whole).await.status != 200 {} };
    tokio::time::timeout(LONG, free)
        .await
        .expect("all memory should be free again");
    drop(caller);
    house.close().await;
}
