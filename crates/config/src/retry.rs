//! `[retry]`: when a failed task is tried again; and what a task may say of that itself, within the same bounds.

use std::time::Duration;

use cresset_task::RetryTerms;

/// Retries of one task at most: more is a loop that nobody watches.
pub const RETRIES_MAX: u32 = 1000;
/// The longest wait between two tries: what is further off is a mistake of units.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(86_400);
/// Classes of exceptions listed, at most: each failure is compared with each.
pub const RETRY_ON_MAX: usize = 64;
/// Characters of one of them at most: more than any class is called by, and what a task brings is kept with it.
pub const EXCEPTION_CLASS_MAX: usize = 256;

/// When a task that failed is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often at most. Default 3.
    pub max_retries: u32,
    /// The wait before the first; each further one is twice as long. Default 1 s.
    pub delay: Duration,
    /// The longest wait. Default 10 min.
    pub max_delay: Duration,
    /// Classes of exceptions that are tried again, as `error.type` names them; `*` is any. Default none: only what the
    /// model asks for with `cresset.Retry`.
    pub on: Vec<String>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_retries: 3,
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(600),
            on: Vec::new(),
        }
    }
}

impl Retry {
    /// The policy for a task with these terms: what they say, and the rest as the model says it.
    #[must_use]
    pub fn with(&self, terms: &RetryTerms) -> Self {
        Self {
            max_retries: terms.max_retries.unwrap_or(self.max_retries),
            delay: terms.delay.unwrap_or(self.delay),
            max_delay: terms.max_delay.unwrap_or(self.max_delay),
            on: terms.on.clone().unwrap_or_else(|| self.on.clone()),
        }
    }
}

/// `TimeoutError`, `requests.exceptions.ConnectionError`, or `*` for any.
#[must_use]
pub fn is_exception_class(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let is_short = text.chars().nth(EXCEPTION_CLASS_MAX).is_none();
    text == "*" || (is_short && text.split('.').all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_terms_leave_out_the_model_says() {
        let model = Retry {
            on: vec!["OSError".into()],
            ..Retry::default()
        };
        assert_eq!(model.with(&RetryTerms::default()), model);
        let terms = RetryTerms {
            max_retries: Some(0),
            on: Some(Vec::new()),
            ..RetryTerms::default()
        };
        let policy = model.with(&terms);
        assert_eq!((policy.max_retries, policy.on.len()), (0, 0));
        assert_eq!((policy.delay, policy.max_delay), (model.delay, model.max_delay));
    }

    #[test]
    fn classes_are_dotted_names_of_a_sane_length() {
        for good in ["*", "TimeoutError", "requests.exceptions.ConnectionError", "_É9"] {
            assert!(is_exception_class(good), "{good}");
        }
        let long = "A".repeat(EXCEPTION_CLASS_MAX + 1);
        for bad in ["", ".", "a.", "9a", "Time out", "**", long.as_str()] {
            assert!(!is_exception_class(bad), "{bad}");
        }
        assert!(is_exception_class(&long[1..]));
    }
}
