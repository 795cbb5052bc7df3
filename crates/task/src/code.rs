//! The stable error codes, in one table: what a caller reads, and what HTTP and the command line make of it.
//!
//! A code is never renamed or reused. `docs/reference/errors.md` is generated from this table.

use std::fmt;
use std::str::FromStr;

macro_rules! codes {
    ($($variant:ident = $name:literal, $http:literal, $exit:literal, $title:literal, $cause:literal, $remedy:literal;)*) => {
        /// A stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $cause] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the reference page.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The HTTP status that carries it.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http),* }
            }

            /// The exit status of a command that ends with it (sysexits where one fits).
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit),* }
            }

            /// A short title, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// When it happens.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause),* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),* }
            }
        }
    };
}

codes! {
    // What the caller sent.
    MalformedRequest = "malformed_request", 400, 65, "This is not a request in HTTP/1.1",
        "What came is not the head of a request: another protocol (TLS, HTTP/2), or bytes that HTTP does not allow there.",
        "Speak HTTP/1.1 to this port, without TLS; `detail` says what was wrong.";
    HeadTooLarge = "head_too_large", 431, 65, "The head of the request is too large",
        "The request line and the headers are more than about 64 KiB, or more than 100 headers.",
        "Send fewer and shorter headers.";
    MalformedBody = "malformed_body", 400, 65, "The body cannot be read",
        "The body is not JSON, is cut short, or is not an object; or it is said to be a `.npy` or safetensors file and is none.",
        "Send one JSON object, or a whole file; `detail` says at which byte reading stopped.";
    Unauthorized = "unauthorized", 401, 77, "The request needs a key",
        "The server takes requests with an API key only (`[auth]`), and this one has none, or one that opens nothing: unknown, revoked, or past its time.",
        "Send `Authorization: Bearer crs_...` (`--key`, `CRESSET_KEY`, `Client(url, key=...)`); `cresset keys create` makes one.";
    Forbidden = "forbidden", 403, 77, "The key may not do this",
        "The key is good, and lacks the scope or the model that the request needs.",
        "Use a key that has what `detail` names.";
    BadQuery = "bad_query", 400, 64, "The query string cannot be read",
        "A query parameter is unknown or its value is out of range.",
        "`detail` names the parameter and what it may be.";
    InvalidInput = "invalid_input", 422, 65, "The input does not fit the model",
        "The body can be read, but a field is missing, unknown, or not what the model declares.",
        "`errors` names each field and what it should be; `GET /v1/models/{m}` gives the declaration.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, 65, "The idempotency key belongs to another submit",
        "The `Idempotency-Key` was used before for this model, with another input, priority or metadata; it is kept as long as its task.",
        "Send another key with every new submit; send an earlier one again exactly as it was.";
    UnsupportedMediaType = "unsupported_media_type", 415, 65, "The content type is not one we read",
        "The Content-Type of the body is not accepted here.",
        "Send `application/json`; tensor models also take `application/x-safetensors`, those with exactly one declared input `application/octet-stream` and `application/x-npy`.";
    NotAcceptable = "not_acceptable", 406, 64, "The result has no form that is accepted",
        "`Accept` asks for tensors as bytes, and the result is JSON, or has more tensors or other elements than the form takes.",
        "Accept `application/json` as well; `detail` says what the result is.";
    BodyTooLarge = "body_too_large", 413, 65, "The body is too large",
        "The body is larger than `limits.max_body_bytes`, or the input alone is more than a bound allows in all.",
        "Send less, or raise the limit; `detail` names it.";
    RequestTimeout = "request_timeout", 408, 75, "The request came too slowly",
        "Its head was not there within `server.head_timeout` of its first byte, or its body did not keep the pace of `server.min_rate` over `server.body_timeout`.",
        "Send it again, over a better line or in smaller pieces, or raise the limits in cresset.toml.";
    UnknownRoute = "unknown_route", 404, 64, "There is nothing at this path",
        "No route has this path.",
        "`/openapi.json` lists the routes.";
    MethodNotAllowed = "method_not_allowed", 405, 64, "The path does not take this method",
        "The path exists, the method does not.",
        "The `Allow` header lists the methods it takes.";
    UpgradeRequired = "upgrade_required", 426, 64, "The path speaks WebSocket",
        "The request to `/v1/ws` is no handshake of a WebSocket, or one of another version.",
        "Open it with a WebSocket client; `/v1/tasks/{id}/events` follows a task over plain HTTP.";
    ForeignOrigin = "foreign_origin", 403, 64, "Pages of another site may not do this",
        "A browser asked on behalf of a page that was not served from this host, and `server.cors_origins` does not have its origin.",
        "Serve the page and this API from one host, through one proxy, or name the page's origin there; programs send no `Origin`.";
    UnknownModel = "unknown_model", 404, 66, "There is no such model",
        "No model of this name is served.",
        "`GET /v1/models` lists them; `detail` gives the nearest name.";
    UnknownTask = "unknown_task", 404, 66, "There is no such task",
        "No task with this id was ever accepted here.",
        "Check the id; a submit that was not answered 202 made no task.";
    UnknownLetter = "unknown_letter", 404, 66, "There is no such dead letter",
        "No dead letter has this id: the task did not take its process down, or its letter was thrown away or has expired (`store.dead_ttl`).",
        "Check the id: a letter has the id of its task.";
    UnknownWebhook = "unknown_webhook", 404, 66, "There is no such webhook",
        "No webhook has this id: its task had no callback for the event, a later event took its place, or it was settled longer ago than `webhooks.retention`.",
        "`GET /v1/webhooks` lists them.";
    UnknownBatch = "unknown_batch", 404, 66, "There is no such batch",
        "No batch has this id, or all its tasks ended longer ago than results are kept (`results.ttl`), and it was forgotten with them.",
        "Check the id; `GET /v1/batches` lists them.";
    BatchCancelled = "batch_cancelled", 409, 1, "The batch was cancelled",
        "The batch was cancelled while its lines were still coming, or before they were sent again; it takes no more.",
        "Send the lines again under another `Idempotency-Key` if they are still wanted.";
    ExpiredTask = "expired_task", 410, 66, "The task and its result have expired",
        "The task ended longer ago than results are kept (`results.ttl`).",
        "Fetch results sooner, or raise `results.ttl`.";
    // What the server cannot do now.
    QueueFull = "queue_full", 429, 75, "The queue is full",
        "The model's queue has reached `limits.max_queue` tasks or `limits.max_queue_bytes`.",
        "Send it again after `Retry-After` seconds.";
    Overloaded = "overloaded", 429, 75, "Too many predictions are waiting",
        "The model has `limits.max_waiting` synchronous predictions waiting already.",
        "Send it again after `Retry-After` seconds, or submit a task instead.";
    ClientLimit = "client_limit", 429, 75, "This client has as much as it may have",
        "The client has as many tasks queued, predictions waiting or requests under way as `[clients]` in cresset.toml, or the key that it uses, allows one.",
        "Send it again after `Retry-After` seconds; `bound` says which bound was reached.";
    RateLimited = "rate_limited", 429, 75, "This key sends requests too fast",
        "The key has a rate, and this request came before its turn.",
        "Send it again after `Retry-After` seconds, or ask for a key with a higher rate.";
    OutboxFull = "outbox_full", 429, 75, "Too many webhooks wait",
        "The receiver of the callback, or all of them together, have more webhooks waiting than are kept: they are down, or too slow.",
        "Send it again after `Retry-After` seconds, or without `callback_url`; `GET /v1/webhooks?state=waiting` shows what is wrong with them.";
    ServerFull = "server_full", 503, 75, "The server holds as much as it may hold",
        "All models together have reached `limits.max_queue_total`, `limits.max_queue_bytes_total` or `limits.max_waiting_total`.",
        "Send it again after `Retry-After` seconds; `bound` says which bound was reached.";
    ServerBusy = "server_busy", 503, 75, "The server holds too many requests at once",
        "The request bodies being read or worked on weigh as much as the server allows together.",
        "Send it again after `Retry-After` seconds; send large bodies one after the other.";
    ModelUnavailable = "model_unavailable", 503, 69, "The model cannot serve now",
        "The model has no live instance: it is starting, or its instances fail to start or keep dying.",
        "`detail` gives the last failure; the server's log has all of it.";
    PredictTimeout = "predict_timeout", 504, 75, "The prediction took too long",
        "The prediction was not done within its time limit.",
        "Submit a task and fetch the result, or raise `limits.predict_timeout`.";
    IssuerUnavailable = "issuer_unavailable", 503, 75, "Tokens cannot be checked yet",
        "The server could not read the public keys of the identity provider (`auth.jwt_keys`) since it was started.",
        "Send it again after `Retry-After` seconds, or with an API key; the server's log says why the keys cannot be read.";
    NotSupported = "not_supported", 501, 69, "This server's task store cannot do that",
        "The store that the server was set up with lacks what the request needs; `detail` names both.",
        "Do without it, or serve from a store that has it: SQLite keeps batches.";
    ShuttingDown = "shutting_down", 503, 75, "The server is stopping",
        "The server has been told to stop and takes no new work.",
        "Send it again; accepted tasks are kept and go on after the restart.";
    StoreUnavailable = "store_unavailable", 503, 74, "The task store cannot be written",
        "The store refused a write: disk full, I/O error, or locked.",
        "Send it again after `Retry-After` seconds; nothing was accepted. `/health/ready` and the server's log name the error.";
    Internal = "internal", 500, 70, "Something went wrong in the server",
        "A bug in Cresset.",
        "Report it with the request id; the server's log has the details.";
    // How a task fails.
    ModelError = "model_error", 500, 1, "The model raised an exception",
        "`preprocess`, `predict` or `postprocess` raised.",
        "`type` and `message` are the exception's; the traceback says where.";
    BadOutput = "bad_output", 500, 1, "The model gave back something else than it declares",
        "The output's count, name, dtype or shape is not what model.toml says, or it cannot be turned into JSON.",
        "Mend the model or its [[outputs]].";
    NonFiniteOutput = "non_finite_output", 500, 1, "The model gave NaN or infinity",
        "A floating-point output holds NaN or infinity, which JSON cannot carry.",
        "Mend the model, or set `allow_non_finite = true` on the output to get null instead.";
    InstanceDied = "instance_died", 500, 1, "The task kills its model process",
        "The process running the task exited or was killed, each time it was tried.",
        "`message` says how it died; the server's log has its last lines.";
    SoftTimeout = "soft_timeout", 504, 1, "The task ran past its soft time limit",
        "The task ran for `limits.soft_timeout`, and the model's code, which was told so, ended without a result.",
        "Make the model faster, have it give what it has by then (`except cresset.SoftTimeout`), or raise `limits.soft_timeout` in model.toml.";
    TimeLimit = "time_limit", 504, 1, "The task ran past its time limit",
        "The batch holding the task did not finish within `limits.timeout`, each time it was tried.",
        "Make the model faster, or raise `limits.timeout` in model.toml.";
    Revoked = "revoked", 409, 1, "The task was revoked",
        "It was cancelled, or it expired before it ran; it has no result and never will.",
        "Submit it again if it is still wanted.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is not an error code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a known error code")]
pub struct BadCode;

impl FromStr for Code {
    type Err = BadCode;

    fn from_str(text: &str) -> Result<Self, BadCode> {
        Self::ALL
            .iter()
            .copied()
            .find(|c| c.name() == text)
            .ok_or(BadCode)
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for code in Code::ALL.iter().copied() {
            assert_eq!(code.name().parse(), Ok(code));
            assert!((400..600).contains(&code.http_status()), "{code}");
        }
        let names: std::collections::HashSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
