//! What a submit says: one input and the options beside it, in the body or, where the body is a file, around it.

use std::time::Duration;

use bytes::Bytes;
use cresset_task::RetryTerms;
use serde_json::value::RawValue;

use super::upload::header_json;

/// The body of a submit: the input's own text, and options beside it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SubmitBody<'a> {
    /// -100 (last) to 100 (first).
    pub(crate) priority: Option<i8>,
    /// A JSON object.
    pub(crate) metadata: Option<&'a RawValue>,
    /// An instant, as the server reads it.
    pub(crate) eta: Option<&'a str>,
    /// A time from now.
    pub(crate) countdown: Option<Duration>,
    /// A time from now.
    pub(crate) expires: Option<Duration>,
    /// A time from now.
    pub(crate) deadline: Option<Duration>,
    /// How it is tried again.
    pub(crate) retry: Option<&'a RetryTerms>,
    /// An address.
    pub(crate) callback_url: Option<&'a str>,
    /// Names of events.
    pub(crate) callback_events: &'a [String],
}

impl SubmitBody<'_> {
    /// The body with this input, which must be one JSON value: it is copied as it is.
    pub(crate) fn render(&self, input: &RawValue) -> Bytes {
        let mut body = String::with_capacity(input.get().len() + 64);
        body.push_str("{\"input\":");
        body.push_str(input.get());
        if let Some(priority) = self.priority {
            body.push_str(&format!(",\"priority\":{priority}"));
        }
        if let Some(metadata) = self.metadata {
            body.push_str(",\"metadata\":");
            body.push_str(metadata.get());
        }
        if let Some(eta) = self.eta {
            body.push_str(&format!(",\"eta\":{}", serde_json::Value::from(eta)));
        }
        let times = [
            ("countdown", self.countdown),
            ("expires", self.expires),
            ("deadline", self.deadline),
        ];
        for (key, value) in times {
            if let Some(value) = value {
                body.push_str(&format!(",\"{key}\":\"{}ms\"", value.as_millis()));
            }
        }
        if let Some(retry) = self.retry {
            body.push_str(&format!(",\"retry\":{}", retry_json(retry)));
        }
        if let Some(url) = self.callback_url {
            body.push_str(&format!(",\"callback_url\":{}", serde_json::Value::from(url)));
        }
        if !self.callback_events.is_empty() {
            body.push_str(&format!(
                ",\"callback_events\":{}",
                serde_json::Value::from(self.callback_events)
            ));
        }
        body.push('}');
        body.into()
    }
}

impl SubmitBody<'_> {
    /// The options as parameters of a query, where the body has no room for them.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, String)> {
        let time = |time: Duration| format!("{}ms", time.as_millis());
        let events = (!self.callback_events.is_empty()).then(|| self.callback_events.join(","));
        let pairs = [
            ("priority", self.priority.map(|priority| priority.to_string())),
            ("eta", self.eta.map(str::to_owned)),
            ("countdown", self.countdown.map(time)),
            ("expires", self.expires.map(time)),
            ("deadline", self.deadline.map(time)),
            ("callback_url", self.callback_url.map(str::to_owned)),
            ("callback_events", events),
        ];
        let given = pairs.into_iter();
        given.filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Those that are headers there.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let metadata = self.metadata.map(header_json);
        let retry = self.retry.map(|terms| retry_json(terms).to_string());
        [("cresset-metadata", metadata), ("cresset-retry", retry)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// In the words of a submit.
fn retry_json(terms: &RetryTerms) -> serde_json::Value {
    let wait = |wait: Option<Duration>| wait.map(|wait| format!("{}ms", wait.as_millis()).into());
    let pairs: [(&str, Option<serde_json::Value>); 4] = [
        ("max_retries", terms.max_retries.map(Into::into)),
        ("delay", wait(terms.delay)),
        ("max_delay", wait(terms.max_delay)),
        ("on", terms.on.clone().map(Into::into)),
    ];
    let said = pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    serde_json::Value::Object(said.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_sent_as_it_is_written() {
        let input: &RawValue = serde_json::from_str(" [1.10, 12345678901234567890123] ").unwrap();
        let metadata: &RawValue = serde_json::from_str(r#"{"user": 7}"#).unwrap();
        let body = SubmitBody {
            priority: Some(-5),
            metadata: Some(metadata),
            eta: Some("2026-01-31T08:00:00Z"),
            countdown: None,
            expires: Some(Duration::from_millis(1500)),
            deadline: Some(Duration::from_secs(2)),
            retry: Some(&RetryTerms {
                max_retries: Some(0),
                delay: Some(Duration::from_millis(1500)),
                max_delay: None,
                on: Some(vec!["OSError".into()]),
            }),
            callback_url: Some("https://example.com/\"hook"),
            callback_events: &["failed".to_owned()],
        }
        .render(input);
        assert_eq!(
            body,
            concat!(
                r#"{"input":[1.10, 12345678901234567890123],"priority":-5,"metadata":{"user": 7},"#,
                r#""eta":"2026-01-31T08:00:00Z","expires":"1500ms","deadline":"2000ms","#,
                r#""retry":{"max_retries":0,"delay":"1500ms","on":["OSError"]},"#,
                r#""callback_url":"https://example.com/\"hook","callback_events":["failed"]}"#
            )
        );
    }
}
