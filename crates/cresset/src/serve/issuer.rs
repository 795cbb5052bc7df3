//! The public keys of the identity provider whose tokens are taken: read at the start, and kept fresh.
//!
//! Keys that cannot be read change nothing: those of before stay, and the log says why. Before the first reading no token can be
//! checked, and whoever sends one is told to come again; API keys work all the same.

use std::sync::Arc;
use std::time::Duration;

use cresset_config::{Jwt, KeySet};
use cresset_keys::{Issuer, JWKS_BYTES_MAX, Jwks, JwtTerms};
use reqwest::{Client, redirect};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;
use tokio_rustls::rustls::crypto::ring;
use tokio_util::sync::CancellationToken;

/// A file is looked at so often, and so soon a token that names an unknown key is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An address is asked so often: providers announce new keys hours before they sign by them.
const ASK_EVERY: Duration = Duration::from_secs(300);
/// And for tokens that name an unknown key no more often than this, as anybody can send such.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// After a failure: at first, and then twice as long each time, up to `ASK_EVERY`.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// A provider that takes longer is down.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// The issuer that the settings name; its keys are not known yet.
pub(super) fn of(jwt: &Jwt) -> Option<Arc<Issuer>> {
    let (Some(_), Some(issuer), Some(audience)) = (&jwt.keys, &jwt.issuer, &jwt.audience) else {
        // One without the others was refused with the settings.
        return None;
    };
    Some(Arc::new(Issuer::new(JwtTerms {
        issuer: issuer.clone(),
        audience: audience.clone(),
        tenant_claim: jwt.tenant.clone(),
    })))
}

/// Keeps the keys fresh until `stop`.
pub(super) async fn watch(issuer: Arc<Issuer>, set: KeySet, stop: CancellationToken) {
    let source = match Source::of(&set) {
        Ok(source) => source,
        Err(error) => {
            tracing::error!(%set, error, "the keys of the identity provider cannot be asked for");
            return;
        }
    };
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watch = Watch::new(issuer, set);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stop.cancelled() => return,
        }
        if !watch.is_due(source.is_cheap()) {
            continue;
        }
        tokio::select! {
            read = source.read() => watch.take(read),
            () = stop.cancelled() => return,
        }
    }
}

/// What was read last, and when to read next.
struct Watch {
    issuer: Arc<Issuer>,
    set: KeySet,
    text: Vec<u8>,
    read_at: Option<Instant>,
    /// After the last reading.
    wait: Duration,
    failed: Option<String>,
}

impl Watch {
    fn new(issuer: Arc<Issuer>, set: KeySet) -> Self {
        Self {
            issuer,
            set,
            text: Vec::new(),
            read_at: None,
            wait: RETRY_FIRST,
            failed: None,
        }
    }

    fn is_due(&self, is_cheap: bool) -> bool {
        let Some(at) = self.read_at else {
            return true;
        };
        let since = at.elapsed();
        is_cheap || since >= self.wait || (since >= ASK_AGAIN && self.issuer.wants_keys())
    }

    fn take(&mut self, read: Result<Vec<u8>, String>) {
        self.read_at = Some(Instant::now());
        let parsed = read.and_then(|text| match text == self.text {
            true => Ok(None),
            false => match Jwks::parse(&text) {
                Ok(keys) => Ok(Some((text, keys))),
                Err(error) => Err(error.to_string()),
            },
        });
        match parsed {
            Ok(news) => {
                self.wait = ASK_EVERY;
                self.failed = None;
                if let Some((text, keys)) = news {
                    tracing::info!(set = %self.set, keys = keys.count(), "tokens of the identity provider are taken");
                    self.issuer.set_keys(keys);
                    self.text = text;
                }
            }
            Err(error) => {
                self.wait = match self.failed {
                    None => RETRY_FIRST,
                    Some(_) => (self.wait * 2).min(ASK_EVERY),
                };
                // Once for each thing that is wrong, not every second.
                if self.failed.as_ref() != Some(&error) {
                    let before = !self.text.is_empty();
                    tracing::error!(set = %self.set, error, keys_of_before = before, "the keys of the identity provider cannot be read");
                    self.failed = Some(error);
                }
            }
        }
    }
}

