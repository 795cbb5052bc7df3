//! Whom to tell of a task, and of what: the address of a callback, the events it wants, and the name of each thing told.
//!
//! Words only. Whether an address may be called is decided where it is called, by what its name resolves to.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::id::TaskId;
use crate::state::State;

/// Longer addresses are refused: it is stored with every task and every event, and no server takes much longer ones.
pub const CALLBACK_URL_MAX: usize = 2_048;

/// The prefix of an event's name, so that it is recognised in a log.
const EVENT_PREFIX: &str = "evt_";

/// What can be told of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// It was taken from the queue, to be run.
    Started,
    /// It failed and will be tried again.
    Retried,
    /// It ended with a result.
    Succeeded,
    /// It ended with an error.
    Failed,
    /// It was cancelled, or expired, or passed its deadline.
    Revoked,
}

impl Event {
    /// Every event, in the order of a life.
    pub const ALL: [Self; 5] = [
        Self::Started,
        Self::Retried,
        Self::Succeeded,
        Self::Failed,
        Self::Revoked,
    ];

    /// The name in a filter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Retried => "retried",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
        }
    }

    /// The `type` of what is sent.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Started => "task.started",
            Self::Retried => "task.retried",
            Self::Succeeded => "task.succeeded",
            Self::Failed => "task.failed",
            Self::Revoked => "task.revoked",
        }
    }

    /// The number that a store keeps; also its bit in [`Events`].
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What is kept as this number; `None` when it is none of ours.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Where the task is when this is told.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::Started => State::Started,
            Self::Retried => State::Retry,
            Self::Succeeded => State::Success,
            Self::Failed => State::Failure,
            Self::Revoked => State::Revoked,
        }
    }

    /// What is told of a task that has come into this state.
    #[must_use]
    pub fn of(state: State) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.state() == state)
    }

    /// Nothing is told of the task after it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.state().is_terminal()
    }
}

impl FromStr for Event {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|event| event.name() == text).ok_or(())
    }
}

/// A set of events, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Events(u8);

impl Events {
    /// The ends of a task.
    pub const FINAL: Self =
        Self(1 << Event::Succeeded.code() | 1 << Event::Failed.code() | 1 << Event::Revoked.code());

    /// These events; `None` when there are none.
    #[must_use]
    pub fn of(events: impl IntoIterator<Item = Event>) -> Option<Self> {
        let bits = events.into_iter().fold(0, |bits, event| bits | 1 << event.code());
        (bits != 0).then_some(Self(bits))
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn has(self, event: Event) -> bool {
        self.0 & 1 << event.code() != 0
    }

    /// Each of them, in the order of a life.
    pub fn iter(self) -> impl Iterator<Item = Event> {
        Event::ALL.into_iter().filter(move |event| self.has(*event))
    }

    /// The number that a store keeps.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// What is kept as this number; `None` when it is none of ours.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        (code != 0 && code >> Event::ALL.len() == 0).then_some(Self(code))
    }

    /// The names in a list, such as `succeeded, failed`. All of them are taken, or the first that is none is said.
    pub fn read<'t>(names: impl IntoIterator<Item = &'t str>) -> Result<Self, BadEvents> {
        let mut events = Vec::new();
        for name in names {
            events.push(name.parse().map_err(|()| BadEvents::Unknown(cut(name)))?);
        }
        Self::of(events).ok_or(BadEvents::Empty)
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::FINAL
    }
}

/// This is no set of events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvents {
    /// One of the names is no event's.
    #[error("`{0}` is no event; the events are started, retried, succeeded, failed and revoked")]
    Unknown(String),
    /// There are none.
    #[error("must name at least one event of started, retried, succeeded, failed and revoked")]
    Empty,
}

/// The address of a callback, in its normal form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CallbackUrl {
    url: Url,
    host: String,
}

impl CallbackUrl {
    /// The whole address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Its parts.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Host and port, as in `hooks.example.com:443`: what is called, whatever the path.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// An address may carry a secret in its query: only where it leads is shown.
impl fmt::Debug for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackUrl({})", self.host)
    }
}

/// The text is no address to call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCallbackUrl(String);

impl FromStr for CallbackUrl {
    type Err = BadCallbackUrl;

    fn from_str(text: &str) -> Result<Self, BadCallbackUrl> {
        let bad = |why: &str| Err(BadCallbackUrl(why.to_owned()));
        if text.len() > CALLBACK_URL_MAX {
            return Err(BadCallbackUrl(format!(
                "is {} bytes long; an address may be {CALLBACK_URL_MAX}",
                text.len()
            )));
        }
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                return Err(BadCallbackUrl(format!(
                    "must be a URL such as https://example.com/hooks/cresset: {error}"
                )));
            }
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadCallbackUrl(format!(
                "must begin with https:// or http://, not {}:",
                cut(url.scheme())
            )));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return bad("must not carry a user name or password; the signature says who calls");
        }
        if url.fragment().is_some() {
            return bad("must not have a fragment (`#...`): it is never sent");
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return bad("must name a host");
        };
        if port == 0 {
            return bad("must not name port 0");
        }
        let host = format!("{host}:{port}");
        // What it is in normal form may be longer than what was written.
        if url.as_str().len() > CALLBACK_URL_MAX {
            return bad("is too long once it is percent-encoded");
        }
        Ok(Self { url, host })
    }
}

/// Whom to tell of a task, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// Who.
    pub url: CallbackUrl,
    /// What.
    pub events: Events,
}

