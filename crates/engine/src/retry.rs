//! Whether a failed task is tried again, and when. Pure: the dice are given.

use std::time::Duration;

use cresset_config::Retry;
use cresset_task::{Again, Code, Failure, TaskId};

/// The share by which a wait is spread, so that tasks which failed together do not all come back together.
const JITTER: f64 = 0.2;

/// How long to wait before the next try of a task that has been retried `retries` times; `None` when this failure is its end.
/// `dice` is uniform in 0..1. The wait doubles: `delay * 2^retries`, at most `max_delay`, spread by [`JITTER`] either way; a
/// model that names a time gets that time.
#[must_use]
pub fn wait(policy: &Retry, retries: u32, failure: &Failure, dice: f64) -> Option<Duration> {
    // Only what was raised in the model: a wrong shape or a dead process is no better in a minute.
    let was_raised = matches!(failure.code, Code::ModelError | Code::SoftTimeout);
    if !was_raised || retries >= policy.max_retries {
        return None;
    }
    match &failure.again {
        Again::Never | Again::Dead(_) => None,
        Again::Wanted(Some(after)) => Some(*after),
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

/// The dice of a task's next try: uniform in 0..1 over the tasks, as their ids are random, and another one for each try. So a
/// task's waits follow from its id, and a simulation can play them again.
pub(crate) fn dice(id: TaskId, retries: u32) -> f64 {
    let [.., a, b, c, d, e, f, g] = *id.as_bytes();
    let random = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
    // Mixed, or the tries of one task would lie side by side.
    let mut mixed = random.wrapping_add(u64::from(retries).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for shift in [30, 27, 31] {
        mixed = (mixed ^ (mixed >> shift)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (mixed >> 32) as f64 / (1_u64 << 32) as f64
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
    fn the_dice_are_even_over_tasks_and_new_for_each_try() {
        let ids: Vec<TaskId> = (0..4_000).map(|_| TaskId::fresh()).collect();
        for retries in [0, 1, 7] {
            let throws = ids.iter().map(|id| dice(*id, retries));
            let low = throws.clone().filter(|throw| *throw < 0.25).count();
            assert!(
                (800..1_200).contains(&low),
                "{low} of 4000 are in the first quarter"
            );
            assert!(throws.clone().all(|throw| (0.0..1.0).contains(&throw)));
        }
        let moved = ids
            .iter()
            .filter(|id| (dice(**id, 0) - dice(**id, 1)).abs() > 0.1);
        assert!(moved.count() > 2_000);
        assert_eq!(dice(ids[0], 3), dice(ids[0], 3));
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