/// Where the keys come from.
enum Source {
    File(std::path::PathBuf),
    Url(Client, String),
}

impl Source {
    fn of(set: &KeySet) -> Result<Self, String> {
        let url = match set {
            KeySet::File(path) => return Ok(Self::File(path.clone())),
            KeySet::Url(url) => url,
        };
        // The only one there is; an error says that it has been said before.
        let _said = ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("cresset/", env!("CARGO_PKG_VERSION")))
            .timeout(ASK_TIMEOUT)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self::Url(client, url.clone()))
    }

    fn is_cheap(&self) -> bool {
        matches!(self, Self::File(_))
    }

    async fn read(&self) -> Result<Vec<u8>, String> {
        // One byte more than is taken: what is too long is told from what just fits.
        let most = JWKS_BYTES_MAX + 1;
        match self {
            Self::File(path) => {
                let file = tokio::fs::File::open(path)
                    .await
                    .map_err(|error| error.to_string())?;
                let mut text = Vec::new();
                let read = file.take(most as u64).read_to_end(&mut text).await;
                read.map(|_| text).map_err(|error| error.to_string())
            }
            Self::Url(client, url) => {
                let told = |error: reqwest::Error| {
                    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                    format!("{}{}", error.without_url(), source.unwrap_or_default())
                };
                let mut answer = client.get(url).send().await.map_err(told)?;
                if answer.status() != reqwest::StatusCode::OK {
                    return Err(format!("it answers {}", answer.status()));
                }
                let mut text = Vec::new();
                while let Some(chunk) = answer.chunk().await.map_err(told)? {
                    text.extend_from_slice(&chunk);
                    if text.len() >= most {
                        break;
                    }
                }
                Ok(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn watch() -> Watch {
        let jwt = Jwt {
            keys: Some(KeySet::Url("https://id.example.com/keys".into())),
            issuer: Some("https://id.example.com/".into()),
            audience: Some("cresset".into()),
            ..Jwt::default()
        };
        Watch::new(of(&jwt).unwrap(), jwt.keys.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_asked_seldom_sooner_for_an_unknown_key_and_less_and_less_often_while_it_fails() {
        let mut watch = watch();
        assert!(watch.is_due(false), "at the start");
        watch.take(Ok(SET.to_vec()));
        assert!(!watch.is_due(false) && watch.is_due(true));
        let unknown = "eyJhbGciOiJFZERTQSIsImtpZCI6ImIifQ.e30.AA";
        let ask = |watch: &Watch| {
            let found = watch.issuer.find(unknown, cresset_task::Timestamp::now());
            assert!(found.is_err());
        };
        ask(&watch);
        assert!(!watch.is_due(false), "not at once");
        tokio::time::advance(ASK_AGAIN).await;
        assert!(watch.is_due(false));
        assert!(!watch.is_due(false), "nobody asks any more");
        tokio::time::advance(ASK_EVERY - ASK_AGAIN).await;
        assert!(watch.is_due(false));
        let mut waits = Vec::new();
        for _ in 0..9 {
            watch.take(Err("down".into()));
            waits.push(watch.wait.as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300]);
        watch.take(Ok(SET.to_vec()));
        assert_eq!(watch.wait, ASK_EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_that_cannot_be_read_leaves_the_keys_of_before() {
        let mut watch = watch();
        watch.take(Ok(SET.to_vec()));
        let known = "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.e30.AA";
        for bad in [Ok(b"{".to_vec()), Ok(Vec::new()), Err("gone".to_owned())] {
            watch.take(bad);
            let refused = watch.issuer.find(known, cresset_task::Timestamp::now());
            assert_eq!(refused.unwrap_err(), cresset_keys::JwtRefused::Signature);
        }
    }
}
