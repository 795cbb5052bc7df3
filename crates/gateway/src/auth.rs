//! Who may come in, where keys are needed: before any handler, for every route by one table (`rules`).
//!
//! A path that names a task or a dead letter is held against its owner here too, so that no handler can forget to. What is
//! another tenant's is answered as what does not exist, by the same words and after the same look-up.
//!
//! A key's text is in the request's headers and nowhere else: not in the log, not in an answer, not among the extensions.

pub(crate) mod rules;

use std::sync::Arc;
use std::time::Duration;

use axum::RequestExt;
use axum::extract::{FromRequestParts, MatchedPath, Path, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use cresset_engine::EngineError;
use cresset_keys::{Issuer, JwtRefused, Key, Keyring, Refused, Scope};
use cresset_task::{ClientKey, Code, Ownership, Tenant, Timestamp};

use crate::app::App;
use crate::browser;
use crate::problem::Problem;
use rules::{About, Need, Rule};

/// Nothing was said of who it is.
const WHO: &str = "Bearer realm=\"cresset\"";
/// What was said opens nothing.
const NOT_SO: &str = "Bearer realm=\"cresset\", error=\"invalid_token\"";
/// It opens something else.
const NOT_ENOUGH: &str = "Bearer realm=\"cresset\", error=\"insufficient_scope\"";

/// When to come again with a token that cannot be checked yet: the issuer's keys are asked for again in some seconds.
const ISSUER_RETRY: Duration = Duration::from_secs(5);

/// Who may come in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The keys.
    pub keys: Arc<Keyring>,
    /// Whose tokens are taken beside them.
    pub issuer: Option<Arc<Issuer>>,
    /// `/metrics` needs none.
    pub open_metrics: bool,
}

/// The same only if the keys are the same ones.
impl PartialEq for Auth {
    fn eq(&self, other: &Self) -> bool {
        let same_issuer = match (&self.issuer, &other.issuer) {
            (Some(issuer), Some(other)) => Arc::ptr_eq(issuer, other),
            (issuer, other) => issuer.is_none() && other.is_none(),
        };
        Arc::ptr_eq(&self.keys, &other.keys) && same_issuer && self.open_metrics == other.open_metrics
    }
}

impl Eq for Auth {}

/// Who waits for as long as a key is good looks at the clock this often: it may be set.
const CLOCK_LOOK: Duration = Duration::from_secs(60);

/// Whose request it is; among its extensions where keys are needed.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    key: Arc<Key>,
    /// Where the key is kept; `None` for one that a token is read as.
    ring: Option<Arc<Keyring>>,
}

impl Caller {
    /// Whether it may use this model.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.key.record.allows_model(model)
    }

    /// What it is counted under.
    pub(crate) fn client(&self) -> Option<ClientKey> {
        ClientKey::keyed(&self.key.record.id.to_string()).ok()
    }

    /// How much it may have at once.
    pub(crate) fn max_open(&self) -> Option<u64> {
        self.key.record.max_open.map(u64::from)
    }

    /// Whether it might come in now, and until when, where that has an end.
    fn opens(&self, now: Timestamp) -> Result<Option<Timestamp>, Refused> {
        match &self.ring {
            Some(ring) => ring.still_opens(self.key.record.id, now),
            None => self.key.opens(now).map(|()| self.key.record.expires_at),
        }
    }

    fn tenant(&self) -> &Tenant {
        &self.key.record.tenant
    }

    fn is_admin(&self) -> bool {
        self.key.record.scopes.allow(Scope::Admin)
    }
}

/// Whose tasks a list may show: those of this tenant; `None` is all of them.
pub(crate) struct Viewer(pub(crate) Option<Tenant>);

impl<S: Send + Sync> FromRequestParts<S> for Viewer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let caller = parts.extensions.get::<Caller>();
        let caller = caller.filter(|caller| !caller.is_admin());
        Ok(Self(caller.map(|caller| caller.tenant().clone())))
    }
}

/// What an answer that goes on for long was given on.
#[derive(Clone, Debug)]
pub(crate) struct Pass(Option<Caller>);

