//! Bodies in gzip and zstd, both ways.

use std::io::{Read, Write};

use cresset_gateway::{GatewayOptions, SpoolOptions};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::house::House;
use crate::wire::Answer;

const PREDICT: &str = "POST /v1/models/echo/predict";
const CODINGS: [&str; 2] = ["gzip", "zstd"];

fn pack(coding: &str, plain: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
            zstd_safe::compress(&mut packed, plain, 3).unwrap();
            packed
        }
    }
}

fn unpack(answer: &Answer) -> Vec<u8> {
    match answer.header("content-encoding") {
        None => answer.body.clone(),
        Some("gzip") => {
            let mut plain = Vec::new();
            GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).unwrap();
            plain
        }
        Some("zstd") => {
            let mut plain = Vec::with_capacity(64 << 20);
            zstd_safe::decompress(&mut plain, &answer.body).unwrap();
            plain
        }
        Some(other) => panic!("{other}"),
    }
}

fn text(bytes: usize) -> String {
    format!(r#"{{"input":"{}"}}"#, "x".repeat(bytes - 12))
}

async fn ask(house: &House, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
    house.caller().await.ask(PREDICT, headers, body).await
}

async fn house(options: GatewayOptions) -> House {
    House::with(options).await.with_echo().await
}

#[tokio::test]
async fn a_body_may_come_packed() {
    let dir = tempfile::tempdir().unwrap();
    let spool = SpoolOptions {
        dir: dir.path().join("spool"),
        above: 64 << 10,
        max_bytes: 1 << 30,
    };
    for spool in [None, Some(spool)] {
        let house = house(GatewayOptions {
            spool,
            ..Default::default()
        })
        .await;
        for coding in CODINGS {
            for size in [20, 3000, 5 << 20] {
                let plain = text(size);
                let packed = pack(coding, plain.as_bytes());
                let answer = ask(&house, &[("content-encoding", coding)], &packed).await;
                assert_eq!(answer.status, 200, "{coding} {size}: {answer:?}");
                let expected: serde_json::Value = serde_json::from_str(&plain).unwrap();
                assert_eq!(answer.json()["result"], expected["input"]);
            }
        }
        house.close().await;
    }
}

#[tokio::test]
async fn a_packed_body_may_come_in_pieces() {
    let house = house(GatewayOptions::default()).await;
    for coding in CODINGS {
        let packed = pack(coding, text(300).as_bytes());
        let mut caller = house.caller().await;
        caller
            .send(format!(
                "{PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-encoding: {coding}\r\ntransfer-encoding: chunked\r\n\r\n"
            ))
            .await;
        for byte in &packed {
            caller.send([&b"1\r\n"[..], &[*byte], b"\r\n"].concat()).await;
        }
        caller.send("0\r\n\r\n").await;
        assert_eq!(caller.answer().await.status, 200, "{coding}");
    }
    house.close().await;
}

#[tokio::test]
async fn what_is_in_a_body_counts_not_how_it_is_packed() {
    let house = house(GatewayOptions {
        max_body_bytes: 100_000,
        ..Default::default()
    })
    .await;
    for coding in CODINGS {
        let header = [("content-encoding", coding)];
        let fits = pack(coding, text(100_000).as_bytes());
        assert_eq!(ask(&house, &header, fits).await.status, 200);
        for bytes in [100_001, 5_000_000] {
            let bomb = pack(coding, text(bytes).as_bytes());
            let refused = ask(&house, &header, bomb).await;
            assert_eq!(refused.code(), "body_too_large", "{coding}");
            assert_eq!(
                refused.problem()["detail"],
                "a body may have at most 100000 bytes; this one is longer once it is unpacked"
            );
        }
    }
    house.close().await;
}

#[tokio::test]
async fn what_is_in_a_body_counts_in_the_memory_for_bodies() {
    let house = house(GatewayOptions {
        max_body_bytes: 1 << 20,
        max_inflight_bytes: 1 << 20,
        ..Default::default()
    })
    .await;
    for coding in CODINGS {
        // What it takes to unpack it is in the same memory here, and there is no room for both.
        let packed = pack(coding, text(1 << 20).as_bytes());
        let refused = ask(&house, &[("content-encoding", coding)], packed).await;
        assert_eq!(refused.code(), "server_busy");
        assert_eq!(
            refused.problem()["bound"]["setting"],
            "limits.max_inflight_body_bytes"
        );
    }
    // All of it was given back.
    assert_eq!(
        house.post("/v1/models/echo/predict", &text(1 << 20)).await.status,
        200
    );
    house.close().await;
}

#[tokio::test]
async fn codings_that_are_not_known_are_refused_and_ours_named() {
    let house = house(GatewayOptions::default()).await;
    let body = text(50);
    for coding in ["br", "deflate", "gzip, zstd", "gzip, gzip", "compress"] {
        let refused = ask(&house, &[("content-encoding", coding)], &body).await;
        assert_eq!(
            (refused.status, refused.code()),
            (415, "unsupported_media_type".into())
        );
        assert_eq!(refused.header("accept-encoding"), Some("gzip, zstd"), "{coding}");
        let detail = refused.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("`{coding}`")), "{detail}");
    }
    assert_eq!(
        ask(&house, &[("content-encoding", "identity")], &body)
            .await
            .status,
        200
    );
    house.close().await;
}

