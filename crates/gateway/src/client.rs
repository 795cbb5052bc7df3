//! Whose request it is, where clients are told apart: the API key that it carries, what a proxy says in a header, or the
//! address of the connection. Each gives a [`ClientKey`] here, and nothing below knows the difference.

use std::net::IpAddr;

use axum::extract::{MatchedPath, Request};
use axum::http::HeaderName;
use cresset_engine::Client;
use cresset_task::{CLIENT_NAME_MAX, ClientKey};

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::schema::FieldError;

/// What clients do; probes and documents are for everybody.
const COUNTED: &str = "/v1/";

/// How clients are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identify {
    /// They are not.
    #[default]
    Off,
    /// By the address of the connection.
    Address,
    /// By this header; without it by the address.
    Header(HeaderName),
}

/// The other end of a connection; among a request's extensions where clients are told apart. None is by the file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

/// Among a request's extensions where it came in TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InTls;

/// Begins the request for its client, if it has one that counts; the client goes with the request, to those who ask the
/// engine in its name.
pub(crate) fn enter(
    app: &App,
    request: &mut Request,
    route: Option<&MatchedPath>,
) -> Result<Option<Client>, Problem> {
    let caller = request.extensions().get::<Caller>();
    if (app.options.identify == Identify::Off && caller.is_none())
        || !route.is_some_and(|route| route.as_str().starts_with(COUNTED))
    {
        return Ok(None);
    }
    let (key, max_open) = match caller {
        Some(caller) => (caller.client(), caller.max_open()),
        None => (key(&app.options.identify, request)?, None),
    };
    let Some(key) = key else {
        return Ok(None);
    };
    let client = app.engine.enter(key, max_open)?;
    request.extensions_mut().insert(client.clone());
    Ok(Some(client))
}

fn key(identify: &Identify, request: &Request) -> Result<Option<ClientKey>, Problem> {
    if let Identify::Header(header) = identify {
        let mut given = request.headers().get_all(header).iter();
        match (given.next(), given.next()) {
            (None, _) => {}
            (Some(_), Some(_)) => return Err(wrong(header, "is there more than once; send one".into())),
            (Some(name), None) => {
                let name = name
                    .to_str()
                    .ok()
                    .and_then(|name| ClientKey::named(name.trim()).ok());
                let message =
                    || format!("is not a name; send 1 to {CLIENT_NAME_MAX} visible ASCII characters");
                return name.map(Some).ok_or_else(|| wrong(header, message()));
            }
        }
    }
    let peer = request.extensions().get::<Peer>();
    Ok(peer.and_then(|Peer(address)| address.map(ClientKey::address)))
}

fn wrong(header: &HeaderName, message: String) -> Problem {
    Problem::fields(vec![FieldError {
        field: header.to_string(),
        message,
    }])
}
