//! How a failed task is tried again, as its submitter says it. What the submitter leaves out, the model's own policy says.

use std::time::Duration;

/// The part of a retry policy that goes with one task. In stored form: JSON, its waits in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RetryTerms {
    /// How often it is tried again at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// The wait before the first retry, in whole milliseconds.
    #[serde(
        default,
        rename = "delay_ms",
        with = "millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub delay: Option<Duration>,
    /// The longest wait, likewise.
    #[serde(
        default,
        rename = "max_delay_ms",
        with = "millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_delay: Option<Duration>,
    /// Classes of exceptions that are tried again; `*` is any, and an empty list none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<String>>,
}

impl RetryTerms {
    /// Whether they leave everything to the model.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(wait: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
            .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_survive_storage_in_this_form() {
        let terms = RetryTerms {
            max_retries: Some(5),
            delay: Some(Duration::from_millis(1_500)),
            max_delay: None,
            on: Some(vec!["TimeoutError".into(), "*".into()]),
        };
        let stored = r#"{"max_retries":5,"delay_ms":1500,"on":["TimeoutError","*"]}"#;
        assert_eq!(serde_json::to_string(&terms).unwrap(), stored);
        assert_eq!(serde_json::from_str::<RetryTerms>(stored).unwrap(), terms);
        assert_eq!(
            serde_json::from_str::<RetryTerms>("{}").unwrap(),
            RetryTerms::default()
        );
    }

    #[test]
    fn an_empty_list_is_said_and_not_left_out() {
        let none = RetryTerms {
            on: Some(Vec::new()),
            ..RetryTerms::default()
        };
        assert!(!none.is_empty() && RetryTerms::default().is_empty());
        let stored = serde_json::to_string(&none).unwrap();
        assert_eq!(serde_json::from_str::<RetryTerms>(&stored).unwrap(), none);
    }
}
