//! The variables, read. Every one that is wrong is said, with what would be right; what is not supported is refused rather than ignored.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use crate::sampling::Sampler;

const DISABLED: &str = "OTEL_SDK_DISABLED";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
/// What comes behind an endpoint for all signals.
const PATH: &str = "v1/traces";
/// How long one request to the collector may take, with its retries, unless told.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Spans that may wait, and go in one request, at most: one takes about a KiB.
const SPANS_MAX: u32 = 1 << 20;

/// What the variables say.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub(crate) endpoint: Url,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) sampler: Sampler,
    pub(crate) service: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
    /// Spans that wait; this and the next two are as OpenTelemetry has them unless told.
    pub(crate) queue: Option<usize>,
    /// Spans in one request.
    pub(crate) batch: Option<usize>,
    /// Between requests.
    pub(crate) pause: Option<Duration>,
}

/// A variable has a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct BadSetting {
    /// Which.
    pub variable: &'static str,
    /// What is wrong, and what would be right. The value is no part of it where it may be a secret.
    pub problem: String,
}

impl Settings {
    /// What `get` has; `None` when no endpoint is set, or all is off.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, BadSetting> {
        // An empty variable is one that is not set.
        let get = |name: &str| {
            get(name)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        if get(DISABLED).is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        match get(EXPORTER).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                return Err(bad(
                    EXPORTER,
                    format!("`{other}` is not supported; `otlp` and `none` are"),
                ));
            }
        }
        let Some(endpoint) = endpoint(&get)? else {
            return Ok(None);
        };
        let protocol = of_traces(
            &get,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        );
        only(protocol, "http/protobuf", ", which collectors take at port 4318")?;
        let compression = of_traces(
            &get,
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        );
        only(compression, "none", "")?;
        const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let attributes = get(ATTRIBUTES).map_or(Ok(Vec::new()), |text| pairs(ATTRIBUTES, &text))?;
        let spans = |variable: &'static str, such: &str| {
            let said = get(variable).map(|text| number(variable, &text, SPANS_MAX, such));
            Ok(said.transpose()?.map(|spans| spans as usize))
        };
        const PAUSE: &str = "OTEL_BSP_SCHEDULE_DELAY";
        let pause = get(PAUSE).map(|text| number(PAUSE, &text, u32::MAX, "of milliseconds, such as 5000"));
        let pause = pause.transpose()?.map(millis);
        Ok(Some(Self {
            endpoint,
            headers: headers(&get)?,
            timeout: timeout(&get)?,
            sampler: sampler(&get)?,
            service: get("OTEL_SERVICE_NAME"),
            attributes,
            queue: spans("OTEL_BSP_MAX_QUEUE_SIZE", "such as 2048")?,
            batch: spans("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "such as 512")?,
            pause,
        }))
    }

    /// Where spans go, for the log: without what may be a secret.
    #[must_use]
    pub fn host(&self) -> String {
        self.endpoint[url::Position::BeforeHost..url::Position::AfterPort].to_owned()
    }
}

fn bad(variable: &'static str, problem: impl Into<String>) -> BadSetting {
    BadSetting {
        variable,
        problem: problem.into(),
    }
}

/// The variable for traces, else that for all signals.
fn of_traces(
    get: &impl Fn(&str) -> Option<String>,
    traces: &'static str,
    all: &'static str,
) -> Option<(&'static str, String)> {
    let found = |name: &'static str| get(name).map(|text| (name, text));
    found(traces).or_else(|| found(all))
}

