//! What a token's issuer says of its bearer, and what that is worth here.

use cresset_task::{ModelName, Tenant, Timestamp};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::refused::JwtRefused;
use crate::record::{KeyRecord, NAME_MAX, Scope, Scopes, SecretHash, cut, is_name};
use crate::token::{KeyId, hex};

/// What stands before a scope of ours among those of others.
const SCOPE_PREFIX: &str = "cresset:";
/// The claim that bounds the models.
const MODELS: &str = "cresset_models";
/// Clocks of two machines may differ by so much.
const LEEWAY_MICROS: i64 = 60_000_000;
/// Seconds since 1970 that can be microseconds.
const SECONDS_MAX: f64 = 9e12;
/// Before the digits of what cannot be a tenant's name.
const HASHED_TENANT: &str = "jwt-";
const HASHED_BYTES: usize = 16;

/// What a token must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtTerms {
    /// Its `iss`, to the letter.
    pub issuer: String,
    /// Among its `aud`.
    pub audience: String,
    /// The claim that has the tenant.
    pub tenant_claim: String,
}

/// The claims of a token whose signature is good.
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn read(text: &[u8]) -> Result<Self, JwtRefused> {
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|_| JwtRefused::Malformed("its claims are no JSON object"))
    }

    /// Its bearer as the record of a key, if the terms are met.
    pub(super) fn hold(&self, terms: &JwtTerms, now: Timestamp) -> Result<KeyRecord, JwtRefused> {
        let issuer = self.text("iss")?;
        if issuer != terms.issuer {
            return Err(JwtRefused::Issuer {
                is: cut(issuer, 200),
                wanted: terms.issuer.clone(),
            });
        }
        let audience = self.texts("aud")?.ok_or_else(|| missing("aud"))?;
        if !audience.contains(&terms.audience.as_str()) {
            return Err(JwtRefused::Audience {
                is: audience.iter().take(5).map(|one| cut(one, 200)).collect(),
                wanted: terms.audience.clone(),
            });
        }
        let expires = self.time("exp")?.ok_or_else(|| missing("exp"))?;
        if expires.as_micros().saturating_add(LEEWAY_MICROS) <= now.as_micros() {
            return Err(JwtRefused::Expired(expires));
        }
        if let Some(from) = self.time("nbf")?
            && from.as_micros().saturating_sub(LEEWAY_MICROS) > now.as_micros()
        {
            return Err(JwtRefused::Early(from));
        }
        let subject = self.text("sub")?;
        Ok(KeyRecord {
            id: KeyId::derived(&hash(&[issuer, subject])),
            name: if is_name(subject) {
                cut(subject, NAME_MAX)
            } else {
                "bearer of a token".into()
            },
            tenant: tenant(self.text(&terms.tenant_claim)?),
            scopes: self.scopes()?,
            models: self.models()?,
            rate: None,
            max_open: None,
            created_at: now,
            expires_at: Some(expires),
            revoked_at: None,
            sha256: SecretHash::of(&[]),
        })
    }

    /// Those that are ours, of `scope` (RFC 8693: one text with spaces) or `scp` (what some providers write).
    fn scopes(&self) -> Result<Scopes, JwtRefused> {
        let name = if self.0.contains_key("scope") {
            "scope"
        } else {
            "scp"
        };
        let given = self.texts(name)?.unwrap_or_default();
        let ours = given
            .iter()
            .flat_map(|text| text.split_ascii_whitespace())
            .filter_map(|scope| scope.strip_prefix(SCOPE_PREFIX));
        // One that is not known is not refused: an issuer may be ahead of this server.
        Ok(Scopes(
            ours.filter_map(|scope| scope.parse::<Scope>().ok()).collect(),
        ))
    }

    fn models(&self) -> Result<Option<Vec<ModelName>>, JwtRefused> {
        let Some(names) = self.texts(MODELS)? else {
            return Ok(None);
        };
        let models: Result<Vec<_>, _> = names.iter().map(|name| name.parse()).collect();
        models
            .map(Some)
            .map_err(|_| JwtRefused::Claim(MODELS.into(), "has what is no model's name"))
    }

    fn text(&self, name: &str) -> Result<&str, JwtRefused> {
        match self.0.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            Some(_) => Err(JwtRefused::Claim(name.into(), "must be a text, and not empty")),
            None => Err(missing(name)),
        }
    }

    fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, JwtRefused> {
        let wrong = || JwtRefused::Claim(name.into(), "must be a text or an array of texts");
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(values)) => {
                let texts: Option<Vec<_>> = values.iter().map(Value::as_str).collect();
                texts.map(Some).ok_or_else(wrong)
            }
            Some(_) => Err(wrong()),
        }
    }

    /// RFC 7519, section 2: seconds since 1970, perhaps with a fraction.
    fn time(&self, name: &str) -> Result<Option<Timestamp>, JwtRefused> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let seconds = value.as_f64().filter(|seconds| seconds.abs() <= SECONDS_MAX);
        let seconds =
            seconds.ok_or_else(|| JwtRefused::Claim(name.into(), "must be a time in seconds since 1970"))?;
        Ok(Some(Timestamp::from_micros((seconds * 1e6) as i64)))
    }
}

fn missing(name: &str) -> JwtRefused {
    JwtRefused::Claim(name.into(), "is not there")
}

/// The name itself, or digits of what cannot be one, always the same.
fn tenant(name: &str) -> Tenant {
    name.parse().unwrap_or_else(|_| {
        let digits = hex(&hash(&[name])[..HASHED_BYTES]);
        let tenant = format!("{HASHED_TENANT}{digits}").parse();
        tenant.expect("letters, `-` and 32 digits are a tenant's name")
    })
}

/// Of the parts with their lengths, so that no two lists of parts are one.
fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