#[tokio::test]
async fn bodies_that_are_not_what_they_are_said_to_be_are_refused() {
    let house = house(GatewayOptions::default()).await;
    for coding in CODINGS {
        let whole = pack(coding, text(5000).as_bytes());
        let mut broken = whole.clone();
        let last = broken.len() - 6;
        broken[last] ^= 0xff;
        for body in [
            text(50).into_bytes(),
            whole[..whole.len() - 1].to_vec(),
            broken,
            Vec::new(),
        ] {
            // zstd keeps no checksum unless told to, so a broken frame may be text that is not JSON.
            let refused = ask(&house, &[("content-encoding", coding)], &body).await;
            assert_eq!(
                (refused.status, refused.code()),
                (400, "malformed_body".into()),
                "{coding} {body:?}"
            );
        }
    }
    assert_eq!(house.get("/health/live").await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn large_text_is_packed_for_who_asks() {
    let house = house(GatewayOptions::default()).await;
    let body = text(10_000);
    let plain = ask(&house, &[], &body).await;
    assert_eq!((plain.status, plain.header("content-encoding")), (200, None));
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    for coding in CODINGS {
        let packed = ask(&house, &[("accept-encoding", coding)], &body).await;
        assert_eq!(packed.header("content-encoding"), Some(coding));
        assert_eq!(packed.header("vary"), Some("accept-encoding"));
        assert!(packed.body.len() < 500, "{}", packed.body.len());
        assert_eq!(unpack(&packed), plain.body);
    }
    let both = ask(&house, &[("accept-encoding", "gzip, deflate, br, zstd")], &body).await;
    assert_eq!(both.header("content-encoding"), Some("zstd"));
    let small = ask(&house, &[("accept-encoding", "gzip")], text(100)).await;
    assert_eq!(
        (small.header("content-encoding"), small.header("vary")),
        (None, None)
    );
    house.close().await;
}

#[tokio::test]
async fn documents_and_figures_are_packed_and_events_are_not() {
    let house = house(GatewayOptions::default()).await;
    let gzip = [("accept-encoding", "gzip")];
    for path in [
        "/openapi.json",
        "/docs/errors",
        "/metrics",
        "/docs/swagger-ui-bundle.js",
    ] {
        let mut caller = house.caller().await;
        let answer = caller.ask(&format!("GET {path}"), &gzip, "").await;
        assert_eq!(answer.header("content-encoding"), Some("gzip"), "{path}");
        assert!(unpack(&answer).len() > 2 * answer.body.len(), "{path}");
    }
    let path = house.submitted("echo", &text(10_000)).await;
    house.get(&format!("{path}?wait=20s")).await;
    let mut caller = house.caller().await;
    caller
        .send(format!(
            "GET {path}/events HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip\r\n\r\n"
        ))
        .await;
    let head = caller.up_to("\r\n\r\n").await;
    assert!(!head.contains("content-encoding"), "{head}");
    house.close().await;
}
