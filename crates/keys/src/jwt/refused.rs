//! Why a token opens nothing.

use cresset_task::Timestamp;

/// Why a token opens nothing, in words for its bearer. They have nothing of the token but what its issuer has signed, and the name of
/// the key that it asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtRefused {
    /// It is no token, or none that is read here.
    #[error("this is no JSON Web Token that is taken here: {0}")]
    Malformed(&'static str),
    /// Its `alg` is none of those that are taken.
    #[error(
        "tokens signed by {0:?} are not taken; one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA is"
    )]
    Algorithm(String),
    /// No key of the issuer has this name, or the token names none and there are several.
    #[error("the issuer has no key for this token: {0}")]
    UnknownKey(String),
    /// Somebody else signed it, or it was changed since.
    #[error("the signature of this token is not the issuer's")]
    Signature,
    /// It is another issuer's.
    #[error("this token is of the issuer {is:?}; taken are those of {wanted:?}")]
    Issuer {
        /// What it says.
        is: String,
        /// What it should.
        wanted: String,
    },
    /// It is for somebody else.
    #[error("this token is for {is:?}; taken are those for {wanted:?} (`aud`)")]
    Audience {
        /// What it says.
        is: Vec<String>,
        /// What it should have.
        wanted: String,
    },
    /// Its time is over.
    #[error("this token was good until {0}")]
    Expired(Timestamp),
    /// Its time has not come.
    #[error("this token is good from {0} on")]
    Early(Timestamp),
    /// A claim is not there, or not what it should be.
    #[error("the claim `{0}` of this token {1}")]
    Claim(String, &'static str),
    /// The issuer's keys could not be read yet, so nothing can be said of any token.
    #[error("the issuer's keys could not be read yet, so no token can be checked")]
    NoKeysYet,
}
