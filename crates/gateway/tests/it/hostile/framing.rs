//! Lengths and chunks that lie. Whoever sees another end of a request than the proxy before us can be made to take a part of one
//! caller's body for the request of another.

use super::{fate, house, refused, unharmed};

const POST: &str = "POST /v1/models/echo/predict HTTP/1.1\r\nhost: x\r\n";
/// What should never be taken for a request.
const SMUGGLED: &str = "GET /v1/tasks/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn lengths_that_are_none_are_refused() {
    let house = house().await;
    for (name, headers) in [
        ("two that differ", "content-length: 11\r\ncontent-length: 12\r\n"),
        ("two in one", "content-length: 11, 12\r\n"),
        ("negative", "content-length: -1\r\n"),
        ("with a sign", "content-length: +11\r\n"),
        ("hexadecimal", "content-length: 0xb\r\n"),
        ("beyond 64 bits", "content-length: 18446744073709551616\r\n"),
        ("no number", "content-length: eleven\r\n"),
        ("a blank before the colon", "content-length : 11\r\n"),
    ] {
        let bytes = format!("{POST}{headers}\r\n{{\"input\":1}}{SMUGGLED}");
        refused(&house, name, bytes, 400, "malformed_request").await;
    }
    unharmed(house).await;
}

#[tokio::test]
async fn a_request_has_one_end_and_no_other_is_found() {
    let house = house().await;
    for (name, headers) in [
        (
            "a length and chunks",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        ),
        (
            "chunks and a length",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        ),
        ("a coding that is not known", "transfer-encoding: xchunked\r\n"),
        (
            "chunks within a coding",
            "transfer-encoding: chunked, identity\r\n",
        ),
        ("a folded header", "transfer-encoding:\r\n chunked\r\n"),
    ] {
        let mut caller = house.caller().await;
        let bytes = format!("{POST}{headers}\r\n0\r\n\r\n{SMUGGLED}");
        let _sent = caller.try_send(bytes).await;
        // Refused, or read by its chunks alone and answered; what follows is then the next request, or nothing.
        let answer = caller.answer_or_end().await;
        assert!(
            answer.as_ref().is_none_or(|answer| answer.status == 400),
            "{name}: {answer:?}"
        );
        if let Some(next) = caller.answer_or_end().await {
            panic!("{name}: answered twice: {next:?}");
        }
    }
    unharmed(house).await;
}

#[tokio::test]
async fn chunks_that_lie_end_their_connection() {
    let house = house().await;
    let chunked = format!("{POST}transfer-encoding: chunked\r\n\r\n");
    for (name, chunks) in [
        ("no number", "zz\r\nx\r\n".to_owned()),
        ("negative", "-1\r\nx\r\n".to_owned()),
        ("beyond 64 bits", "fffffffffffffffff\r\nx\r\n".to_owned()),
        ("longer than it says", "1\r\nxyz\r\n0\r\n\r\n".to_owned()),
        (
            "an extension without end",
            format!("1;{}\r\n", "a".repeat(1 << 20)),
        ),
        (
            "trailers without end",
            format!("0\r\n{}", "x: y\r\n".repeat(1 << 16)),
        ),
        (
            "a trailer without end",
            format!("0\r\nx: {}", "y".repeat(1 << 20)),
        ),
    ] {
        let answer = fate(&house, format!("{chunked}{chunks}")).await;
        let fine = |status| matches!(status, 400 | 431);
        assert!(
            answer.as_ref().is_none_or(|answer| fine(answer.status)),
            "{name}: {answer:?}"
        );
    }
    // All that is there by 64 bits is larger than a body may be.
    refused(
        &house,
        "a giant",
        format!("{chunked}ffffffffffffffff\r\n{}", "x".repeat(2 << 20)),
        413,
        "body_too_large",
    )
    .await;
    unharmed(house).await;
}

#[tokio::test]
async fn many_chunks_of_a_byte_are_one_body() {
    let house = house().await;
    let body = format!(r#"{{"input":"{}"}}"#, "x".repeat(20_000));
    let chunks: String = body.chars().map(|c| format!("1;ext=1\r\n{c}\r\n")).collect();
    let answer = fate(
        &house,
        format!("{POST}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
    )
    .await;
    // Extensions are bounded over a whole body, so this is refused; without them it is read.
    assert!(answer.is_none_or(|answer| answer.status == 400));
    let chunks: String = body.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let answer = fate(
        &house,
        format!("{POST}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"),
    )
    .await;
    assert_eq!(answer.unwrap().status, 200);
    unharmed(house).await;
}

#[tokio::test]
async fn other_protocols_are_told_that_this_is_http_1() {
    let house = house().await;
    for (name, bytes) in [
        ("HTTP/2", &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]),
        ("HTTP/0.9", b"GET /\r\n\r\n"),
        ("HTTP/3.0", b"GET / HTTP/3.0\r\nhost: x\r\n\r\n"),
        ("SMTP", b"EHLO there\r\n\r\n"),
        (
            "a proxy's protocol",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
        ),
    ] {
        refused(&house, name, bytes, 400, "malformed_request").await;
    }
    unharmed(house).await;
}
