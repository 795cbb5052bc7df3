//! JSON Web Tokens (RFC 7519) of one issuer, taken where keys are taken: what a token must be, and what its bearer may then do.
//!
//! Only signatures that the issuer alone can make are taken (`jwks` has which); a token never chooses what it is checked by: its
//! `alg` must be that of the key. Nothing is looked up while a request waits: the issuer's keys are in memory, and [`Issuer::wants_keys`]
//! tells whoever keeps them fresh that a token named one that is not there.

mod claims;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod jwks;
mod refused;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cresset_task::Timestamp;
use serde::Deserialize;

use crate::ring::Key;
use claims::Claims;
pub use claims::JwtTerms;
pub use jwks::{JWKS_BYTES_MAX, Jwks, JwksError};
pub use refused::JwtRefused;

/// The longest token that is looked at. Those of large organisations, with groups in them, have some 4 KiB.
pub const JWT_BYTES_MAX: usize = 16 << 10;

/// Whose tokens are taken.
#[derive(Debug)]
pub struct Issuer {
    terms: JwtTerms,
    keys: ArcSwapOption<Jwks>,
    wants: AtomicBool,
}

/// The first part of a token. A name that is there twice is refused by serde.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
}

impl Issuer {
    /// An issuer whose keys are not known yet.
    #[must_use]
    pub fn new(terms: JwtTerms) -> Self {
        Self {
            terms,
            keys: ArcSwapOption::empty(),
            wants: AtomicBool::new(false),
        }
    }

    /// Its keys are these from now on.
    pub fn set_keys(&self, keys: Jwks) {
        self.keys.store(Some(Arc::new(keys)));
    }

    /// Whether a token has named a key that was not there, since this was asked last.
    pub fn wants_keys(&self) -> bool {
        self.wants.swap(false, Ordering::Relaxed)
    }

    /// Whether this text is meant as a token: three parts with dots between.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.bytes().filter(|b| *b == b'.').count() == 2
    }

    /// Who bears this token, as a key that lives as long as the request.
    pub fn find(&self, token: &str, now: Timestamp) -> Result<Arc<Key>, JwtRefused> {
        if token.len() > JWT_BYTES_MAX {
            return Err(JwtRefused::Malformed("it is longer than 16 KiB"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtRefused::Malformed(PARTS))?;
        let (header, claims) = signed.split_once('.').ok_or(JwtRefused::Malformed(PARTS))?;
        if claims.contains('.') {
            return Err(JwtRefused::Malformed(PARTS));
        }
        let header: Header = serde_json::from_slice(&decoded(header)?)
            .map_err(|_| JwtRefused::Malformed("its header is no JSON object with `alg`"))?;
        check(&header)?;
        let Some(keys) = self.keys.load_full() else {
            self.wants.store(true, Ordering::Relaxed);
            return Err(JwtRefused::NoKeysYet);
        };
        let key = keys
            .find(&header.alg, header.kid.as_deref())
            .inspect_err(|refused| {
                if matches!(refused, JwtRefused::UnknownKey(_)) {
                    self.wants.store(true, Ordering::Relaxed);
                }
            })?;
        key.verify(signed.as_bytes(), &decoded(signature)?)?;
        // Only of what the issuer has signed more is said.
        let claims = Claims::read(&decoded(claims)?)?;
        let record = claims.hold(&self.terms, now)?;
        Ok(Arc::new(Key::passing(record)))
    }
}

const PARTS: &str = "it is not three parts with dots between";

fn decoded(part: &str) -> Result<Vec<u8>, JwtRefused> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| JwtRefused::Malformed("a part of it is not base64url without padding"))
}

fn check(header: &Header) -> Result<(), JwtRefused> {
    if header.crit.is_some() {
        // RFC 7515, section 4.1.11: who does not know an extension must refuse.
        return Err(JwtRefused::Malformed(
            "it asks for extensions (`crit`), and none is known here",
        ));
    }
    let typ = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    match typ {
        // The second is that of access tokens, RFC 9068.
        "jwt" | "at+jwt" => Ok(()),
        _ => Err(JwtRefused::Malformed("its `typ` is neither `JWT` nor `at+jwt`")),
    }
}

#[cfg(test)]
mod tests;
