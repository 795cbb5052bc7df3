//! `GET /v1/ws`: the handshake of a WebSocket (RFC 6455). What is spoken afterwards is in `session`, once the connection has been
//! handed over: a handler cannot have it before its answer is out, so the answer carries a [`Handover`] to `connection`.

mod asks;
mod inner;
mod session;
mod tells;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use cresset_task::Code;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_util::sync::CancellationToken;

use crate::answer::with_header;
use crate::app::App;
use crate::auth::Pass;
use crate::browser;
use crate::problem::{Answer, Problem};
use crate::query;
use crate::ws::inner::Inner;

/// The name of the messages, for callers who ask by name. Another version of them gets another name.
const PROTOCOL: &str = "cresset.v1";
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: &str = "websocket";

/// Submit and follow many tasks on one connection.
///
/// A WebSocket; each message is a JSON object in a text frame. [The messages](websocket.md) are `submit`, `subscribe`, `unsubscribe`
/// and `cancel` from the caller, and `hello`, `reply`, `status` and `unsubscribed` from the server. They are what this API does over
/// HTTP, under the same limits. `Sec-WebSocket-Protocol: cresset.v1` names them; another name is refused.
///
/// A browser cannot send `Authorization` when it opens a WebSocket: a page offers `cresset.v1` and `cresset.key.` with its key behind,
/// `new WebSocket(url, ["cresset.v1", "cresset.key.crs_..."])`.
///
/// A page of another site is refused (`Origin`) unless `server.cors_origins` has it, as browsers do not ask before they open a WebSocket.
#[utoipa::path(
    get,
    path = "/v1/ws",
    operation_id = "webSocket",
    tag = "tasks",
    params(
        ("Upgrade" = String, Header, description = "`websocket`", example = "websocket"),
        ("Connection" = String, Header, description = "`upgrade`", example = "upgrade"),
        ("Sec-WebSocket-Version" = String, Header, description = "`13`", example = "13"),
        ("Sec-WebSocket-Key" = String, Header, description = "16 bytes in base64", example = "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`cresset.v1`, if any", example = "cresset.v1")
    ),
    responses((status = 101, description = "From here on it is a WebSocket"))
)]
pub(crate) async fn open(State(app): State<App>, request: Request) -> Answer {
    query::none(request.uri())?;
    let (parts, body) = request.into_parts();
    check_origin(&app, &parts)?;
    let protocol = protocol(&parts.headers)?;
    let mut response = switch(Request::from_parts(parts.clone(), body))?;
    if let Some(protocol) = protocol {
        response = with_header(response, header::SEC_WEBSOCKET_PROTOCOL, protocol.into());
    }
    response.extensions_mut().insert(Handover {
        app,
        parts: Arc::new(parts),
    });
    Ok(response)
}

/// What a connection needs to go on as a WebSocket.
#[derive(Clone)]
pub(crate) struct Handover {
    app: App,
    parts: Arc<Parts>,
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold secrets.
        f.write_str("Handover")
    }
}

impl Handover {
    /// Speaks WebSocket to the end of the connection. `ahead` has come already; `router` answers what is asked.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        stream: S,
        ahead: Bytes,
        router: Router,
        stop: CancellationToken,
    ) {
        let inner = Inner::new(router, &self.parts);
        let pass = Pass::of(&self.parts.extensions);
        session::run(self.app, stream, ahead, inner, pass, stop).await;
    }
}

/// 101, or what is missing for it.
fn switch(request: Request) -> Answer {
    let asked = request.headers().get(header::UPGRADE);
    let wants = asked.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
    let version = request.headers().get(header::SEC_WEBSOCKET_VERSION);
    if !wants || version != Some(&VERSION) {
        let problem = Problem::new(
            Code::UpgradeRequired,
            "this path speaks WebSocket, version 13: send `Upgrade: websocket`, `Connection: upgrade`, \
             `Sec-WebSocket-Version: 13` and a `Sec-WebSocket-Key`",
        );
        let response = with_header(problem.into_response(), header::UPGRADE, WEBSOCKET.into());
        return Ok(with_header(response, header::SEC_WEBSOCKET_VERSION, "13".into()));
    }
    create_response_with_body(&request.map(|_| ()), || ())
        .map(|response| response.map(|()| Body::empty()))
        .map_err(|error| {
            Problem::new(
                Code::MalformedRequest,
                format!("no WebSocket can be opened: {error}"),
            )
        })
}

