//! The OpenAPI 3.1 document, made from the handlers and the schemas.
//!
//! Handlers describe their answers; the problems that each may give are listed here as codes, and their statuses come
//! from the code table. Tests hold the document to the router and the committed copy to the document.

use std::collections::BTreeMap;

use axum::http::Method;
use cresset_keys::Scope;
use cresset_task::Code;
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
#[cfg(test)]
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, ResponseBuilder, Type};

use crate::auth::rules::{self, Need};
use crate::{
    bulk, cancel, dead, docs_page, events, health, listing, models, pages, predict, schema, submit, tasks,
    watching, webhooks, workers, ws,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cresset",
        description = "Serves PyTorch models: durable tasks and synchronous predictions, in shared batches."
    ),
    paths(
        submit::submit,
        predict::predict,
        listing::list,
        tasks::task,
        tasks::result,
        events::follow,
        watching::watch,
        cancel::cancel,
        ws::open,
        bulk::submit,
        bulk::list,
        bulk::status,
        bulk::results,
        bulk::cancel,
        dead::list,
        dead::one,
        dead::input,
        dead::replay,
        dead::purge,
        dead::purge_all,
        webhooks::list,
        webhooks::replay,
        webhooks::test,
        workers::list,
        models::list,
        models::one,
        health::live,
        health::ready,
        pages::metrics,
        pages::openapi,
        pages::client,
        docs_page::folder,
        docs_page::page,
        docs_page::file,
        pages::errors,
        pages::root
    ),
    components(schemas(schema::Problem, schema::BatchLine)),
    tags(
        (name = "tasks", description = "Submit, follow, fetch; or predict at once"),
        (name = "batches", description = "Many tasks in one request, asked after as one"),
        (name = "dead letters", description = "Inputs that took their process down"),
        (name = "webhooks", description = "What is told of tasks, and whether it arrived"),
        (name = "models", description = "What is served"),
        (name = "health", description = "Probes"),
        (name = "server", description = "What describes the server itself")
    )
)]
struct Api;

/// What every body may be refused for.
const BODY: [Code; 7] = [
    Code::RequestTimeout,
    Code::MalformedBody,
    Code::UnsupportedMediaType,
    Code::BodyTooLarge,
    Code::ServerBusy,
    Code::InvalidInput,
    Code::BadQuery,
];

/// Operations that need no key anywhere.
const NO_KEY: [&str; 8] = [
    "live",
    "ready",
    "openapi",
    "errors",
    "browserClient",
    "docs",
    "docsFolder",
    "docsFile",
];
/// What the scheme of keys is called.
const KEY: &str = "key";

/// How a task fails.
const FAILURES: [Code; 7] = [
    Code::ModelError,
    Code::BadOutput,
    Code::NonFiniteOutput,
    Code::InstanceDied,
    Code::SoftTimeout,
    Code::TimeLimit,
    Code::Internal,
];

/// The problems that an operation may give, with those of a server that needs keys.
pub(crate) fn problems(operation: &str) -> Vec<Code> {
    let mut codes = own_problems(operation);
    if !NO_KEY.contains(&operation) {
        codes.extend([
            Code::Unauthorized,
            Code::Forbidden,
            Code::RateLimited,
            Code::IssuerUnavailable,
        ]);
    }
    codes
}

