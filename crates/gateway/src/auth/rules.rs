//! What each route needs. A route that is not here is for nobody, and a test walks the router for such.

use axum::http::Method;
use cresset_keys::Scope;

use crate::problem::ERRORS_PAGE;

/// What a key must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// There need be none.
    Nothing,
    /// Any.
    Key,
    /// As a setting says: nothing, or a key of an administrator.
    Figures,
    /// One with this scope.
    Scope(Scope),
    /// None will do.
    Never,
}

/// What the path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Nothing that is somebody's; a list is cut to what is the caller's by its handler.
    Nothing,
    /// A model, which the key may have to name.
    Model,
    /// A task.
    Task,
    /// A dead letter.
    Letter,
    /// A batch of tasks.
    Bulk,
}

/// What is asked of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) need: Need,
    pub(crate) about: About,
}

const SUBMIT: Need = Need::Scope(Scope::Submit);
const READ: Need = Need::Scope(Scope::Read);
const ADMIN: Need = Need::Scope(Scope::Admin);

/// Where pages send keys in a way of their own.
pub(super) const WEBSOCKET: &str = "/v1/ws";

/// Every route.
pub(crate) const RULES: &[(Method, &str, Need, About)] = &[
    (Method::POST, "/v1/models/{model}/tasks", SUBMIT, About::Model),
    (Method::POST, "/v1/models/{model}/predict", SUBMIT, About::Model),
    // Each message is a request of its own, with the key of the handshake.
    (Method::GET, WEBSOCKET, Need::Key, About::Nothing),
    (Method::GET, "/v1/tasks", READ, About::Nothing),
    (Method::GET, "/v1/tasks/{id}", READ, About::Task),
    (Method::GET, "/v1/tasks/{id}/result", READ, About::Task),
    (Method::GET, "/v1/tasks/{id}/events", READ, About::Task),
    (Method::POST, "/v1/tasks/{id}/cancel", SUBMIT, About::Task),
    // The model is in the query; the handler holds it against the key.
    (Method::POST, "/v1/batches", SUBMIT, About::Nothing),
    (Method::GET, "/v1/batches", READ, About::Nothing),
    (Method::GET, "/v1/batches/{id}", READ, About::Bulk),
    (Method::GET, "/v1/batches/{id}/results", READ, About::Bulk),
    (Method::POST, "/v1/batches/{id}/cancel", SUBMIT, About::Bulk),
    (Method::GET, "/v1/dead", READ, About::Nothing),
    (Method::DELETE, "/v1/dead", SUBMIT, About::Nothing),
    (Method::GET, "/v1/dead/{id}", READ, About::Letter),
    (Method::DELETE, "/v1/dead/{id}", SUBMIT, About::Letter),
    (Method::GET, "/v1/dead/{id}/input", READ, About::Letter),
    (Method::POST, "/v1/dead/{id}/replay", SUBMIT, About::Letter),
    // Both are of the tasks of all tenants.
    (Method::GET, "/v1/events", ADMIN, About::Nothing),
    (Method::GET, "/v1/webhooks", ADMIN, About::Nothing),
    (Method::POST, "/v1/webhooks/test", ADMIN, About::Nothing),
    (Method::POST, "/v1/webhooks/{id}/replay", ADMIN, About::Nothing),
    (Method::GET, "/v1/workers", ADMIN, About::Nothing),
    (Method::GET, "/v1/models", READ, About::Nothing),
    (Method::GET, "/v1/models/{model}", READ, About::Model),
    (Method::GET, "/health/live", Need::Nothing, About::Nothing),
    (Method::GET, "/health/ready", Need::Nothing, About::Nothing),
    (Method::GET, "/metrics", Need::Figures, About::Nothing),
    // The same on every server of a version: they tell nothing of this one, and a browser sends no key for them.
    (Method::GET, "/openapi.json", Need::Nothing, About::Nothing),
    (Method::GET, "/client.js", Need::Nothing, About::Nothing),
    (Method::GET, "/docs", Need::Nothing, About::Nothing),
    (Method::GET, "/docs/", Need::Nothing, About::Nothing),
    (Method::GET, "/docs/{file}", Need::Nothing, About::Nothing),
    (Method::GET, ERRORS_PAGE, Need::Nothing, About::Nothing),
    (Method::GET, "/", Need::Key, About::Nothing),
];

/// What is asked of a request to this route; to none, or by a method that it does not take, a key: who has none is not told what
/// there is.
pub(crate) fn of(method: &Method, route: Option<&str>) -> Rule {
    // Where GET goes, HEAD goes.
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let here = || RULES.iter().filter(|(_, path, ..)| Some(*path) == route);
    let rule = |need, about| Rule { need, about };
    match here().find(|(of, ..)| of == method) {
        Some((_, _, need, about)) => rule(*need, *about),
        None if route.is_some() && here().next().is_none() => rule(Need::Never, About::Nothing),
        None => rule(Need::Key, About::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_document;

    /// The document is held to the router by another test; this holds the rules to the document.
    #[test]
    fn every_route_has_a_rule_and_every_rule_a_route() {
        let mut routes = Vec::new();
        for (path, item) in &api_document::document().paths.paths {
            for (method, operation) in [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::DELETE, &item.delete),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
            ] {
                if operation.is_some() {
                    routes.push((method, path.clone()));
                }
            }
        }
        for (method, path) in &routes {
            let own = RULES
                .iter()
                .filter(|(of, at, ..)| of == method && at == path)
                .count();
            assert_eq!(own, 1, "{method} {path} has one rule of its own");
        }
        assert_eq!(routes.len(), RULES.len(), "no rule is for nothing");
    }

    #[test]
    fn what_a_path_names_is_what_its_rule_is_about() {
        for (method, path, need, about) in RULES {
            let named = match path {
                path if path.contains("{model}") => About::Model,
                path if path.starts_with("/v1/tasks/{id}") => About::Task,
                path if path.starts_with("/v1/dead/{id}") => About::Letter,
                path if path.starts_with("/v1/batches/{id}") => About::Bulk,
                _ => About::Nothing,
            };
            assert_eq!(*about, named, "{method} {path}");
            let is_open = *need == Need::Nothing;
            let is_same_everywhere =
                ["/client.js", "/openapi.json"].contains(path) || path.starts_with("/docs");
            let is_for_all = path.starts_with("/health/") || is_same_everywhere;
            assert_eq!(is_open, is_for_all, "{method} {path}");
        }
    }

    #[test]
    fn a_route_without_a_rule_is_for_nobody() {
        assert_eq!(of(&Method::GET, Some("/v1/new")).need, Need::Never);
        assert_eq!(of(&Method::GET, None).need, Need::Key);
        assert_eq!(of(&Method::PUT, Some("/v1/tasks")).need, Need::Key);
        assert_eq!(
            of(&Method::HEAD, Some("/v1/tasks")),
            of(&Method::GET, Some("/v1/tasks"))
        );
    }
}
