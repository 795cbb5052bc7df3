//! API keys: every route for everybody who may not, and what keys may and may not do.

use std::sync::Arc;

use cresset_gateway::{Auth, GatewayOptions};
use cresset_keys::{KeyFile, KeyRecord, Keyring, Rate, Scope, Scopes, Token};
use cresset_task::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture;
use crate::house::House;
use crate::wire::Answer;

/// What each route needs of a key. A route that is not here, or is not one any more, fails the first test.
const ROUTES: &[(&str, &str, Option<Scope>)] = &[
    ("POST", "/v1/models/{model}/tasks", Some(Scope::Submit)),
    ("POST", "/v1/models/{model}/predict", Some(Scope::Submit)),
    ("GET", "/v1/ws", None),
    ("GET", "/v1/tasks", Some(Scope::Read)),
    ("GET", "/v1/tasks/{id}", Some(Scope::Read)),
    ("GET", "/v1/tasks/{id}/result", Some(Scope::Read)),
    ("GET", "/v1/tasks/{id}/events", Some(Scope::Read)),
    ("POST", "/v1/tasks/{id}/cancel", Some(Scope::Submit)),
    ("GET", "/v1/dead", Some(Scope::Read)),
    ("GET", "/v1/dead/{id}", Some(Scope::Read)),
    ("GET", "/v1/dead/{id}/input", Some(Scope::Read)),
    ("POST", "/v1/dead/{id}/replay", Some(Scope::Submit)),
    ("DELETE", "/v1/dead/{id}", Some(Scope::Submit)),
    ("DELETE", "/v1/dead", Some(Scope::Submit)),
    ("GET", "/v1/models", Some(Scope::Read)),
    ("GET", "/v1/models/{model}", Some(Scope::Read)),
    ("GET", "/metrics", Some(Scope::Admin)),
    ("GET", "/openapi.json", None),
    ("GET", "/docs/errors", None),
    ("GET", "/", None),
];
/// Probes need no key.
const OPEN: [&str; 2] = ["/health/live", "/health/ready"];
const UNKNOWN: &str = "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10";
const BOTH: [Scope; 2] = [Scope::Submit, Scope::Read];

/// A server that needs keys, and the file of them.
struct Guarded {
    house: House,
    ring: Arc<Keyring>,
    _dir: TempDir,
}

impl Guarded {
    async fn open() -> Self {
        Self::with(false, GatewayOptions::default()).await
    }

    async fn with(open_metrics: bool, options: GatewayOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ring = Arc::new(Keyring::open(KeyFile::at(dir.path().join("keys.json"))).unwrap());
        let auth = Auth {
            keys: Arc::clone(&ring),
            open_metrics,
        };
        let options = GatewayOptions {
            auth: Some(auth),
            ..options
        };
        let house = House::with(options).await;
        Self {
            house,
            ring,
            _dir: dir,
        }
    }

    async fn with_echo(mut self) -> Self {
        self.house = self.house.with_echo().await;
        self
    }

    /// A key of this tenant, changed so; gives what a request says to use it.
    fn key(&self, tenant: &str, scopes: &[Scope], change: impl FnOnce(&mut KeyRecord)) -> String {
        let token = Token::fresh().unwrap();
        let mut record = KeyRecord {
            id: token.id,
            name: tenant.into(),
            tenant: tenant.parse().unwrap(),
            scopes: Scopes(scopes.to_vec()),
            models: None,
            rate: None,
            max_open: None,
            created_at: Timestamp::now(),
            expires_at: None,
            revoked_at: None,
            sha256: token.hash(),
        };
        change(&mut record);
        self.ring.file().change(|keys| keys.push(record)).unwrap();
        self.ring.refresh().unwrap();
        format!("Bearer {}", token.reveal())
    }

    async fn ask(&self, line: &str, key: &str, body: &str) -> Answer {
        let headers: Vec<_> = Some(("authorization", key))
            .filter(|(_, key)| !key.is_empty())
            .into_iter()
            .collect();
        self.house.caller().await.ask(line, &headers, body).await
    }