fn own_problems(operation: &str) -> Vec<Code> {
    use Code::{
        BadQuery, BatchCancelled, BodyTooLarge, ClientLimit, ExpiredTask, IdempotencyKeyReused, Internal,
        InvalidInput, ModelUnavailable, NotAcceptable, NotSupported, OutboxFull, Overloaded, PredictTimeout,
        QueueFull, Revoked, ServerFull, ShuttingDown, StoreUnavailable, UnknownBatch, UnknownLetter,
        UnknownModel, UnknownTask, UnknownWebhook,
    };
    let task = [
        BadQuery,
        ClientLimit,
        UnknownTask,
        ExpiredTask,
        StoreUnavailable,
        ShuttingDown,
    ];
    let letter = [UnknownLetter, BadQuery, ClientLimit, StoreUnavailable, Internal];
    let accepting = [
        UnknownModel,
        OutboxFull,
        QueueFull,
        ClientLimit,
        ServerFull,
        ModelUnavailable,
        ShuttingDown,
        StoreUnavailable,
        Internal,
    ];
    match operation {
        "submitTask" => [&BODY[..], &[IdempotencyKeyReused], &accepting].concat(),
        "replayDead" => [
            &[BadQuery, UnknownLetter, InvalidInput, BodyTooLarge],
            &accepting[..],
        ]
        .concat(),
        "submitBatch" => [
            &BODY[..],
            &[IdempotencyKeyReused, BatchCancelled, UnknownBatch, NotSupported],
            &accepting,
        ]
        .concat(),
        "listBatches" => [&letter[1..], &[NotSupported]].concat(),
        "getBatch" | "getBatchResults" | "cancelBatch" => {
            [&letter[1..], &[UnknownBatch, NotSupported, ShuttingDown]].concat()
        }
        "listDead" | "listTasks" | "purgeAllDead" => letter[1..].to_vec(),
        "getDead" | "purgeDead" => letter.to_vec(),
        "getDeadInput" => [&letter[..], &[NotAcceptable]].concat(),
        "listWebhooks" => letter[1..].to_vec(),
        "listWorkers" => vec![BadQuery, ClientLimit, StoreUnavailable, Internal],
        "replayWebhook" => [&letter[1..], &[UnknownWebhook, InvalidInput]].concat(),
        "testWebhook" => [&BODY[..], &[ClientLimit, ShuttingDown, Internal]].concat(),
        "predict" => {
            let own = [
                NotAcceptable,
                UnknownModel,
                Overloaded,
                ClientLimit,
                ServerFull,
                ModelUnavailable,
                PredictTimeout,
                ShuttingDown,
            ];
            [&BODY[..], &own, &FAILURES].concat()
        }
        "getTask" => [&task[..], &[Internal]].concat(),
        "followTask" => [&task[..], &[InvalidInput, Internal]].concat(),
        "watchTasks" => vec![BadQuery, ClientLimit, InvalidInput, UnknownModel, Internal],
        "cancelTask" => vec![
            BadQuery,
            ClientLimit,
            UnknownTask,
            ExpiredTask,
            StoreUnavailable,
            Internal,
        ],
        "getTaskResult" => [&task[..], &[NotAcceptable, Revoked], &FAILURES].concat(),
        "listModels" => vec![BadQuery, ClientLimit, Internal],
        "getModel" => vec![BadQuery, ClientLimit, UnknownModel, Internal],
        "docsFile" => vec![Code::UnknownRoute, Internal],
        _ => vec![Internal],
    }
}

/// The document as pretty JSON, ending in a line break.
#[must_use]
pub fn openapi() -> String {
    let mut text = document().to_pretty_json().expect("the document becomes JSON");
    text.push('\n');
    text
}

pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Api::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").into();
    document.info.license = None; // the API has none; utoipa would give the crate's
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::DELETE, &mut item.delete),
        ] {
            if let Some(operation) = operation {
                add_problems(operation);
                add_security(operation, &method, path);
            }
        }
    }
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key, `crs_...`, where the server needs one (`auth.enabled`); the names beside it are the scopes that it must have",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(KEY, SecurityScheme::Http(scheme));
    document
}

/// What a key must have where keys are needed; where they are not, there need be none.
fn add_security(operation: &mut Operation, method: &Method, path: &str) {
    let scope = match rules::of(method, Some(path)).need {
        Need::Nothing => return,
        Need::Scope(scope) => Some(scope),
        Need::Figures => Some(Scope::Admin),
        Need::Key | Need::Never => None,
    };
    let needed = SecurityRequirement::new(KEY, scope.map(Scope::name));
    operation.security = Some(vec![needed, SecurityRequirement::default()]);
}

/// The operations of a path; every method that a route of ours has.
#[cfg(test)]
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete]
        .into_iter()
        .filter_map(Option::as_mut)
}

fn add_problems(operation: &mut Operation) {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in problems(operation.operation_id.as_deref().unwrap_or_default()) {
        by_status.entry(code.http_status()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let lines: Vec<_> = codes
            .iter()
            .map(|c| format!("`{}`: {}", c.name(), c.title()))
            .collect();
        let problem = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let mut response = ResponseBuilder::new()
            .description(lines.join("; "))
            .content("application/problem+json", problem);
        if status == Code::QueueFull.http_status() || status == Code::ServerBusy.http_status() {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
            let header = HeaderBuilder::new()
                .schema(Some(seconds))
                .description(Some("Seconds"))
                .build();
            response = response.header("Retry-After", header);
        }
        operation
            .responses
            .responses
            .entry(status.to_string())
            .or_insert_with(|| response.build().into());
    }
}

#[cfg(test)]
mod tests;
