//! API keys: every route for everybody who may not, and what keys may and may not do.

use cresset_gateway::GatewayOptions;
use cresset_keys::{Rate, Scope, Token};
use cresset_task::Timestamp;
use serde_json::{Value, json};

use crate::fixture;
use crate::guarded::{BOTH, Guarded, OPEN, ROUTES, UNKNOWN, filled, plain};
use crate::wire::Answer;

#[test]
fn the_table_has_every_route() {
    let document: Value = serde_json::from_str(&cresset_gateway::openapi()).unwrap();
    let mut routes: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .filter(|(_, path)| !OPEN.contains(&path.as_str()))
        .collect();
    let mut known: Vec<_> = ROUTES
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    routes.sort();
    known.sort();
    assert_eq!(routes, known);
}

#[tokio::test]
async fn no_route_lets_in_who_has_no_good_key() {
    let guarded = Guarded::open().await.with_echo().await;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let task = guarded.ended(&ours, "1").await;
    let letter = guarded.ended(&ours, "\"poison\"").await;
    let admin = [Scope::Admin];
    let revoked = guarded.key("ours", &admin, |key| key.revoked_at = Some(Timestamp::now()));
    let expired = guarded.key("ours", &admin, |key| key.expires_at = Some(Timestamp::now()));
    let good = guarded.key("ours", &admin, |_| {});
    let last = if good.ends_with('0') { '1' } else { '0' };
    let guess = format!("{}{last}", &good[..good.len() - 1]);
    let stranger = format!("Bearer {}", Token::fresh().unwrap().reveal());
    let bad = [
        "",
        "Bearer",
        "Bearer nonsense",
        "Basic b3VyczpzZWNyZXQ=",
        good.trim_start_matches("Bearer "),
        &good.to_uppercase(),
        &guess,
        &stranger,
        &revoked,
        &expired,
    ];
    for (method, path, _) in ROUTES {
        let id = if path.contains("dead") { &letter } else { &task };
        let (line, body) = filled(method, path, id);
        for key in bad {
            let refused = guarded.ask(&line, key, body).await;
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (401, "unauthorized"),
                "{line} {key}"
            );
            let challenge = refused.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm=\"cresset\""), "{challenge}");
            assert_eq!(
                challenge.contains("invalid_token"),
                !key.is_empty(),
                "{line} {key}"
            );
            let shown = String::from_utf8_lossy(&refused.body).into_owned();
            let secret = key.rsplit('_').next().unwrap();
            assert!(
                secret.len() < 64 || !shown.contains(secret),
                "no key is told back: {shown}"
            );
        }
        let twice = [("authorization", good.as_str()), ("authorization", good.as_str())];
        let refused = guarded.house.caller().await.ask(&line, &twice, body).await;
        assert_eq!(refused.status, 401, "{line}");
    }
    for path in OPEN {
        let path = path.replace("{file}", "start.js");
        let expected = if path == "/docs" { 308 } else { 200 };
        assert_eq!(
            guarded.ask(&format!("GET {path}"), "", "").await.status,
            expected,
            "{path}"
        );
    }
    // Who has no key is not told what there is, either.
    for line in ["GET /nothing", "PUT /v1/tasks", "GET /v1/models/nobody"] {
        assert_eq!(guarded.ask(line, "", "").await.status, 401, "{line}");
    }
    assert_eq!(
        guarded.ask("GET /nothing", &ours, "").await.code(),
        "unknown_route"
    );
    assert_eq!(
        guarded.ask("PUT /v1/tasks", &ours, "").await.code(),
        "method_not_allowed"
    );
    guarded.house.close().await;
}

#[tokio::test]
async fn every_route_asks_for_its_scope_and_names_it() {
    let guarded = Guarded::open().await.with_echo().await;
    let ours = guarded.key("ours", &BOTH, |_| {});
    for (method, path, scope) in ROUTES {
        let Some(scope) = scope else { continue };
        let input = if path.contains("dead") { "\"poison\"" } else { "1" };
        let id = match path.contains("batches") {
            true => guarded.batch(&ours).await,
            false => guarded.ended(&ours, input).await,
        };
        let (line, body) = filled(method, path, &id);
        for other in [Scope::Submit, Scope::Read] {
            let key = guarded.key("ours", &[other], |_| {});
            if other == *scope && path.ends_with("/events") {
                let mut caller = guarded.house.caller().await;
                caller
                    .send(format!(
                        "{line} HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\n\r\n"
                    ))
                    .await;
                assert!(caller.up_to("\r\n").await.contains(" 200 "));
                continue;
            }
            let answer = guarded.ask(&line, &key, body).await;
            if other == *scope {
                assert!(answer.status < 300 || answer.status == 500, "{line}: {answer:?}");
                continue;
            }
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (403, "forbidden"),
                "{line}"
            );
            let problem = answer.problem();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(&format!("`{scope}`")), "{detail}");
            assert!(
                answer
                    .header("www-authenticate")
                    .unwrap()
                    .contains("insufficient_scope")
            );
        }
    }
    guarded.house.close().await;
}

