//! The keys of signatures, and signing: HMAC-SHA256 over `id.timestamp.body`, as Standard Webhooks has it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Shorter keys can be guessed, longer ones add nothing.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets at once: the new and the old one while they are exchanged, with room to spare.
pub const SECRETS_MAX: usize = 8;

/// A key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// This is no secret. What was given is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// It begins otherwise.
    #[error("a secret begins with `whsec_`")]
    Prefix,
    /// What follows is not base64.
    #[error("what follows `whsec_` in a secret is base64")]
    Base64,
    /// It is too short, or too long.
    #[error(
        "a secret is 24 to 64 bytes in base64 behind `whsec_`, this one is {0}; `openssl rand -base64 32` makes one"
    )]
    Length(usize),
    /// There are too many.
    #[error("there may be {SECRETS_MAX} secrets at once")]
    TooMany,
    /// The same twice.
    #[error("the same secret is given twice")]
    Twice,
}

impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let key = text.strip_prefix(PREFIX).ok_or(BadSecret::Prefix)?;
        let key = STANDARD.decode(key).map_err(|_| BadSecret::Base64)?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(BadSecret::Length(key.len()));
        }
        Ok(Self(key))
    }
}

impl Secret {
    /// The signature of a message: `v1,` and base64.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        // A key of any length is taken, so this is never the error.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new();
        };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The secrets that sign now, never none: more than one while an old one is exchanged for a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<Secret>);

impl Keys {
    /// The secrets in a text, parted by white space or commas; what follows a `#` in a line is not read. `None` when there
    /// are none.
    pub fn read(text: &str) -> Result<Option<Self>, BadSecret> {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || c == ','));
        let mut secrets: Vec<Secret> = Vec::new();
        for word in words.filter(|word| !word.is_empty()) {
            let secret = word.parse()?;
            if secrets.contains(&secret) {
                return Err(BadSecret::Twice);
            }
            secrets.push(secret);
        }
        if secrets.len() > SECRETS_MAX {
            return Err(BadSecret::TooMany);
        }
        Ok((!secrets.is_empty()).then_some(Self(secrets)))
    }

    /// The header: one signature for each secret, so that a receiver that has any of them can check it.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signatures: Vec<String> = self.0.iter().map(|s| s.sign(id, timestamp, body)).collect();
        signatures.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example that the specification's own libraries are tested with.
    #[test]
    fn a_signature_is_that_of_the_published_example() {
        let secret: Secret = SECRET.parse().unwrap();
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs_while_they_are_exchanged() {
        let new = format!("whsec_{}", STANDARD.encode([7; 32]));
        let keys = Keys::read(&format!("# the new one first\n{new} {SECRET},\n\n"))
            .unwrap()
            .unwrap();
        let both = keys.sign("evt", 1, b"{}");
        let each = [new.as_str(), SECRET].map(|s| s.parse::<Secret>().unwrap().sign("evt", 1, b"{}"));
        assert_eq!(both, each.join(" "));
        assert!(!format!("{keys:?}").contains("MfKQ"));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        assert_eq!(Keys::read(" \n# none\n"), Ok(None));
        assert_eq!(Keys::read("hunter2"), Err(BadSecret::Prefix));
        assert_eq!(Keys::read("whsec_%%%"), Err(BadSecret::Base64));
        assert_eq!(Keys::read("whsec_c2hvcnQ="), Err(BadSecret::Length(5)));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        assert_eq!(Keys::read(&long), Err(BadSecret::Length(65)));
        assert_eq!(Keys::read(&format!("{SECRET} {SECRET}")), Err(BadSecret::Twice));
        let many: Vec<_> = (0..9)
            .map(|n| format!("whsec_{}", STANDARD.encode([n; 24])))
            .collect();
        assert_eq!(Keys::read(&many.join("\n")), Err(BadSecret::TooMany));
    }
}
