//! The settings of who may come in: by keys, and by the tokens of an identity provider.

use std::path::PathBuf;

use super::Setting;
use super::forms::{setting, words};
use crate::field::{Field, Refusal, quote};
use crate::server::{KeySet, ServerConfig};

/// Longer ones are a slip.
const TEXT_MAX: usize = 1000;

pub(super) const ENABLED: Setting = setting(
    "auth.enabled",
    ["CRESSET_AUTH", "auth"],
    Field::Bool {
        get: |c| c.auth.enabled,
        set: |c, b| c.auth.enabled = b,
    },
    "Every path but `/health/...` needs a key (`cresset keys create`), tasks are seen only by their own tenant, and \
     `[clients]` bounds hold for each key, whatever `clients.identify` says.",
);

pub(super) const KEYS: Setting = words(
    setting(
        "auth.keys",
        ["CRESSET_AUTH_KEYS", "auth-keys"],
        Field::Path {
            get: |c| c.auth.keys.clone(),
            set: |c, p| c.auth.keys = Some(p),
        },
        "The file of keys, which holds hashes and no secret. The server sees within a second that it has changed.",
    ),
    "`keys.json` in `server.data_dir`",
    r#""/etc/cresset/keys.json""#,
);

pub(super) const OPEN_METRICS: Setting = setting(
    "auth.open_metrics",
    ["CRESSET_AUTH_OPEN_METRICS", "auth-open-metrics"],
    Field::Bool {
        get: |c| c.auth.open_metrics,
        set: |c, b| c.auth.open_metrics = b,
    },
    "`/metrics` needs no key. Without, it needs one with the scope `admin`: its figures are of all tenants.",
);

pub(super) const JWT_KEYS: Setting = words(
    setting(
        "auth.jwt_keys",
        ["CRESSET_AUTH_JWT_KEYS", "auth-jwt-keys"],
        Field::Text {
            form: "an address that begins with https://, or the absolute path of a file, in quotes",
            get: |c| c.auth.jwt.keys.as_ref().map(ToString::to_string),
            set: set_keys,
        },
        "Where an identity provider has its public keys (a JSON Web Key Set): its tokens are taken as keys are. An address is asked \
         every five minutes and when a token names a key that is not known, a file is looked at every second.",
    ),
    "none: no tokens are taken",
    r#""https://id.example.com/.well-known/jwks.json""#,
);

pub(super) const JWT_ISSUER: Setting = words(
    setting(
        "auth.jwt_issuer",
        ["CRESSET_AUTH_JWT_ISSUER", "auth-jwt-issuer"],
        Field::Text {
            form: "the `iss` of its tokens in quotes",
            get: |c| c.auth.jwt.issuer.clone(),
            set: |c, text| filled(text).map(|text| c.auth.jwt.issuer = Some(text)),
        },
        "What tokens must have as `iss`, to the letter.",
    ),
    "none; needed with `auth.jwt_keys`",
    r#""https://id.example.com/""#,
);

pub(super) const JWT_AUDIENCE: Setting = words(
    setting(
        "auth.jwt_audience",
        ["CRESSET_AUTH_JWT_AUDIENCE", "auth-jwt-audience"],
        Field::Text {
            form: "the name that the provider has for this server in quotes",
            get: |c| c.auth.jwt.audience.clone(),
            set: |c, text| filled(text).map(|text| c.auth.jwt.audience = Some(text)),
        },
        "What tokens must have among their `aud`: those for other services of the same provider open nothing here.",
    ),
    "none; needed with `auth.jwt_keys`",
    r#""cresset""#,
);

pub(super) const JWT_TENANT: Setting = setting(
    "auth.jwt_tenant",
    ["CRESSET_AUTH_JWT_TENANT", "auth-jwt-tenant"],
    Field::Text {
        form: "the name of a claim in quotes",
        get: |c| Some(c.auth.jwt.tenant.clone()),
        set: |c, text| filled(text).map(|text| c.auth.jwt.tenant = text),
    },
    "The claim that says whose tasks the bearer sees. `sub`: each their own. A value that cannot be the name of a tenant (`a-z`, `0-9`, \
     `_.-`, 64 characters) is one by its hash.",
);

fn filled(text: &str) -> Result<String, Refusal> {
    match !text.trim().is_empty() && text.len() <= TEXT_MAX && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::new(format!(
            "must have 1 to {TEXT_MAX} characters on one line"
        ))),
    }
}

fn set_keys(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    let refuse = || {
        Refusal::new(format!(
            "must be an address that begins with https://, or an absolute path, is {}",
            quote(text)
        ))
    };
    let keys = match text.split_once("://") {
        _ if text.starts_with('/') => KeySet::File(PathBuf::from(text)),
        Some((scheme, _)) => {
            let url = url::Url::parse(text).map_err(|_| refuse())?;
            let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
            if scheme != "https" && !(scheme == "http" && is_here) {
                return Err(refuse().hint("who can change what comes over plain HTTP could make any token"));
            }
            KeySet::Url(url.to_string())
        }
        None => return Err(refuse()),
    };
    c.auth.jwt.keys = Some(keys);
    Ok(())
}
