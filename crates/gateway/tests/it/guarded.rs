//! A server that takes requests with a key only, and keys for it.

use std::sync::Arc;

use cresset_gateway::{Auth, GatewayOptions};
use cresset_keys::{KeyFile, KeyRecord, Keyring, Scope, Scopes, Token};
use cresset_task::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::house::House;
use crate::wire::Answer;

/// What each route needs of a key. A route that is not here, or is not one any more, fails the first test.
pub(crate) const ROUTES: &[(&str, &str, Option<Scope>)] = &[
    ("POST", "/v1/models/{model}/tasks", Some(Scope::Submit)),
    ("POST", "/v1/models/{model}/predict", Some(Scope::Submit)),
    ("GET", "/v1/ws", None),
    ("GET", "/v1/tasks", Some(Scope::Read)),
    ("GET", "/v1/tasks/{id}", Some(Scope::Read)),
    ("GET", "/v1/tasks/{id}/result", Some(Scope::Read)),
    ("GET", "/v1/tasks/{id}/events", Some(Scope::Read)),
    ("POST", "/v1/tasks/{id}/cancel", Some(Scope::Submit)),
    ("POST", "/v1/batches", Some(Scope::Submit)),
    ("GET", "/v1/batches", Some(Scope::Read)),
    ("GET", "/v1/batches/{id}", Some(Scope::Read)),
    ("GET", "/v1/batches/{id}/results", Some(Scope::Read)),
    ("POST", "/v1/batches/{id}/cancel", Some(Scope::Submit)),
    ("GET", "/v1/dead", Some(Scope::Read)),
    ("GET", "/v1/dead/{id}", Some(Scope::Read)),
    ("GET", "/v1/dead/{id}/input", Some(Scope::Read)),
    ("POST", "/v1/dead/{id}/replay", Some(Scope::Submit)),
    ("DELETE", "/v1/dead/{id}", Some(Scope::Submit)),
    ("DELETE", "/v1/dead", Some(Scope::Submit)),
    ("GET", "/v1/events", Some(Scope::Admin)),
    ("GET", "/v1/webhooks", Some(Scope::Admin)),
    ("GET", "/v1/workers", Some(Scope::Admin)),
    ("POST", "/v1/webhooks/test", Some(Scope::Admin)),
    ("POST", "/v1/webhooks/{id}/replay", Some(Scope::Admin)),
    ("GET", "/v1/models", Some(Scope::Read)),
    ("GET", "/v1/models/{model}", Some(Scope::Read)),
    ("GET", "/metrics", Some(Scope::Admin)),
    ("GET", "/", None),
];
/// Probes need no key, nor what is the same on every server.
pub(crate) const OPEN: [&str; 8] = [
    "/health/live",
    "/health/ready",
    "/client.js",
    "/openapi.json",
    "/docs",
    "/docs/",
    "/docs/{file}",
    "/docs/errors",
];
pub(crate) const UNKNOWN: &str = "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10";
pub(crate) const BOTH: [Scope; 2] = [Scope::Submit, Scope::Read];

/// A server that needs keys, and the file of them.
pub(crate) struct Guarded {
    pub(crate) house: House,
    pub(crate) ring: Arc<Keyring>,
    _dir: TempDir,
}

impl Guarded {
    pub(crate) async fn open() -> Self {
        Self::with(false, GatewayOptions::default()).await
    }

    pub(crate) async fn with(open_metrics: bool, options: GatewayOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ring = Arc::new(Keyring::open(KeyFile::at(dir.path().join("keys.json"))).unwrap());
        let auth = Auth {
            issuer: None,
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

    pub(crate) async fn with_echo(mut self) -> Self {
        self.house = self.house.with_echo().await;
        self
    }

    /// A key of this tenant, changed so; gives what a request says to use it.
    pub(crate) fn key(&self, tenant: &str, scopes: &[Scope], change: impl FnOnce(&mut KeyRecord)) -> String {
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

    /// As `cresset keys revoke` does, with every key there is.
    pub(crate) fn revoke_all(&self) {
        let now = Timestamp::now();
        let revoke = |keys: &mut Vec<KeyRecord>| keys.iter_mut().for_each(|key| key.revoked_at = Some(now));
        self.ring.file().change(revoke).unwrap();
        self.ring.refresh().unwrap();
    }

    pub(crate) async fn ask(&self, line: &str, key: &str, body: &str) -> Answer {
        let headers: Vec<_> = Some(("authorization", key))
            .filter(|(_, key)| !key.is_empty())
            .into_iter()
            .collect();
        self.house.caller().await.ask(line, &headers, body).await
    }

    pub(crate) async fn submitted(&self, key: &str, body: &str) -> String {
        let answer = self.ask("POST /v1/models/echo/tasks", key, body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["task_id"].as_str().unwrap().to_owned()
    }

    /// A batch of one line, and its id.
    pub(crate) async fn batch(&self, key: &str) -> String {
        let answer = self
            .ask("POST /v1/batches?model=echo", key, "{\"input\": 1}\n")
            .await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["batch_id"].as_str().unwrap().to_owned()
    }

    /// A task that ended so, and its id.
    pub(crate) async fn ended(&self, key: &str, input: &str) -> String {
        let id = self.submitted(key, &format!("{{\"input\": {input}}}")).await;
        let line = format!("GET /v1/tasks/{id}?wait=20s");
        let task = self.ask(&line, key, "").await.json();
        assert!(!task["finished_at"].is_null(), "{task}");
        id
    }
}

/// The route with these in its path, and a body that it takes.
pub(crate) fn filled(method: &str, path: &str, id: &str) -> (String, &'static str) {
    let path = path.replace("{model}", "echo").replace("{id}", id);
    let is_bulk = path == "/v1/batches" && method == "POST";
    let body = if path.starts_with("/v1/models/echo/") || is_bulk {
        r#"{"input": 1}"#
    } else {
        ""
    };
    let query = if path == "/v1/dead" && method == "DELETE" {
        "?all=true"
    } else if is_bulk {
        "?model=echo"
    } else {
        ""
    };
    (format!("{method} {path}{query}"), body)
}

/// An answer without what differs from one to the next.
pub(crate) fn plain(answer: &Answer, id: &str) -> (u16, Value) {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(problem) = body.as_object_mut() {
        problem.remove("request_id");
    }
    let text = body.to_string().replace(id, "ID");
    (answer.status, serde_json::from_str(&text).unwrap())
}
