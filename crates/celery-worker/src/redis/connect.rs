//! Connections: made when they are needed, made again when they are lost.

use std::time::Duration;

use cresset_config::ServiceUrl;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError};

use crate::options::StartError;
use crate::transport::Trouble;

/// A server that does not take a connection by then is not there.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A server that does not answer by then is not well. A script over a large batch takes milliseconds.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Whoever asks tries again by itself.
const RECONNECTS: usize = 1;

/// A client for the address.
pub(crate) fn open(setting: &'static str, url: &ServiceUrl) -> Result<Client, StartError> {
    let refused = |why: String| StartError::Url {
        setting,
        url: url.to_string(),
        why,
    };
    let (address, query) = match url.reveal().split_once('?') {
        Some((address, query)) => (address, query),
        None => (url.reveal(), ""),
    };
    let verifies = |word: &str| matches!(word, "required" | "CERT_REQUIRED");
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("ssl_cert_reqs", word)) if verifies(word) => {}
            Some(("ssl_cert_reqs", _)) => {
                return Err(refused(
                    "TLS without checking the server's certificate is not offered".into(),
                ));
            }
            _ => return Err(refused("it has an option that is not known here".into())),
        }
    }
    if url.scheme() == "rediss" {
        // Only the first call has an effect; another one in this process has set the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    // The error may repeat the address, password and all.
    Client::open(address)
        .map_err(|error| refused(format!("it is not an address of Redis ({:?})", error.kind())))
}

/// A connection that is made with the first command.
pub(crate) fn manager(client: &Client) -> Result<ConnectionManager, RedisError> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(RECONNECTS)
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

/// An error of the broker's or the backend's.
pub(crate) fn trouble(service: &'static str) -> impl Fn(RedisError) -> Trouble {
    move |error| Trouble {
        service,
        why: error.to_string(),
    }
}
