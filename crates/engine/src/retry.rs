//! Whether a failed task is tried again, and when. Pure: the dice are given.

use std::time::Duration;

use cresset_config::Retry;
use cresset_task::{Again, Code, Failure};

/// The share by which a wait is spread, so that tasks which failed together do not all come back together.
const JITTER: f64 = 0.2;

/// How long to wait before the next try of a task that has been retried `retries` times; `None` when this failure is its end.
/// `dice` is uniform in 0..1. The wait doubles: `delay * 2^retries`, at most `max_delay`, spread by [`JITTER`] either way; a
/// model that names a time gets that time.
pub(crate) fn wait(policy: &Retry, retries: u32, failure: &Failure, dice: f64) -> Option<Duration> {
    // Only what was raised in the model: a wrong shape or a dead process is no better in a minute.
    let was_raised = matches!(failure.code, Code::ModelError | Code::SoftTimeout);
    if !was_raised || retries >= policy.max_retries {
        return None;
    }
    match failure.again {
        Again::Never => None,
        Again::Wanted(Some(after)) => Some(after),
        Again::Wanted(None) => Some(backoff(policy, retries, dice)),
        Again::Policy => {
            let is_listed = policy
                .on
                .iter()
                .any(|class| class == "*" || *class == failure.type_);
            is_listed.then(|| backoff(policy, retries, dice))
        }
    }
}

fn backoff(policy: &Retry, retries: u32, dice: f64) -> Duration {
    let factor = 1_u32.checked_shl(retries).unwrap_or(u32::MAX);
    let spread = 1.0 - JITTER + 2.0 * JITTER * dice.clamp(0.0, 1.0);
    policy
        .delay
        .saturating_mul(factor)
        .min(policy.max_delay)
        .mul_f64(spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on: &[&str]) -> Retry {
        Retry {
            max_retries: 3,
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(3),
            on: on.iter().map(|class| (*class).to_owned()).collect(),
        }
    }

    fn raised(type_: &str, again: Again) -> Failure {
        Failure {
            code: Code::ModelError,
            type_: type_.into(),
            message: "busy".into(),
            traceback: None,
            stage: None,
            again,
        }
    }

    #[test]
    fn only_listed_classes_are_retried_and_a_star_is_any() {
        let error = raised("TimeoutError", Again::Policy);
        assert_eq!(wait(&policy(&[]), 0, &error, 0.5), None);
        assert_eq!(wait(&policy(&["ValueError"]), 0, &error, 0.5), None);
        assert!(wait(&policy(&["ValueError", "TimeoutError"]), 0, &error, 0.5).is_some());
        assert!(wait(&policy(&["*"]), 0, &error, 0.5).is_some());
    }

    #[test]
    fn a_model_asks_for_a_retry_or_refuses_one() {
        let asked = raised("Retry", Again::Wanted(Some(Duration::from_secs(42))));
        assert_eq!(wait(&policy(&[]), 0, &asked, 0.5), Some(Duration::from_secs(42)));
        let asked = raised("Retry", Again::Wanted(None));
        assert_eq!(wait(&policy(&[]), 0, &asked, 0.5), Some(Duration::from_secs(1)));
        assert_eq!(
            wait(&policy(&["*"]), 0, &raised("Reject", Again::Never), 0.5),
            None
        );
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_last_retry() {
        let error = raised("E", Again::Policy);
        let waits: Vec<_> = (0..5).map(|n| wait(&policy(&["*"]), n, &error, 0.5)).collect();
        let s = |n| Some(Duration::from_secs(n));
        assert_eq!(waits, [s(1), s(2), s(3), None, None]);
    }

    #[test]
    fn a_wait_is_spread_by_a_fifth() {
        let error = raised("E", Again::Policy);
        let at = |dice| wait(&policy(&["*"]), 0, &error, dice).unwrap();
        assert_eq!(
            (at(0.0), at(1.0)),
            (Duration::from_millis(800), Duration::from_millis(1200))
        );
    }

    #[test]
    fn a_soft_timeout_is_raised_in_the_model_and_may_be_listed() {
        let late = Failure {
            code: Code::SoftTimeout,
            ..raised("SoftTimeout", Again::Policy)
        };
        assert!(wait(&policy(&["SoftTimeout"]), 0, &late, 0.5).is_some());
        assert!(wait(&policy(&["*"]), 0, &late, 0.5).is_some());
        assert_eq!(wait(&policy(&["TimeoutError"]), 0, &late, 0.5), None);
    }

    #[test]
    fn what_the_model_did_not_raise_is_not_retried() {
        let died = Failure {
            code: Code::InstanceDied,
            ..raised("InstanceDied", Again::Policy)
        };
        assert_eq!(wait(&policy(&["*"]), 0, &died, 0.5), None);
    }
}
