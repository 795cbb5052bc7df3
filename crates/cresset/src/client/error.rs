//! How a call can end badly, and what a person is told about it.

use std::time::Duration;

use cresset_task::Code;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::target::Target;
use crate::exit::{Exit, Trouble};

/// As much of an answer that is not ours as is shown.
const FOREIGN_SHOWN_MAX: usize = 200;
/// The longest pause before a call is made again, also when the server names a longer one: what was in the way may pass sooner than
/// it was foreseen.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why a call gave no answer, or not the hoped-for one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection could be made: nothing was sent.
    #[error("nothing answers at {url}: {why}")]
    Unreachable {
        /// The server.
        url: String,
        /// The innermost reason.
        why: String,
    },
    /// The connection was lost, or time ran out: whether the call was carried out is not known.
    #[error("the connection to {url} was lost: {why}")]
    Lost {
        /// The server.
        url: String,
        /// The innermost reason.
        why: String,
    },
    /// What was to be sent could not be read to its end: what came of the call is not known.
    #[error("cannot read {path}: {why}")]
    Unread {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// The server answered that it will not.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Something else than a Cresset server answered.
    #[error("{url} answered, but {what}")]
    Foreign {
        /// The server.
        url: String,
        /// What is odd.
        what: String,
    },
    /// The answer is larger than is read.
    #[error("the answer of {url} is larger than {limit} bytes")]
    TooLarge {
        /// The server.
        url: String,
        /// The bound.
        limit: usize,
    },
}

/// A refusal: the server's `application/problem+json`.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The stable code; `None` when a newer server, or something in front of it, sent one we do not know.
    pub(crate) code: Option<Code>,
    /// What was wrong.
    pub(crate) detail: String,
    /// Each wrong field, one line each.
    pub(crate) errors: Vec<String>,
    /// When to try again.
    pub(crate) retry_after: Option<Duration>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

#[derive(Deserialize)]
struct ProblemBody {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    #[serde(default)]
    errors: Vec<serde_json::Value>,
}

impl CallError {
    /// What reqwest says, sorted by what it means for the caller.
    pub(super) fn transport(target: &Target, error: reqwest::Error) -> Self {
        let url = target.to_string();
        let why = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            innermost(&error)
        };
        if error.is_connect() {
            Self::Unreachable { url, why }
        } else {
            Self::Lost { url, why }
        }
    }

    /// A status that is not a success.
    pub(super) fn refused(
        target: &Target,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> Self {
        let number = status.as_u16();
        let passing = matches!(number, 408 | 425 | 429 | 502 | 503 | 504);
        match serde_json::from_slice::<ProblemBody>(body) {
            Ok(problem) if problem.code.is_some() => Self::Refused(Box::new(Problem {
                status: number,
                code: problem.code.and_then(|code| code.parse().ok()),
                detail: problem
                    .detail
                    .or(problem.title)
                    .unwrap_or_else(|| status.to_string()),
                errors: problem.errors.iter().map(field_error).collect(),
                retry_after,
            })),
            // A proxy in front of a server that is restarting: no problem document, but its meaning is plain.
            _ if passing => Self::Refused(Box::new(Problem {
                status: number,
                code: None,
                detail: format!("{target} answered {status}"),
                errors: Vec::new(),
                retry_after,
            })),
            _ => Self::Foreign {
                url: target.to_string(),
                what: format!("with {status}{}", shown(body)),
            },
        }
    }

    /// True when the same call may work a little later.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused(problem) => {
                matches!(problem.status, 408 | 425 | 429 | 502 | 503)
                    || (problem.status == 504 && problem.code.is_none())
            }
            Self::Unread { .. } | Self::Foreign { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// When the server says to try again.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }

    /// How long to pause before the same call is made again, `attempt` (0, 1, ...) having ended so: what the server says, within
    /// bounds, or `first`, doubled for each further one.
    pub(crate) fn pause(&self, first: Duration, attempt: u32) -> Duration {
        match self.retry_after() {
            Some(after) => after.clamp(first, PAUSE_MAX),
            None => first.saturating_mul(1 << attempt.min(16)).min(PAUSE_MAX),
        }
    }

    /// The stable code, when the server gave one.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(problem) => problem.code,
            _ => None,
        }
    }

    /// The error as the end of a command.
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::Unreachable { .. } => Trouble::new(Exit::UNAVAILABLE, self.to_string())
                .hint("start a server with `cresset serve DIR`, or name another with --url or CRESSET_URL"),
            Self::Lost { .. } => Trouble::new(Exit::TRY_AGAIN, self.to_string())
                .hint("see with `cresset models` whether the server is back, then try again"),
            Self::Unread { .. } => Trouble::new(Exit::IO, self.to_string()),
            Self::Foreign { .. } => Trouble::new(Exit::UNAVAILABLE, self.to_string()).hint(
                "check --url (or CRESSET_URL); a Cresset server answers `curl URL/v1/models` with JSON",
            ),
            Self::TooLarge { .. } => Trouble::new(Exit::IO, self.to_string())
                .hint("fetch it with `curl --output FILE URL/v1/tasks/ID` instead"),
            Self::Refused(problem) => problem.trouble(),
        }
    }
}