    async fn submitted(&self, key: &str, body: &str) -> String {
        let answer = self.ask("POST /v1/models/echo/tasks", key, body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["task_id"].as_str().unwrap().to_owned()
    }

    /// A task that ended so, and its id.
    async fn ended(&self, key: &str, input: &str) -> String {
        let id = self.submitted(key, &format!("{{\"input\": {input}}}")).await;
        let line = format!("GET /v1/tasks/{id}?wait=20s");
        let task = self.ask(&line, key, "").await.json();
        assert!(!task["finished_at"].is_null(), "{task}");
        id
    }
}

/// The route with these in its path, and a body that it takes.
fn filled(method: &str, path: &str, id: &str) -> (String, &'static str) {
    let path = path.replace("{model}", "echo").replace("{id}", id);
    let body = if path.starts_with("/v1/models/echo/") {
        r#"{"input": 1}"#
    } else {
        ""
    };
    let query = if path == "/v1/dead" && method == "DELETE" {
        "?all=true"
    } else {
        ""
    };
    (format!("{method} {path}{query}"), body)
}

/// An answer without what differs from one to the next.
fn plain(answer: &Answer, id: &str) -> (u16, Value) {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(problem) = body.as_object_mut() {
        problem.remove("request_id");
    }
    let text = body.to_string().replace(id, "ID");
    (answer.status, serde_json::from_str(&text).unwrap())
}

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
        assert_eq!(
            guarded.ask(&format!("GET {path}"), "", "").await.status,
            200,
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
        let id = guarded.ended(&ours, input).await;
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
    for (method, path, _) in ROUTES.iter().filter(|(_, path, _)| path.contains("{id}")) {
        let input = if path.contains("dead") { "\"poison\"" } else { "1" };
        let id = guarded.ended(&ours, input).await;
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
async fn lists_and_purges_are_of_the_callers_tenant() {
    let guarded = Guarded::open().await.with_echo().await;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let same = guarded.key("ours", &[Scope::Read], |_| {});
    let theirs = guarded.key("theirs", &BOTH, |_| {});
    let admin = guarded.key("ops", &[Scope::Admin], |_| {});
    let mine = guarded.ended(&ours, "1").await;
    let dead = guarded.ended(&ours, "\"poison\"").await;
    let other = guarded.ended(&theirs, "\"poison\"").await;
    let ids = |answer: Answer, list: &str| -> Vec<String> {
        let body = answer.json();
        let rows = body[list].as_array().unwrap().iter();
        rows.map(|row| row["task_id"].as_str().unwrap().to_owned())
            .collect()
    };
    for key in [&ours, &same] {
        assert_eq!(
            ids(guarded.ask("GET /v1/tasks", key, "").await, "tasks"),
            [dead.clone(), mine.clone()]
        );
        assert_eq!(
            guarded.ask("GET /v1/dead", key, "").await.json()["letters"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
    assert_eq!(
        ids(guarded.ask("GET /v1/tasks", &theirs, "").await, "tasks"),
        [other]
    );
    assert_eq!(
        guarded.ask("GET /v1/tasks", &admin, "").await.json()["tasks"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let gone = guarded.ask("DELETE /v1/dead?all=true", &theirs, "").await.json();
    assert_eq!(gone, json!({"purged": 1}));
    assert_eq!(
        guarded
            .ask(&format!("GET /v1/dead/{dead}"), &ours, "")
            .await
            .status,
        200
    );
    // Who replays it for them does not take it away from them.
    let replay = guarded
        .ask(&format!("POST /v1/dead/{dead}/replay"), &admin, "")
        .await
        .json();
    let again = format!("GET /v1/tasks/{}", replay["task_id"].as_str().unwrap());
    assert_eq!(guarded.ask(&again, &ours, "").await.status, 200);
    assert_eq!(guarded.ask(&again, &theirs, "").await.status, 404);
    guarded.house.close().await;
}

#[tokio::test]
async fn each_tenant_has_idempotency_keys_of_its_own() {
    let guarded = Guarded::open().await.with_echo().await;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let same = guarded.key("ours", &BOTH, |_| {});
    let theirs = guarded.key("theirs", &BOTH, |_| {});
    let mut made = Vec::new();
    for key in [&ours, &same, &theirs] {
        let headers = [("authorization", key.as_str()), ("idempotency-key", "order-1")];
        let tasks = "POST /v1/models/echo/tasks";
        let answer = guarded
            .house
            .caller()
            .await
            .ask(tasks, &headers, r#"{"input": 1}"#)
            .await;
        made.push((
            answer.json()["task_id"].clone(),
            answer.header("idempotency-replayed").is_some(),
        ));
    }
    assert_eq!(made[0].0, made[1].0);
    assert_ne!(made[0].0, made[2].0);
    assert_eq!(
        made.iter().map(|(_, replayed)| *replayed).collect::<Vec<_>>(),
        [false, true, false]
    );
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

#[tokio::test]
async fn tasks_from_before_there_were_keys_are_seen_by_admins_only() {
    let guarded = Guarded::open().await.with_echo().await;
    let submission = cresset_engine::Submission {
        model: "echo".parse().unwrap(),
        input: cresset_task::Payload::Json(bytes::Bytes::from_static(b"1")),
        priority: 0,
        metadata: None,
        due_at: None,
        expires_at: None,
        deadline_at: None,
        cache: Default::default(),
        retry: None,
        tenant: None,
        idempotency_key: None,
        client: None,
    };
    let id = guarded.house.engine.submit(submission).await.unwrap().id;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let admin = guarded.key("ops", &[Scope::Admin], |_| {});
    let line = format!("GET /v1/tasks/{id}");
    assert_eq!(guarded.ask(&line, &ours, "").await.code(), "unknown_task");
    assert_eq!(guarded.ask(&line, &admin, "").await.status, 200);
    guarded.house.close().await;
}
