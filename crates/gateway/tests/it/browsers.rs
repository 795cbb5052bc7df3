//! What browsers are told, and what proxies are believed.

use std::time::Duration;

use cresset_config::{Admission, ClientBounds};
use cresset_gateway::{GatewayOptions, Identify};

use crate::fixture;
use crate::house::House;
use crate::wire::Answer;

const PAGE: (&str, &str) = ("origin", "https://app.example.com");

async fn house(origins: &[&str]) -> House {
    let options = GatewayOptions {
        cors_origins: origins.iter().map(|&origin| origin.into()).collect(),
        hsts: Some(Duration::from_secs(60)),
        ..Default::default()
    };
    House::with(options).await.with_echo().await
}

async fn ask(house: &House, line: &str, headers: &[(&str, &str)]) -> Answer {
    let body = if line.starts_with("POST") {
        r#"{"input":1}"#
    } else {
        ""
    };
    house.caller().await.ask(line, headers, body).await
}

fn preflight() -> Vec<(&'static str, &'static str)> {
    vec![
        PAGE,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,idempotency-key"),
    ]
}

const SUBMIT: &str = "POST /v1/models/echo/tasks";
const MAY_I: &str = "OPTIONS /v1/models/echo/tasks";

#[tokio::test]
async fn pages_of_others_are_told_nothing_by_default() {
    let house = house(&[]).await;
    let answer = ask(&house, SUBMIT, &[PAGE]).await;
    assert_eq!(answer.status, 202);
    assert!(
        !answer
            .headers
            .iter()
            .any(|(name, _)| name.starts_with("access-control")),
        "{answer:?}"
    );
    assert_eq!(
        ask(&house, MAY_I, &preflight()).await.code(),
        "method_not_allowed"
    );
    house.close().await;
}

#[tokio::test]
async fn pages_that_may_ask_are_told_so() {
    let house = house(&["https://app.example.com", "http://localhost:3000"]).await;
    let told = ask(&house, MAY_I, &preflight()).await;
    assert_eq!(told.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-methods", "GET, HEAD, POST, DELETE"),
        ("access-control-allow-headers", "content-type,idempotency-key"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(told.header(name), Some(value), "{name}");
    }
    let answer = ask(&house, SUBMIT, &[PAGE]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE.1));
    assert_eq!(answer.header("vary"), Some("origin"));
    let exposed = answer
        .header("access-control-expose-headers")
        .unwrap()
        .to_ascii_lowercase();
    let ours = answer.headers.iter().map(|(name, _)| name.as_str());
    for name in ours.filter(|name| name.starts_with("x-request") || *name == "location") {
        assert!(exposed.contains(name), "{name}");
    }
    // A refusal is read by the page as well.
    let refused = ask(&house, "GET /v1/tasks/42", &[PAGE]).await;
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (404, Some(PAGE.1))
    );
    for other in [
        "https://evil.example",
        "https://app.example.com.evil.example",
        "null",
        "https://app.example.com:444",
    ] {
        let answer = ask(&house, SUBMIT, &[("origin", other)]).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{other}");
        assert_eq!(answer.header("vary"), Some("origin"));
    }
    house.close().await;
}

#[tokio::test]
async fn where_all_pages_may_ask_no_page_is_named() {
    let house = house(&["*"]).await;
    for line in [SUBMIT, MAY_I] {
        let answer = ask(&house, line, &preflight()).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{line}");
    }
    house.close().await;
}

#[tokio::test]
async fn every_answer_says_how_to_treat_it() {
    let house = house(&[]).await;
    let task = house.submitted("echo", r#"{"input":1}"#).await;
    for path in [
        task.as_str(),
        "/health/live",
        "/metrics",
        "/no/such/path",
        "/openapi.json",
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{path}");
        let stored = if path == "/openapi.json" {
            None
        } else {
            Some("no-store")
        };
        assert_eq!(answer.header("cache-control"), stored, "{path}");
        assert_eq!(answer.header("strict-transport-security"), None, "not in TLS");
    }
    house.close().await;
}

async fn behind_a_proxy(trusted: &[&str]) -> House {
    let admission = Admission {
        client: ClientBounds {
            max_queue: Some(1),
            ..ClientBounds::default()
        },
        ..Admission::default()
    };
    let options = GatewayOptions {
        identify: Identify::Address,
        trusted_proxies: trusted.iter().map(|network| network.parse().unwrap()).collect(),
        ..Default::default()
    };
    let house = House::admitting(admission, options).await;
    house.by_hand(fixture::object("echo")); // never up: what is queued stays queued
    house
}

#[tokio::test]
async fn callers_behind_a_believed_proxy_are_told_apart() {
    let house = behind_a_proxy(&["127.0.0.0/8"]).await;
    for caller in ["203.0.113.1", "203.0.113.2"] {
        let header = [("x-forwarded-for", caller)];
        assert_eq!(ask(&house, SUBMIT, &header).await.status, 202, "{caller}");
        assert_eq!(
            ask(&house, SUBMIT, &header).await.code(),
            "client_limit",
            "{caller}"
        );
        let invented = format!("9.9.9.9, {caller}");
        let refused = ask(&house, SUBMIT, &[("x-forwarded-for", &invented)]).await;
        assert_eq!(
            refused.code(),
            "client_limit",
            "what a caller invents changes nothing"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn what_others_say_of_their_callers_means_nothing() {
    for trusted in [&[][..], &["10.0.0.0/8"]] {
        let house = behind_a_proxy(trusted).await;
        let said = |caller| [("x-forwarded-for", caller), ("x-forwarded-prefix", "/ml")];
        let accepted = ask(&house, SUBMIT, &said("203.0.113.1")).await;
        assert_eq!(accepted.status, 202);
        assert!(accepted.header("location").unwrap().starts_with("/v1/tasks/"));
        assert_eq!(
            ask(&house, SUBMIT, &said("203.0.113.2")).await.code(),
            "client_limit"
        );
        house.close().await;
    }
}

#[tokio::test]
async fn a_location_has_the_prefix_that_a_believed_proxy_took_away() {
    let house = behind_a_proxy(&["127.0.0.1"]).await;
    let prefix = |prefix| [("x-forwarded-prefix", prefix), ("x-forwarded-for", "203.0.113.1")];
    let accepted = ask(&house, SUBMIT, &prefix("/ml/")).await;
    assert!(
        accepted.header("location").unwrap().starts_with("/ml/v1/tasks/"),
        "{accepted:?}"
    );
    let tricked = [
        ("x-forwarded-prefix", "//evil.example"),
        ("x-forwarded-for", "203.0.113.2"),
    ];
    let accepted = ask(&house, SUBMIT, &tricked).await;
    assert!(
        accepted.header("location").unwrap().starts_with("/v1/tasks/"),
        "{accepted:?}"
    );
    house.close().await;
}
