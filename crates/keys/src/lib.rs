//! API keys: who may come in, what they may do, and whose their tasks are.
//!
//! ```text
//!   cresset keys create ---> KeyFile (locked, written aside, renamed)
//!                                |  looked at every second
//!   a request's token ---> Keyring (in memory): found by id, its secret's hash compared in constant time
//! ```
//!
//! A key is `crs_ID_SECRET`. The file has the id and the SHA-256 of the secret: 256 random bits need no slow hash, as nobody
//! can try them all. The secret is shown once, when the key is made, and is nowhere else: no type here shows it by `Debug`.
//!
//! Where an identity provider makes tokens instead (`jwt`), a token that it signed is as good as a key, and what it says of its bearer is
//! read as the record of one.
//!
//! What it must not do: know HTTP, or what a task is. `docs/decisions/0023-keys.md` has the why of the file.

mod file;
mod jwt;
mod pace;
mod record;
mod ring;
mod token;

pub use file::{KEYS_MAX, KeyFile, KeyFileError, LastUsed};
#[cfg(feature = "fuzzing")]
pub use jwt::fuzzing;
pub use jwt::{Issuer, JWKS_BYTES_MAX, JWT_BYTES_MAX, Jwks, JwksError, JwtRefused, JwtTerms};
pub use pace::Rate;
pub use record::{KeyRecord, NAME_MAX, Scope, Scopes, SecretHash};
pub use ring::{Key, Keyring, Refused};
pub use token::{KeyId, PREFIX, Token};