impl Pass {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        Self(extensions.get().cloned())
    }

    /// Whether who began it might begin it now: a key may have been revoked meanwhile, and a token's time be over.
    pub(crate) fn holds(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|caller| caller.opens(Timestamp::now()).is_ok())
    }

    /// Returns when that is no longer so, with what who waits is told. Dropping it costs nothing.
    pub(crate) async fn lost(&self) -> Problem {
        let Some(caller) = &self.0 else {
            return std::future::pending().await;
        };
        let mut changes = caller.ring.as_ref().map(|ring| ring.changes());
        loop {
            let now = Timestamp::now();
            let until = match caller.opens(now) {
                Ok(until) => until,
                Err(refused) => return unauthorized(&refused),
            };
            let changed = async {
                match &mut changes {
                    // The ring is ours as long as its caller is.
                    Some(changes) => drop(changes.changed().await),
                    None => std::future::pending().await,
                }
            };
            // The end is the wall clock's, which may be set meanwhile.
            let pause = until.map_or(CLOCK_LOOK, |until| until.since(now).min(CLOCK_LOOK));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(pause), if until.is_some() => {}
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Pass {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

/// Whether the caller may use a model that is not named by the path.
pub(crate) fn check_model(extensions: &Extensions, name: &str) -> Result<(), Problem> {
    match extensions.get::<Caller>() {
        Some(caller) if !caller.may_use(name) => Err(other_model(caller, name)),
        _ => Ok(()),
    }
}

/// Whether the caller may read what a model writes about a task that it may read: if that is for callers, or it is an operator.
pub(crate) fn check_logs(extensions: &Extensions, for_callers: bool) -> Result<(), Problem> {
    match extensions.get::<Caller>() {
        Some(caller) if !for_callers && !caller.is_admin() => {
            let detail = "the log lines of this model are for keys with the scope `admin`; `[logs] callers = true` in its \
                          model.toml gives them to whoever may read the task";
            Err(Problem::new(Code::Forbidden, detail).challenge(NOT_ENOUGH))
        }
        _ => Ok(()),
    }
}

/// Whose a new task will be.
pub(crate) fn tenant(extensions: &Extensions) -> Option<Tenant> {
    extensions.get::<Caller>().map(|caller| caller.tenant().clone())
}

/// Lets the request in, with its caller, or says why not.
pub(crate) async fn admit(
    app: &App,
    request: &mut Request,
    route: Option<&MatchedPath>,
) -> Result<(), Problem> {
    let Some(auth) = &app.options.auth else {
        return Ok(());
    };
    let rule = rules::of(request.method(), route.map(MatchedPath::as_str));
    let is_open = match rule.need {
        Need::Nothing => true,
        Need::Figures => auth.open_metrics,
        Need::Key | Need::Scope(_) | Need::Never => false,
    };
    if is_open {
        return Ok(());
    }
    if route.is_some_and(|route| route.as_str() == rules::WEBSOCKET) {
        browser::key_of_the_page(request.headers_mut());
    }
    let now = Timestamp::now();
    let token = token(request.headers())?;
    let (key, ring) = match &auth.issuer {
        Some(issuer) if Issuer::is_meant(token) => (issuer.find(token, now).map_err(not_taken)?, None),
        _ => {
            let found = auth.keys.find(token, now);
            let key = found.map_err(|refused| unauthorized(&refused))?;
            (key, Some(Arc::clone(&auth.keys)))
        }
    };
    key.note_use(now);
    key.take(app.uptime()).map_err(|after| {
        let rate = key.record.rate.map_or(0.0, |rate| rate.per_second);
        let detail = format!("this key may send {rate} requests a second; its next turn is in {after:?}");
        Problem::new(Code::RateLimited, detail).retry_after(after)
    })?;
    let caller = Caller { key, ring };
    check_scope(&caller, &rule)?;
    check_object(app, request, &caller, rule.about).await?;
    request.extensions_mut().insert(caller);
    Ok(())
}

/// What the request says of who it is.
fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let refuse = |detail: &str, words| Problem::new(Code::Unauthorized, detail).challenge(words);
    match (given.next(), given.next()) {
        (None, _) => Err(refuse(
            "this server takes requests with a key only; send `Authorization: Bearer crs_...`",
            WHO,
        )),
        (Some(_), Some(_)) => Err(refuse(
            "`Authorization` is there more than once; send one",
            NOT_SO,
        )),
        (Some(value), None) => {
            let text = value.to_str().ok();
            let token = text.and_then(|text| {
                let (scheme, token) = text.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
            });
            token.ok_or_else(|| {
                refuse(
                    "`Authorization` must be `Bearer` and a key, such as `Bearer crs_...`",
                    NOT_SO,
                )
            })
        }
    }
}

fn unauthorized(refused: &Refused) -> Problem {
    let detail = match refused {
        Refused::Malformed => {
            "what is sent as a key is none: a key is `crs_`, 16 digits, `_` and 64 digits, as `cresset keys create` printed it"
                .to_owned()
        }
        Refused::Unknown => "no key is like this one; look for a slip, or for another server's key".into(),
        Refused::Revoked => "this key has been revoked".into(),
        Refused::Expired(at) => format!("this key was good until {at}"),
    };
    Problem::new(Code::Unauthorized, detail).challenge(NOT_SO)
}

/// The words for a token that opens nothing.
fn not_taken(refused: JwtRefused) -> Problem {
    match refused {
        JwtRefused::NoKeysYet => {
            Problem::new(Code::IssuerUnavailable, refused.to_string()).retry_after(ISSUER_RETRY)
        }
        refused => Problem::new(Code::Unauthorized, refused.to_string()).challenge(NOT_SO),
    }
}

fn check_scope(caller: &Caller, rule: &Rule) -> Result<(), Problem> {
    let scope = match rule.need {
        Need::Nothing | Need::Key => return Ok(()),
        Need::Figures => Scope::Admin,
        Need::Scope(scope) => scope,
        Need::Never => {
            let detail = "no rule says who may come here; that is a bug, and nobody may";
            return Err(Problem::new(Code::Forbidden, detail).challenge(NOT_ENOUGH));
        }
    };
    if caller.key.record.scopes.allow(scope) {
        return Ok(());
    }
    let has: Vec<_> = caller.key.record.scopes.0.iter().map(|has| has.name()).collect();
    let has = match has.is_empty() {
        true => format!("the token has none (among its `scope`, `cresset:{scope}` would be it)"),
        false => format!("the key has `{}`", has.join("` and `")),
    };
    let detail = format!("this needs a key with the scope `{scope}`; {has}");
    Err(Problem::new(Code::Forbidden, detail).challenge(NOT_ENOUGH))
}

/// Whether what the path names is the caller's. What cannot be read as a name is left to the handler, which has the words for it.
async fn check_object(
    app: &App,
    request: &mut Request,
    caller: &Caller,
    about: About,
) -> Result<(), Problem> {
    if about == About::Nothing {
        return Ok(());
    }
    let Ok(Path(name)) = request.extract_parts::<Path<String>>().await else {
        return Ok(());
    };
    if about == About::Model {
        return match caller.may_use(&name) {
            true => Ok(()),
            false => Err(other_model(caller, &name)),
        };
    }
    if caller.is_admin() {
        return Ok(());
    }
    let engine = &app.engine;
    let (owner, unknown) = match about {
        About::Nothing | About::Model => return Ok(()),
        About::Task => {
            let Ok(id) = name.parse() else { return Ok(()) };
            (engine.owner(id).await?, EngineError::UnknownTask(id))
        }
        About::Letter => {
            let Ok(id) = name.parse() else { return Ok(()) };
            let letter = engine.dead_letter(id).await?;
            (Ownership::Of(letter.tenant), EngineError::UnknownLetter(id))
        }
        About::Bulk => {
            let Ok(id) = name.parse() else { return Ok(()) };
            (engine.bulk_owner(id).await?, EngineError::UnknownBulk(id))
        }
    };
    match owner {
        Ownership::Of(Some(tenant)) if tenant == *caller.tenant() => Ok(()),
        Ownership::Of(_) | Ownership::Unknown => Err(unknown.into()),
    }
}

/// Said before anybody looks whether there is such a model.
fn other_model(caller: &Caller, name: &str) -> Problem {
    let models = caller.key.record.models.iter().flatten();
    let may: Vec<_> = models.map(|model| format!("`{model}`")).collect();
    let detail = format!(
        "the key may not use the model `{}`; it may use {}",
        crate::query::cut(name),
        may.join(", ")
    );
    Problem::new(Code::Forbidden, detail)
}