/// Browsers let any page open a WebSocket to anywhere, with the user's cookies and from within the user's network, and say which
/// page it was.
fn check_origin(app: &App, parts: &Parts) -> Result<(), Problem> {
    let Some(origin) = parts.headers.get(header::ORIGIN) else {
        return Ok(()); // no browser
    };
    if browser::allows(app, origin) {
        return Ok(());
    }
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let origin = origin.to_str().unwrap_or("(not text)");
    let same = match (origin.split_once("://"), host) {
        (Some((scheme, site)), Some(host)) => is_same(scheme, site, host),
        _ => false,
    };
    if same {
        return Ok(());
    }
    Err(Problem::new(
        Code::ForeignOrigin,
        format!(
            "a page of `{}` may not open a WebSocket here, only pages of this host and of `server.cors_origins`",
            query::cut(origin)
        ),
    ))
}

/// Whether a page's site is this host. A proxy may leave out the port that goes without saying.
fn is_same(scheme: &str, site: &str, host: &str) -> bool {
    let (Ok(site), Ok(host)) = (site.parse::<Authority>(), host.parse::<Authority>()) else {
        return false;
    };
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    site.host().eq_ignore_ascii_case(host.host())
        && site.port_u16().unwrap_or(usual) == host.port_u16().unwrap_or(usual)
}

/// The name to agree on, if names were offered.
fn protocol(headers: &HeaderMap) -> Result<Option<&'static str>, Problem> {
    let mut offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .peekable();
    if offered.peek().is_none() {
        return Ok(None);
    }
    if offered.any(|name| name == PROTOCOL) {
        return Ok(Some(PROTOCOL));
    }
    Err(Problem::new(
        Code::MalformedRequest,
        format!(
            "none of the offered `Sec-WebSocket-Protocol` is spoken here; `{PROTOCOL}` is, also without the header"
        ),
    ))
}

/// Headers that belong to the connection or to its handshake, and not to what is asked on it.
fn is_of_the_handshake(name: &HeaderName) -> bool {
    const OWN: [HeaderName; 12] = [
        header::CONNECTION,
        header::UPGRADE,
        header::ORIGIN,
        header::EXPECT,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        HeaderName::from_static("prefer"),
        HeaderName::from_static("x-request-id"),
    ];
    OWN.contains(name) || name.as_str().starts_with("sec-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_this_host_is_told_from_others() {
        for (scheme, site, host, same) in [
            ("http", "a.example:8700", "a.example:8700", true),
            ("http", "A.example", "a.example:80", true),
            ("https", "a.example", "a.example:443", true),
            ("https", "a.example", "a.example", true),
            ("http", "[::1]:8700", "[::1]:8700", true),
            ("http", "a.example", "a.example:8700", false),
            ("http", "b.example", "a.example", false),
            ("http", "a.example.b", "a.example", false),
            ("file", "a.example", "a.example", false),
            ("http", "", "a.example", false),
        ] {
            assert_eq!(is_same(scheme, site, host), same, "{scheme}://{site} at {host}");
        }
    }

    #[test]
    fn what_was_said_for_the_handshake_is_not_said_again() {
        for (name, own) in [
            ("sec-websocket-key", true),
            ("upgrade", true),
            ("content-length", true),
            ("authorization", false),
            ("x-forwarded-for", false),
        ] {
            assert_eq!(is_of_the_handshake(&name.parse().unwrap()), own, "{name}");
        }
    }
}
