//! Tokens as anybody may send them, held to what their reader promises: for fuzz/targets. Not compiled into a server.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cresset_task::Timestamp;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::{Issuer, Jwks, JwtTerms};

const ISSUER: &str = "i";
const NOW_MICROS: i64 = 1_800_000_000_000_000;

struct Office {
    pair: Ed25519KeyPair,
    issuer: Issuer,
}

/// The same in every run, so that a corpus means the same.
static OFFICE: LazyLock<Office> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("any 32 bytes are a seed");
    let issuer = Issuer::new(JwtTerms {
        issuer: ISSUER.into(),
        audience: "a".into(),
        tenant_claim: "org".into(),
    });
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}]}}"#);
    issuer.set_keys(Jwks::parse(set.as_bytes()).expect("a set of one key"));
    Office { pair, issuer }
});

/// A letter for what it is, then its bytes: `t` a token as it comes, `k` a set of keys, `c` claims that the issuer has signed, `h` a header
/// that it has. What opens was meant to.
pub fn token(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    let office = &*OFFICE;
    let now = Timestamp::from_micros(NOW_MICROS);
    match what {
        b't' => {
            if let Ok(text) = std::str::from_utf8(rest) {
                assert!(office.issuer.find(text, now).is_err(), "nobody signed it");
            }
        }
        b'k' => {
            if let Ok(keys) = Jwks::parse(rest) {
                assert!(keys.count() > 0);
            }
        }
        b'h' => {
            let _refused_or_not = office.issuer.find(&office.signed(rest, br#"{"iss":"i"}"#), now);
        }
        _ => {
            let token = office.signed(br#"{"alg":"EdDSA"}"#, rest);
            if let Ok(key) = office.issuer.find(&token, now) {
                assert!(key.record.expires_at.is_some());
                assert!(
                    key.record
                        .models
                        .iter()
                        .flatten()
                        .all(|name| !name.as_str().is_empty())
                );
                assert!(key.record.tenant.as_str().len() <= 64);
            }
        }
    }
}

impl Office {
    fn signed(&self, header: &[u8], claims: &[u8]) -> String {
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        format!(
            "{text}.{}",
            URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes()))
        )
    }
}