#[tokio::test]
async fn another_tenants_task_or_letter_is_answered_as_one_that_is_not_there() {
    let guarded = Guarded::open().await.with_echo().await;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let theirs = guarded.key("theirs", &BOTH, |_| {});
    let admin = guarded.key("ops", &[Scope::Admin], |_| {});
    let named =
        |(_, path, scope): &&(_, &str, Option<Scope>)| path.contains("{id}") && *scope != Some(Scope::Admin);
    for (method, path, _) in ROUTES.iter().filter(named) {
        let input = if path.contains("dead") { "\"poison\"" } else { "1" };
        let id = match path.contains("batches") {
            true => guarded.batch(&ours).await,
            false => guarded.ended(&ours, input).await,
        };
        let unknown = guarded.ask(&filled(method, path, UNKNOWN).0, &theirs, "").await;
        assert_eq!(unknown.status, 404, "{method} {path}");
        // However the id is written.
        let encoded = format!("%{:02x}{}", id.as_bytes()[0], &id[1..]);
        for text in [id.clone(), id.to_uppercase(), encoded] {
            for query in ["", "?wait=1s", "?nonsense=1"] {
                let line = filled(method, path, &text).0 + query;
                let crossed = guarded.ask(&line, &theirs, "").await;
                let body = String::from_utf8_lossy(&crossed.body).replace(&text, &id);
                let crossed = Answer {
                    body: body.into_bytes(),
                    ..crossed
                };
                assert_eq!(plain(&crossed, &id), plain(&unknown, UNKNOWN), "{line}");
            }
        }
        if !path.ends_with("/events") {
            let seen = guarded.ask(&filled(method, path, &id).0, &admin, "").await;
            assert!(seen.status < 300, "{method} {path}: {seen:?}");
        }
    }
    guarded.house.close().await;
}

#[tokio::test]
async fn a_key_may_be_for_some_models_only() {
    let guarded = Guarded::open().await.with_echo().await;
    guarded.house.automatic(fixture::object("other")).all_up();
    let key = guarded.key("ours", &[Scope::Admin], |key| {
        key.models = Some(vec!["echo".parse().unwrap()]);
    });
    let listed = guarded.ask("GET /v1/models", &key, "").await.json();
    let names: Vec<_> = listed["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, [&json!("echo")]);
    assert_eq!(
        guarded
            .ask("POST /v1/models/echo/predict", &key, r#"{"input": 1}"#)
            .await
            .status,
        200
    );
    for name in ["other", "nobody", "%6fther"] {
        for line in [
            format!("POST /v1/models/{name}/tasks"),
            format!("POST /v1/models/{name}/predict"),
            format!("GET /v1/models/{name}"),
        ] {
            let refused = guarded.ask(&line, &key, r#"{"input": 1}"#).await;
            assert_eq!(refused.code(), "forbidden", "{line}");
            assert!(
                refused.problem()["detail"]
                    .as_str()
                    .unwrap()
                    .contains("it may use `echo`")
            );
        }
    }
    guarded.house.close().await;
}

#[tokio::test]
async fn a_key_has_a_rate_and_is_told_when_its_next_turn_is() {
    let guarded = Guarded::open().await.with_echo().await;
    let slow = Rate {
        per_second: 0.01,
        burst: 2,
    };
    let key = guarded.key("ours", &BOTH, |key| key.rate = Some(slow));
    for _ in 0..2 {
        assert_eq!(guarded.ask("GET /v1/models", &key, "").await.status, 200);
    }
    let refused = guarded.ask("GET /v1/models", &key, "").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((90..=100).contains(&seconds), "{seconds}");
    let other = guarded.key("ours", &BOTH, |_| {});
    assert_eq!(guarded.ask("GET /v1/models", &other, "").await.status, 200);
    guarded.house.close().await;
}

#[tokio::test]
async fn a_key_has_so_much_open_at_once() {
    let guarded = Guarded::open().await;
    // It never comes up, so what is queued stays queued.
    guarded.house.by_hand(fixture::object("echo"));
    let key = guarded.key("ours", &BOTH, |key| key.max_open = Some(2));
    for _ in 0..2 {
        guarded.submitted(&key, r#"{"input": 1}"#).await;
    }
    for line in ["POST /v1/models/echo/tasks", "POST /v1/models/echo/predict"] {
        let refused = guarded.ask(line, &key, r#"{"input": 1}"#).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (429, "client_limit"),
            "{refused:?}"
        );
        assert_eq!(refused.problem()["bound"]["setting"], "max_open");
        assert!(refused.header("retry-after").is_some());
    }
    let other = guarded.key("ours", &BOTH, |_| {});
    guarded.submitted(&other, r#"{"input": 1}"#).await;
    guarded.house.close().await;
}

#[tokio::test]
async fn figures_can_be_left_open() {
    let guarded = Guarded::with(true, GatewayOptions::default()).await;
    assert_eq!(guarded.ask("GET /metrics", "", "").await.status, 200);
    assert_eq!(guarded.ask("GET /v1/models", "", "").await.status, 401);
    guarded.house.close().await;
}
