//! The API key that requests carry. Nothing shows it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use reqwest::header::HeaderValue;

use crate::exit::{Exit, Trouble};

/// A key as it was given. Any text is taken: a message that says what is wrong with it would show it.
#[derive(Clone)]
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// The header that carries it.
    pub(crate) fn header(&self) -> Result<HeaderValue, Trouble> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0.trim())).map_err(|_| {
            Trouble::new(Exit::USAGE, "the API key has characters that no key has")
                .hint("give it as `cresset keys create` printed it")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl FromStr for ApiKey {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_it() {
        let key: ApiKey = "crs_secret\n".parse().unwrap();
        let header = key.header().unwrap();
        assert_eq!(header.as_bytes(), b"Bearer crs_secret");
        assert!(!format!("{key:?} {header:?}").contains("secret"));
        let odd: ApiKey = "crs_\u{0}secret".parse().unwrap();
        assert!(!odd.header().unwrap_err().to_string().contains("secret"));
    }
}