fn endpoint(get: &impl Fn(&str) -> Option<String>) -> Result<Option<Url>, BadSetting> {
    let Some((variable, text)) = of_traces(get, TRACES_ENDPOINT, ENDPOINT) else {
        return Ok(None);
    };
    let wrong = || bad(variable, "must be an address such as http://localhost:4318");
    let mut url = Url::parse(&text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            variable,
            "must not have a name or a password; OTEL_EXPORTER_OTLP_HEADERS has what the collector asks for",
        ));
    }
    if variable == ENDPOINT {
        // That for all signals is the beginning of an address.
        let path = format!("{}/{PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(Some(url))
}

/// Refuses all but the one value that is supported.
fn only(said: Option<(&'static str, String)>, value: &str, note: &str) -> Result<(), BadSetting> {
    match said {
        Some((variable, text)) if text != value => Err(bad(
            variable,
            format!("`{text}` is not supported, only `{value}` is{note}"),
        )),
        _ => Ok(()),
    }
}

fn headers(get: &impl Fn(&str) -> Option<String>) -> Result<HashMap<String, String>, BadSetting> {
    let said = of_traces(
        get,
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_HEADERS",
    );
    let Some((variable, text)) = said else {
        return Ok(HashMap::new());
    };
    let pairs = pairs(variable, &text)?;
    // The exporter would leave it out without a word.
    let is_none = |(name, value): &(String, String)| {
        name.parse::<HeaderName>().is_err() || value.parse::<HeaderValue>().is_err()
    };
    if let Some(at) = pairs.iter().position(is_none) {
        let which = at + 1;
        return Err(bad(variable, format!("entry {which} cannot be a header of HTTP")));
    }
    Ok(pairs.into_iter().collect())
}

fn timeout(get: &impl Fn(&str) -> Option<String>) -> Result<Duration, BadSetting> {
    let said = of_traces(
        get,
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    );
    let Some((variable, text)) = said else {
        return Ok(TIMEOUT);
    };
    number(variable, &text, u32::MAX, "of milliseconds, such as 10000").map(millis)
}

fn number(variable: &'static str, text: &str, most: u32, such: &str) -> Result<u32, BadSetting> {
    match text.parse::<u32>() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(bad(
            variable,
            format!("must be a number {such}, from 1 to {most}, is `{text}`"),
        )),
    }
}

fn millis(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

fn sampler(get: &impl Fn(&str) -> Option<String>) -> Result<Sampler, BadSetting> {
    let Some(name) = get(SAMPLER) else {
        return Ok(Sampler::default());
    };
    let ratio = match get(SAMPLER_ARG) {
        Some(text) if name.ends_with("traceidratio") => match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => return Err(bad(SAMPLER_ARG, format!("must be from 0 to 1, is `{text}`"))),
        },
        _ => 1.0,
    };
    let unknown = || {
        bad(
            SAMPLER,
            format!("`{name}` is not supported; it may be {}", Sampler::NAMES),
        )
    };
    Sampler::named(&name, ratio).ok_or_else(unknown)
}

/// `name=value,name=value`, the values percent-encoded as in W3C Baggage.
fn pairs(variable: &'static str, text: &str) -> Result<Vec<(String, String)>, BadSetting> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let pair = |member: &str| {
        let (name, value) = member.split_once('=')?;
        let (name, value) = (name.trim(), decoded(value.trim())?);
        (!name.is_empty()).then(|| (name.to_owned(), value))
    };
    members
        .enumerate()
        .map(|(at, member)| {
            let which = at + 1;
            pair(member).ok_or_else(|| {
                bad(
                    variable,
                    format!("must be `name=value,name=value`; entry {which} is not"),
                )
            })
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push((digit()? << 4 | digit()?) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, BadSetting> {
        let found = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Settings::read(|name| found(name).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn without_an_endpoint_there_is_nothing_of_it() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[(ENDPOINT, " "), (SAMPLER, "nonsense")]), Ok(None));
        let there = (ENDPOINT, "http://collector:4318");
        assert_eq!(read(&[there, (DISABLED, "TRUE")]), Ok(None));
        assert_eq!(read(&[there, (EXPORTER, "none")]), Ok(None));
        assert!(read(&[there, (DISABLED, "no")]).unwrap().is_some());
    }

    #[test]
    fn the_address_for_all_signals_is_the_beginning_of_that_for_traces() {
        let to = |variables: &[(&str, &str)]| read(variables).unwrap().unwrap().endpoint.to_string();
        assert_eq!(to(&[(ENDPOINT, "http://c:4318")]), "http://c:4318/v1/traces");
        assert_eq!(to(&[(ENDPOINT, "https://c/otlp/")]), "https://c/otlp/v1/traces");
        let both = [(ENDPOINT, "http://c:4318"), (TRACES_ENDPOINT, "http://t/here")];
        assert_eq!(to(&both), "http://t/here");
    }

    #[test]
    fn the_rest_is_as_the_standard_has_it() {
        let settings = read(&[
            (ENDPOINT, "http://c:4318"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20x, a = b=c ,",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", " 16 "),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=prod,team=caf%C3%A9",
            ),
            (SAMPLER, "parentbased_traceidratio"),
            (SAMPLER_ARG, "0.25"),
        ])
        .unwrap()
        .unwrap();
        let header = |name: &str| settings.headers.get(name).map(String::as_str);
        assert_eq!(
            (header("authorization"), header("a")),
            (Some("Bearer x"), Some("b=c"))
        );
        assert_eq!(settings.timeout, Duration::from_millis(2500));
        assert_eq!((settings.queue, settings.batch), (Some(16), None));
        assert_eq!(settings.pause, Some(Duration::from_millis(100)));
        assert_eq!(
            settings.sampler,
            Sampler {
                is_parent_based: true,
                ratio: 0.25
            }
        );
        assert_eq!(settings.service.as_deref(), Some("shop"));
        assert_eq!(settings.attributes[1], ("team".into(), "café".into()));
        assert_eq!(settings.host(), "c:4318");
    }

    #[test]
    fn what_is_wrong_or_not_supported_is_said_and_secrets_are_not() {
        for (variable, value, says) in [
            (ENDPOINT, "collector:4318", "http://localhost:4318"),
            (ENDPOINT, "grpc://collector", "http://localhost:4318"),
            (ENDPOINT, "http://me:secret@collector", "HEADERS"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only `http/protobuf`"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                "http/json",
                "only `http/protobuf`",
            ),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "not supported"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,secret", "entry 2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", "entry 1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,c=secret%0A", "entry 2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "of me=secret", "entry 1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "2k", "such as 2048"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1000000000000", "1048576"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "from 1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0", "milliseconds"),
            (EXPORTER, "zipkin", "`otlp`"),
            (SAMPLER, "xray", "parentbased_always_on"),
        ] {
            let error = read(&[(variable, value), (ENDPOINT, "http://c:4318")]).unwrap_err();
            assert_eq!(error.variable, variable);
            assert!(error.problem.contains(says), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let by_ratio = [
            (ENDPOINT, "http://c"),
            (SAMPLER, "traceidratio"),
            (SAMPLER_ARG, "2"),
        ];
        assert_eq!(read(&by_ratio).unwrap_err().variable, SAMPLER_ARG);
    }
}