/// The name of one thing told of one task: the same however often it is sent, and never that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The task.
    pub task: TaskId,
    /// What of it.
    pub event: Event,
    /// Which time: the attempt that started, or failed and is tried again. 0 for an end, of which there is one.
    pub attempt: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The signature's text is `id.timestamp.body`, so there is no dot in it.
        write!(f, "{EVENT_PREFIX}{}_{}", self.task, self.event.name())?;
        if self.event.is_final() {
            return Ok(());
        }
        write!(f, "_{}", self.attempt)
    }
}

/// The text is no event's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is such as evt_019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10_succeeded")]
pub struct BadEventId;

impl FromStr for EventId {
    type Err = BadEventId;

    fn from_str(text: &str) -> Result<Self, BadEventId> {
        let mut parts = text.strip_prefix(EVENT_PREFIX).ok_or(BadEventId)?.split('_');
        let mut part = || parts.next();
        let task = part().and_then(|task| task.parse().ok()).ok_or(BadEventId)?;
        let event: Event = part().and_then(|event| event.parse().ok()).ok_or(BadEventId)?;
        let attempt = match (event.is_final(), part()) {
            (true, None) => 0,
            (false, Some(number)) => number.parse().map_err(|_| BadEventId)?,
            _ => return Err(BadEventId),
        };
        let id = Self { task, event, attempt };
        // One name each: no leading zeros, no capitals, nothing behind.
        (id.to_string() == text).then_some(id).ok_or(BadEventId)
    }
}

/// A piece of what was said, for a message.
fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<CallbackUrl>().unwrap_err().to_string()
    }

    #[test]
    fn an_address_has_one_form_and_a_host() {
        let url: CallbackUrl = "HTTPS://Hooks.Example.com/a b?c=d".parse().unwrap();
        assert_eq!(url.as_str(), "https://hooks.example.com/a%20b?c=d");
        assert_eq!(url.host(), "hooks.example.com:443");
        let url: CallbackUrl = "http://[::1]:8080".parse().unwrap();
        assert_eq!((url.as_str(), url.host()), ("http://[::1]:8080/", "[::1]:8080"));
        assert_eq!(format!("{url:?}"), "CallbackUrl([::1]:8080)");
    }

    /// However an address of four bytes is written, it is that address: nothing hides behind a form.
    #[test]
    fn numbers_that_are_addresses_are_written_as_such() {
        for text in [
            "http://2130706433/",
            "http://0x7f000001/",
            "http://017700000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://127.0.0.1./",
            "http://%31%32%37.0.0.1/",
            "http://\u{ff11}27.0.0.1/",
        ] {
            assert_eq!(
                text.parse::<CallbackUrl>().unwrap().host(),
                "127.0.0.1:80",
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_the_reason() {
        assert!(refused("example.com/hook").contains("must be a URL"));
        assert!(refused("").contains("must be a URL"));
        assert!(refused("ftp://example.com").contains("not ftp:"));
        assert!(refused("file:///etc/passwd").contains("not file:"));
        assert!(refused("https://me:pw@example.com").contains("password"));
        assert!(refused("https://me@example.com").contains("user name"));
        assert!(refused("https://example.com/#x").contains("fragment"));
        assert!(refused("https://example.com:0/").contains("port 0"));
        assert!(refused("http://1.2.3.4.5.6/").contains("must be a URL"));
        let long = format!("https://example.com/{}", "x".repeat(CALLBACK_URL_MAX));
        assert!(refused(&long).contains("2048"));
        let swells = format!("https://example.com/{}", " x".repeat(CALLBACK_URL_MAX / 3));
        assert!(refused(&swells).contains("percent-encoded"));
    }

    #[test]
    fn events_survive_storage_and_names_are_theirs() {
        for event in Event::ALL {
            assert_eq!(Event::from_code(event.code()), Some(event));
            assert_eq!(event.name().parse(), Ok(event));
            assert_eq!(event.kind(), format!("task.{}", event.name()));
            assert_eq!(Event::of(event.state()), Some(event));
        }
        assert_eq!(Event::from_code(5), None);
        assert_eq!(Event::of(State::Pending), None);
        for code in 1..32 {
            let events = Events::from_code(code).unwrap();
            assert_eq!(Events::of(events.iter()), Some(events));
            assert_eq!(events.code(), code);
        }
        assert_eq!((Events::from_code(0), Events::from_code(32)), (None, None));
        let names: Vec<_> = Events::default().iter().map(Event::name).collect();
        assert_eq!(names, ["succeeded", "failed", "revoked"]);
        assert_eq!(
            Events::read(["started", "SUCCEEDED"]).unwrap_err().to_string(),
            "`SUCCEEDED` is no event; the events are started, retried, succeeded, failed and revoked"
        );
        assert_eq!(Events::read([]), Err(BadEvents::Empty));
    }

    #[test]
    fn an_event_has_one_name() {
        let task = TaskId::fresh();
        for event in Event::ALL {
            let attempt = if event.is_final() { 0 } else { 7 };
            let id = EventId { task, event, attempt };
            let name = id.to_string();
            assert!(!name.contains('.'));
            assert_eq!(name.parse(), Ok(id));
            for other in [
                format!("{name}_1"),
                name.to_uppercase(),
                format!(" {name}"),
                name.replace("_7", "_07"),
            ] {
                assert!(other == name || other.parse::<EventId>().is_err(), "{other}");
            }
        }
    }
}
