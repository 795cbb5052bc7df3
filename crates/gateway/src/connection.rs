//! One connection, from the first byte of its first request to its end.

mod again;
mod line;
mod lobby;
mod socket;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use cresset_engine::Engine;
use cresset_task::Code;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::again::Again;
pub(crate) use self::line::Patience;
use self::line::{Ending, GivenUp, Line, Phase};
pub(crate) use self::lobby::{Guest, Lobby, turn_away};
use self::socket::NoTls;
pub(crate) use self::socket::{Raw, Socket};
use crate::answers::Share;
use crate::client::{InTls, Peer};
use crate::duration;
use crate::problem::Problem;
use crate::ws::Handover;

/// How long the end of a connection may take: in TLS it has words of its own.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// What all connections of one entrance have in common. Cheap to clone.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) http: http1::Builder,
    pub(crate) router: Router,
    pub(crate) patience: Patience,
    pub(crate) engine: Engine,
    /// For those who come in TLS.
    pub(crate) tls: Option<TlsAcceptor>,
}

impl House {
    /// Serves one connection to its end, and gives its place back then. The tokens are this connection's own, so that polling
    /// them contends with nobody.
    pub(crate) async fn serve(
        self,
        stream: Raw,
        _guest: Guest,
        peer: Option<Peer>,
        stop: CancellationToken,
        cut: CancellationToken,
    ) {
        if let Err(error) = stream.at_once() {
            tracing::debug!(%error, "a connection ended as it began");
            return;
        }
        let stream = match self.tls.clone() {
            None => stream.plain(),
            Some(acceptor) => {
                // Nothing has been asked for yet, so nothing is lost when it is dropped.
                let stream = tokio::select! {
                    stream = self.shake_hands(stream, acceptor) => stream,
                    () = stop.cancelled() => return,
                };
                let Some(stream) = stream else { return };
                stream
            }
        };
        let phase = Phase::default();
        let service = Answering {
            router: TowerToHyperService::new(self.router.clone()),
            peer,
            is_tls: self.tls.is_some(),
            phase: phase.clone(),
        };
        let witness = Witness {
            engine: self.engine,
            patience: self.patience,
        };
        let line = Line::new(stream, phase, self.patience, witness);
        let mut connection = self.http.serve_connection(TokioIo::new(line), service);
        let mut again = Again::default();
        // Its writing side is left open: bytes that are no request are answered here, hyper has no words for them.
        let ended = tokio::select! {
            ended = poll_fn(|cx| again.poll(cx, |cx| connection.poll_without_shutdown(cx))) => ended,
            () = stop.cancelled() => {
                Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    ended = poll_fn(|cx| again.poll(cx, |cx| connection.poll_without_shutdown(cx))) => ended,
                    () = cut.cancelled() => return,
                }
            }
        };
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        let mut line = io.into_inner();
        if let Some(handover) = line.handed_over() {
            // Who speaks before it was answered must not (RFC 6455, section 4.1), and keeps hyper from writing that answer.
            if !line.has_spoken() {
                tracing::debug!("a caller spoke WebSocket before its handshake was answered");
                return;
            }
            // From here on it may be silent for as long as it likes.
            tokio::select! {
                () = handover.run(line, read_buf, self.router, stop) => {}
                () = cut.cancelled() => {}
            }
            return;
        }
        if let Err(error) = ended {
            // Hang-ups, time-outs and bytes that are not HTTP: the caller's affair.
            tracing::debug!(%error, "a connection broke");
            if error.is_parse() && line.may_answer_head() {
                lobby::turn_away(line.into_stream(), bad_head(&error)).await;
                return;
            }
        }
        // It fails where the other side has gone already.
        let _gone = timeout(GOODBYE_MAX, line.shutdown()).await;
    }

    /// The stream in TLS; `None` when that comes to nothing, or not in the time for a head.
    async fn shake_hands(&self, stream: Raw, acceptor: TlsAcceptor) -> Option<Socket> {
        match timeout(self.patience.head, stream.in_tls(acceptor)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(NoTls::Broken(error))) => tracing::debug!(%error, "TLS was not agreed on"),
            Ok(Err(NoTls::Plain(stream))) => {
                let why = "this port speaks TLS: ask for https, not http";
                turn_away(stream, Problem::new(Code::MalformedRequest, why)).await;
            }
            Err(_) => tracing::debug!("TLS was not agreed on in time"),
        }
        self.engine
            .metrics()
            .connection_given_up(GivenUp::Handshake.name());
        None
    }
}

/// What cannot be read as the head of a request, in the words of who tried.
fn bad_head(error: &hyper::Error) -> Problem {
    if error.is_parse_too_large() {
        return Problem::new(
            Code::HeadTooLarge,
            "the request line and the headers are too large, or too many",
        );
    }
    Problem::new(Code::MalformedRequest, error.to_string())
}

/// Counts the connections that are given up, and has the words for a slow head.
struct Witness {
    engine: Engine,
    patience: Patience,
}

impl Ending for Witness {
    fn given_up(&mut self, why: GivenUp) {
        self.engine.metrics().connection_given_up(why.name());
    }

    fn too_slow(&mut self) -> Vec<u8> {
        let limit = duration::show(self.patience.head);
        Problem::new(
            Code::RequestTimeout,
            format!(
                "the head of a request must be there within {limit} of its first byte (`server.head_timeout`)"
            ),
        )
        .whole_answer()
    }
}

/// What answers the requests of one connection.
struct Answering {
    router: TowerToHyperService<Router>,
    /// Told to whoever tells clients apart.
    peer: Option<Peer>,
    is_tls: bool,
    phase: Phase,
}

type Routed = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

impl Service<Request<Incoming>> for Answering {
    type Response = Response<Given>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        self.phase.asked();
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        if self.is_tls {
            request.extensions_mut().insert(InTls);
        }
        Answer {
            routed: self.router.call(request),
            phase: self.phase.clone(),
        }
    }
}

/// An answer on its way out of the router.
struct Answer {
    routed: Routed,
    phase: Phase,
}

impl Future for Answer {
    type Output = Result<Response<Given>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.routed).poll(cx));
        let phase = self.phase.clone();
        Poll::Ready(answer.map(|mut answer| {
            if let Some(share) = answer.extensions_mut().remove::<Share>() {
                phase.hold(share);
            }
            if let Some(handover) = answer.extensions_mut().remove::<Handover>() {
                phase.hand_over(handover);
            }
            answer.map(|body| Given { body, phase })
        }))
    }
}

/// A body that tells when it has been given away.
struct Given {
    body: Body,
    phase: Phase,
}

impl HttpBody for Given {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.phase.answered();
    }
}
