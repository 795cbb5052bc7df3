//! An issuer's public keys (JSON Web Key Set, RFC 7517), and signatures held against them. Ciphers are `ring`'s.
//!
//! Keys of a kind or use that is not for signing, and those that cannot be read, are passed over: a set has keys for others too. No
//! secret is a key here: whoever could check a token by one could make it too.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature;
use serde::Deserialize;

use super::refused::JwtRefused;

/// The largest set that is read. That of a large provider has 5 KiB.
pub const JWKS_BYTES_MAX: usize = 256 << 10;
/// Keys of one set, at most.
const KEYS_MAX: usize = 100;
/// RSA keys of fewer bits than 2048 are no longer safe; ring refuses those with more than 8192.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The keys of an issuer; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwks(Vec<SigningKey>);

/// Why a text is no set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It is not that form.
    #[error("it is no JSON Web Key Set: {0}")]
    Form(String),
    /// It is too large.
    #[error("it has more than {KEYS_MAX} keys or {JWKS_BYTES_MAX} bytes")]
    Large,
    /// Nothing can be checked by it.
    #[error(
        "none of its {0} keys is for signatures that are taken (RSA of 2048 to 8192 bits, P-256, P-384, Ed25519)"
    )]
    Empty(usize),
}

/// One key that signatures are held against.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SigningKey {
    kid: Option<String>,
    /// The one algorithm that it is for, where the set says one.
    alg: Option<String>,
    public: Public,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key, and how a token is signed by it.
pub(super) struct Check<'a> {
    key: &'a SigningKey,
    alg: Algorithm,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Rsa(&'static signature::RsaParameters),
    P256,
    P384,
    Ed25519,
}

impl Algorithm {
    /// RFC 7518, section 3.1, and RFC 8037, but for `none` and those by a shared secret.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            "PS384" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            "PS512" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            "ES256" => Self::P256,
            "ES384" => Self::P384,
            "EdDSA" | "Ed25519" => Self::Ed25519,
            _ => return None,
        })
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Reads a set.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > JWKS_BYTES_MAX {
            return Err(JwksError::Large);
        }
        let set: Set = serde_json::from_slice(text).map_err(|error| JwksError::Form(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(JwksError::Large);
        }
        let count = set.keys.len();
        let entries = set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<_> = entries.filter_map(SigningKey::of).collect();
        match keys.is_empty() {
            true => Err(JwksError::Empty(count)),
            false => Ok(Self(keys)),
        }
    }

    /// How many keys signatures are held against.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The key for a token: the one that it names, or the only one of its algorithm. Never several: each would cost a check.
    pub(super) fn find(&self, alg: &str, kid: Option<&str>) -> Result<Check<'_>, JwtRefused> {
        let refuse = || JwtRefused::Algorithm(crate::record::cut(alg, 20));
        let algorithm = Algorithm::named(alg).ok_or_else(refuse)?;
        let mut fit = self.0.iter().filter(|key| {
            let named = kid.is_none() || key.kid.as_deref() == kid;
            named && key.is_for(algorithm) && key.alg.as_deref().is_none_or(|only| only == alg)
        });
        match (fit.next(), fit.next(), kid) {
            (Some(key), None, _) => Ok(Check { key, alg: algorithm }),
            (None, _, Some(kid)) => Err(JwtRefused::UnknownKey(format!(
                "none for {alg} has the `kid` {:?}",
                crate::record::cut(kid, 80)
            ))),
            (None, _, None) => Err(JwtRefused::UnknownKey(format!("none is for {alg}"))),
            (Some(_), Some(_), _) => Err(JwtRefused::UnknownKey(format!(
                "several are for {alg}, and its `kid` does not tell which"
            ))),
        }
    }
}

impl SigningKey {
    fn of(entry: Entry) -> Option<Self> {
        if entry.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let public = match (entry.kty.as_str(), entry.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(entry.n?)?, number(entry.e?)?);
                RSA_BYTES.contains(&n.len()).then_some(Public::Rsa { n, e })?
            }
            ("EC", Some("P-256")) => Public::P256(point(entry.x?, entry.y?, 32)?),
            ("EC", Some("P-384")) => Public::P384(point(entry.x?, entry.y?, 48)?),
            ("OKP", Some("Ed25519")) => Public::Ed25519(bytes(&entry.x?).filter(|x| x.len() == 32)?),
            _ => return None,
        };
        Some(Self {
            kid: entry.kid,
            alg: entry.alg,
            public,
        })
    }

    fn is_for(&self, alg: Algorithm) -> bool {
        matches!(
            (&self.public, alg),
            (Public::Rsa { .. }, Algorithm::Rsa(_))
                | (Public::P256(_), Algorithm::P256)
                | (Public::P384(_), Algorithm::P384)
                | (Public::Ed25519(_), Algorithm::Ed25519)
        )
    }
}

impl Check<'_> {
    /// Whether the signature is by this key.
    pub(super) fn verify(&self, signed: &[u8], by: &[u8]) -> Result<(), JwtRefused> {
        let plain = |algorithm: &'static dyn signature::VerificationAlgorithm, public: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, public).verify(signed, by)
        };
        let verified = match (&self.key.public, self.alg) {
            (Public::Rsa { n, e }, Algorithm::Rsa(how)) => {
                signature::RsaPublicKeyComponents { n, e }.verify(how, signed, by)
            }
            (Public::P256(point), Algorithm::P256) => plain(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Public::P384(point), Algorithm::P384) => plain(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Public::Ed25519(key), Algorithm::Ed25519) => plain(&signature::ED25519, key),
            _ => return Err(JwtRefused::Signature),
        };
        verified.map_err(|ring::error::Unspecified| JwtRefused::Signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.kid)
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Without leading zeros, which some issuers write and ring does not take.
fn number(text: String) -> Option<Vec<u8>> {
    let all = bytes(&text)?;
    let first = all.iter().position(|byte| *byte != 0)?;
    Some(all[first..].to_vec())
}

fn point(x: String, y: String, size: usize) -> Option<Vec<u8>> {
    let (x, y) = (bytes(&x)?, bytes(&y)?);
    (x.len() == size && y.len() == size).then(|| [&[4], &x[..], &y[..]].concat())
}