impl Problem {
    fn trouble(&self) -> Trouble {
        let exit = match self.code {
            Some(code) => code.into(),
            None if self.status >= 500 || self.status == 429 => Exit::TRY_AGAIN,
            None => Exit::USAGE,
        };
        let mut trouble = Trouble::new(exit, self.detail.clone());
        // A single wrong field is named in the message already.
        for line in self.errors.iter().filter(|_| self.errors.len() > 1) {
            trouble = trouble.detail(line.clone());
        }
        match self.hint() {
            Some(hint) => trouble.hint(hint),
            None => trouble,
        }
    }

    fn hint(&self) -> Option<String> {
        let again = || match self.retry_after {
            Some(after) => format!("try again in {} s", after.as_secs().max(1)),
            None => "try again in a few seconds".to_owned(),
        };
        let Some(code) = self.code else {
            return (self.status >= 429).then(again);
        };
        Some(match code {
            Code::UnknownModel => "list the models with `cresset models`".into(),
            Code::UnknownTask => "check the id, and that --url names the server that accepted it".into(),
            Code::ExpiredTask => "keep results longer with `cresset serve --result-ttl 7d`".into(),
            Code::InvalidInput | Code::MalformedBody | Code::UnsupportedMediaType => {
                "see what the model takes with `cresset models NAME`".into()
            }
            Code::BodyTooLarge => "send less, or raise the limit that it names".into(),
            Code::QueueFull
            | Code::Overloaded
            | Code::ClientLimit
            | Code::ServerFull
            | Code::ServerBusy
            | Code::ShuttingDown
            | Code::PredictTimeout => again(),
            Code::ModelUnavailable => "see why with `cresset models`; the server's log has all of it".into(),
            Code::StoreUnavailable | Code::Internal => "the server's log has the details".into(),
            Code::UnknownRoute | Code::MethodNotAllowed | Code::BadQuery => {
                "compare the versions: `cresset --version` here and on the server".into()
            }
            other => other.remedy().to_owned(),
        })
    }
}

/// Seconds, as our servers send it; a date (which proxies may send) is left alone and means "a little later".
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// One entry of `errors`: `field: message` in whatever words the server uses for the two.
fn field_error(entry: &serde_json::Value) -> String {
    let text = |keys: &[&str]| keys.iter().find_map(|key| entry.get(key)?.as_str());
    match (text(&["field", "path", "pointer"]), text(&["message", "detail"])) {
        (Some(field), Some(message)) if !field.is_empty() => format!("{field}: {message}"),
        (_, Some(message)) => message.to_owned(),
        _ => entry.as_str().map_or_else(|| entry.to_string(), str::to_owned),
    }
}

/// The beginning of a body that is not ours, on one line.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(FOREIGN_SHOWN_MAX)
        .collect();
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// The reason at the end of the chain: `connection refused` says more than `error sending request`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> CallError {
        let target = "http://127.0.0.1:8700".parse().unwrap();
        CallError::refused(
            &target,
            StatusCode::from_u16(status).unwrap(),
            Some(Duration::from_secs(3)),
            body.as_bytes(),
        )
    }

    #[test]
    fn every_refusal_reads_well() {
        let cases = [
            (
                422,
                r#"{"code":"invalid_input","title":"t","detail":"the input does not fit `digits`","errors":[{"field":"input.pixels[3]","message":"must be a number, is \"x\""},{"field":"prio","message":"unknown; did you mean `priority`?"}]}"#,
            ),
            (
                404,
                r#"{"code":"unknown_model","detail":"no model is called `digit`; did you mean `digits`?"}"#,
            ),
            (
                429,
                r#"{"code":"queue_full","detail":"the queue of `digits` is full"}"#,
            ),
            (503, r#"{"code":"code_of_the_future","title":"Something new"}"#),
            (502, "<html><body>\n<h1>Bad Gateway</h1></body></html>"),
            (404, "<html>\n404 page not found</html>"),
        ];
        let text: Vec<String> = cases
            .iter()
            .map(|(status, body)| {
                let error = refused(*status, body);
                format!(
                    "{}\n  exit {}, passes: {}",
                    error.trouble(),
                    error.trouble().exit().number(),
                    error.passes()
                )
            })
            .collect();
        insta::assert_snapshot!(text.join("\n\n"));
    }

    #[test]
    fn only_what_may_work_later_is_tried_again() {
        for (status, passes) in [
            (400, false),
            (404, false),
            (422, false),
            (500, false),
            (429, true),
            (503, true),
        ] {
            assert_eq!(refused(status, r#"{"code":"x"}"#).passes(), passes, "{status}");
        }
        assert!(!refused(504, r#"{"code":"predict_timeout"}"#).passes());
        assert!(refused(504, "gateway timeout").passes());
    }

    #[test]
    fn a_retry_after_that_is_a_date_is_left_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "Wed, 21 Oct 2026 07:28:00 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
    }
}
