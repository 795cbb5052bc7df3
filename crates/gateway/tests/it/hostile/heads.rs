//! Paths, queries and headers that mean something else than they say.

use super::{fate, house, refused, unharmed};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n")
}

#[tokio::test]
async fn paths_lead_nowhere_but_where_they_say() {
    let house = house().await;
    for target in [
        "//health/live",
        "/v1/../health/live",
        "/v1/%2e%2e/health/live",
        "/health/live/",
        "/health%2flive",
        "/health/live%00",
        "/HEALTH/live",
        "/v1/models/..%2f..%2fetc%2fpasswd/x",
        "/v1/tasks/../../../etc/passwd",
        "/..;/metrics",
        "/%",
        "/%zz",
        "/health\\live",
    ] {
        let Some(answer) = fate(&house, get(target)).await else {
            panic!("{target}: closed without a word");
        };
        assert!(matches!(answer.status, 400 | 404), "{target}: {answer:?}");
        answer.problem();
    }
    for (target, status) in [("http://elsewhere.example/health/live", 200), ("*", 404)] {
        assert_eq!(
            fate(&house, get(target)).await.unwrap().status,
            status,
            "{target}"
        );
    }
    unharmed(house).await;
}

#[tokio::test]
async fn names_that_are_no_text_are_names_that_nobody_has() {
    let house = house().await;
    for target in [
        "/v1/models/%ff%fe",
        "/v1/models/%00",
        "/v1/models/%e2%80%ae",
        "/v1/models/%F0%9F%94%A5",
    ] {
        refused(&house, target, get(target), 404, "unknown_model").await;
    }
    for query in [
        "%ff=1",
        "wait=%00",
        "wait=%ff",
        "a[b]=c",
        "wait=1s%0d%0aset-cookie:x",
    ] {
        let target = format!("/v1/tasks/01940000-0000-7000-8000-000000000000?{query}");
        let answer = fate(&house, get(&target)).await.unwrap();
        assert!(matches!(answer.status, 400 | 404 | 422), "{query}: {answer:?}");
    }
    let long = format!("/v1/models/{}", "a".repeat(60_000));
    refused(&house, "a long name", get(&long[..50_000]), 404, "unknown_model").await;
    refused(
        &house,
        "a long query",
        get(&format!("/v1/models?{}", "a=b&".repeat(10_000))),
        400,
        "bad_query",
    )
    .await;
    unharmed(house).await;
}

#[tokio::test]
async fn raw_bytes_in_a_head_are_refused() {
    let house = house().await;
    for (name, bytes) in [
        (
            "a zero in a header",
            &b"GET / HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n"[..],
        ),
        ("a zero in a path", b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n"),
        (
            "a bare return in a header",
            b"GET / HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n",
        ),
        (
            "a name with a blank",
            b"GET / HTTP/1.1\r\nhost: x\r\nx y: a\r\n\r\n",
        ),
        ("no name", b"GET / HTTP/1.1\r\nhost: x\r\n: a\r\n\r\n"),
        (
            "a folded header",
            b"GET / HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\n\r\n",
        ),
        ("a method with a blank", b"G ET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    ] {
        refused(&house, name, bytes, 400, "malformed_request").await;
    }
    unharmed(house).await;
}

#[tokio::test]
async fn what_a_caller_says_comes_back_harmless_or_not_at_all() {
    let house = house().await;
    let tricks: [&[u8]; 5] = [
        b"a\tb",
        b"<script>alert(1)</script>",
        b"\xff\xfe",
        b"a,b;c",
        b"x\"y",
    ];
    for trick in tricks {
        for header in [
            "x-request-id",
            "x-client-id",
            "last-event-id",
            "accept",
            "accept-encoding",
            "traceparent",
            "origin",
        ] {
            let head = format!("GET /v1/tasks/%0d%0ax-evil:1 HTTP/1.1\r\nhost: x\r\n{header}: ");
            let bytes = [head.as_bytes(), trick, b"\r\n\r\n"].concat();
            let answer = fate(&house, bytes).await.unwrap();
            assert_eq!(answer.status, 404, "{header}");
            let id = answer.header("x-request-id").unwrap();
            assert!(
                !id.is_empty() && !id.contains(['<', '"', '\t', ',']),
                "{header}: {id}"
            );
            assert!(answer.header("x-evil").is_none(), "{header}");
            let text = answer.text().to_owned();
            assert!(
                !text.contains(['\r', '\n']) && !text.contains("script"),
                "{header}: {text}"
            );
        }
    }
    unharmed(house).await;
}

#[tokio::test]
async fn methods_that_nobody_knows_count_as_one() {
    let house = house().await;
    for i in 0..50 {
        let answer = fate(&house, format!("XYZ{i} /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!(answer.unwrap().status, 405);
    }
    for target in ["/v1/models", "/no/such/path"] {
        let answer = fate(&house, format!("CONNECT {target} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(
            answer.is_none_or(|answer| matches!(answer.status, 400 | 404 | 405)),
            "{target}"
        );
    }
    assert!(
        !house.engine.render_metrics().contains("XYZ"),
        "no label is a caller's invention"
    );
    unharmed(house).await;
}
