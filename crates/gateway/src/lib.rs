//! The HTTP door. Thin: parse, validate, ask the engine, answer.
//!
//! Life of a request: [`serve`] accepts a connection -> `observe` gives the request an id, a clock and a safety net ->
//! a handler in `submit`, `predict`, `tasks`, `dead`, `webhooks`, `models`, `health` or `pages` reads it into typed values (`upload`,
//! `order`, `query`) and asks the [`Engine`](cresset_engine::Engine) -> the answer is written, or a `problem`.
//!
//! What it must not do: touch a broker or a model process, keep state between requests, decide anything about a task,
//! log a payload. Every error a caller can see is a [`cresset_task::Code`]; no status of an error is written by hand.

mod answer;
mod answers;
mod api_document;
mod app;
mod auth;
mod binary_out;
mod browser;
mod bulk;
mod cache_control;
mod cancel;
mod client;
mod coding;
mod connection;
mod dead;
mod docs_page;
mod duration;
mod entrance;
mod events;
mod file_out;
#[cfg(test)]
#[path = "../tests/it/fixture.rs"]
mod fixture;
mod forwarded;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod idempotency;
mod inbox;
mod json_out;
mod letter_json;
mod list_query;
mod listing;
mod media;
mod models;
mod nearest;
mod observe;
mod options;
mod order;
mod pages;
mod path;
mod payload_out;
mod predict;
mod predict_stream;
mod prefer;
mod problem;
mod promise;
mod query;
pub mod reference;
mod request_id;
mod router;
mod schema;
mod server;
mod streaming;
mod submit;
mod task_json;
mod tasks;
mod tls;
mod trace;
mod upload;
mod watching;
mod webhook_json;
mod webhooks;
mod workers;
mod ws;

pub use api_document::openapi;
pub use auth::Auth;
pub use client::Identify;
pub use entrance::{Entrance, bind};
pub use inbox::RowReader;
pub use options::GatewayOptions;
pub use server::serve;
pub use tls::{BadCertificate, Tls};
pub use upload::SpoolOptions;
pub use webhook_json::TaskWriter;
