//! What becomes of a try: delivered, again then, given up, gone. Pure: the clock and the dice are given.

use std::time::Duration;

use cresset_task::{EventId, Timestamp};
use sha2::{Digest, Sha256};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// How long after each try that failed the next one follows, before jitter: 13 tries, over about a day.
pub const SCHEDULE: [Duration; 12] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(30 * 60),
    HOUR,
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(3 * 3_600),
    Duration::from_secs(4 * 3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(7 * 3_600),
];

/// A wait is so much shorter or longer at most, so that what failed together does not come back together.
pub const JITTER: f64 = 0.2;

/// Whatever was first to be sent longer ago is given up with its next failure: a receiver that was down has a queue
/// behind it, and late tries must not go on for ever.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(36 * 3_600);

/// A `Retry-After` that asks for longer is taken for so long.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(6 * 3_600);

/// A host that failed is left alone for so long, doubling with each failure in a row: what waits for it takes its turn
/// at this pace, instead of all at once.
pub const HOST_PAUSE_FIRST: Duration = SECOND;
/// And never longer.
pub const HOST_PAUSE_LONGEST: Duration = MINUTE;

/// The waits, as they are, or shorter for a test.
#[derive(Clone, Debug)]
pub struct Policy {
    /// See [`SCHEDULE`].
    pub schedule: Vec<Duration>,
    /// See [`HOST_PAUSE_FIRST`].
    pub host_pause: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            schedule: SCHEDULE.to_vec(),
            host_pause: HOST_PAUSE_FIRST,
        }
    }
}

/// What came back of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An answer with this status, and how long it asked us to wait.
    Status(u16, Option<Duration>),
    /// None: the line, the name, the time.
    None,
    /// It was not sent, and never will be: its address is refused.
    Refused,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The other side has it.
    Delivered,
    /// It is sent again after so long.
    Again(Duration),
    /// It is not.
    GivenUp,
    /// Nor is anything else to this address.
    Gone,
}

impl Policy {
    /// `tries` counts this one; `since` is when it was first to be sent; `dice` is from 0 to 1.
    #[must_use]
    pub fn judge(&self, answer: Answer, tries: u32, since: Timestamp, now: Timestamp, dice: f64) -> Verdict {
        let asked = match answer {
            Answer::Status(200..=299, _) => return Verdict::Delivered,
            Answer::Status(410, _) => return Verdict::Gone,
            Answer::Refused => return Verdict::GivenUp,
            Answer::Status(429 | 503, asked) => asked,
            Answer::Status(..) | Answer::None => None,
        };
        let done = tries.saturating_sub(1) as usize;
        let Some(wait) = self.schedule.get(done) else {
            return Verdict::GivenUp;
        };
        if now.since(since) > GIVE_UP_AFTER {
            return Verdict::GivenUp;
        }
        let wait = wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * dice.clamp(0.0, 1.0));
        let asked = asked.unwrap_or_default().min(RETRY_AFTER_MAX);
        Verdict::Again(wait.max(asked))
    }

    /// How long a host is left alone that failed so often in a row.
    #[must_use]
    pub fn host_pause(&self, failures: u32) -> Duration {
        let doubled = 1_u32 << failures.saturating_sub(1).min(10);
        (self.host_pause * doubled).min(HOST_PAUSE_LONGEST)
    }
}

/// A number from 0 to 1 that follows from what is sent and how often: the same after a restart, another for each.
#[must_use]
pub fn dice(id: EventId, tries: u32) -> f64 {
    let digest = Sha256::digest(format!("{id} {tries}"));
    let bits = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(bits) / f64::from(u32::MAX)
}

/// A `Retry-After`: seconds, or an instant, of which what has passed is no wait.
#[must_use]
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let then = then.duration_since(std::time::UNIX_EPOCH).ok()?;
    let then = Timestamp::from_micros(i64::try_from(then.as_micros()).ok()?);
    Some(then.since(now))
}

#[cfg(test)]
mod tests {
    use cresset_task::{Event, TaskId};
    use proptest::prelude::*;

    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000)
    }

    fn judge(answer: Answer, tries: u32) -> Verdict {
        Policy::default().judge(answer, tries, start(), start(), 0.5)
    }

    #[test]
    fn each_answer_has_its_verdict() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(Answer::Status(status, None), 13), Verdict::Delivered);
        }
        assert_eq!(judge(Answer::Status(410, None), 1), Verdict::Gone);
        assert_eq!(judge(Answer::Refused, 1), Verdict::GivenUp);
        // A redirect is a failure, as is everything else; what they ask us to wait counts for two statuses.
        let asked = Some(Duration::from_secs(600));
        for status in [100, 301, 302, 307, 308, 400, 401, 404, 500, 502] {
            assert_eq!(
                judge(Answer::Status(status, asked), 1),
                Verdict::Again(SCHEDULE[0])
            );
        }
        assert_eq!(judge(Answer::None, 1), Verdict::Again(SCHEDULE[0]));
        for status in [429, 503] {
            let asked = |seconds| judge(Answer::Status(status, Some(Duration::from_secs(seconds))), 1);
            assert_eq!(asked(600), Verdict::Again(Duration::from_secs(600)));
            assert_eq!(asked(0), Verdict::Again(SCHEDULE[0]), "no sooner than without");
            assert_eq!(asked(u64::MAX), Verdict::Again(RETRY_AFTER_MAX));
        }
    }

    #[test]
    fn the_schedule_ends_after_about_a_day() {
        let sum: Duration = SCHEDULE.iter().sum();
        assert!(sum > 23 * HOUR && sum < 25 * HOUR, "{sum:?}");
        assert!(sum.mul_f64(1.0 + JITTER) < GIVE_UP_AFTER);
        assert!(SCHEDULE.is_sorted());
        assert_eq!(judge(Answer::None, 12), Verdict::Again(SCHEDULE[11]));
        assert_eq!(judge(Answer::None, 13), Verdict::GivenUp);
        let late = start().plus(GIVE_UP_AFTER + SECOND);
        let verdict = Policy::default().judge(Answer::None, 2, start(), late, 0.5);
        assert_eq!(verdict, Verdict::GivenUp);
    }

    #[test]
    fn a_host_that_fails_is_left_alone_longer_each_time() {
        let pause = |failures| Policy::default().host_pause(failures);
        assert_eq!([1, 2, 3].map(pause), [1, 2, 4].map(Duration::from_secs));
        assert_eq!([7, 100, u32::MAX].map(pause), [HOST_PAUSE_LONGEST; 3]);
    }

    #[test]
    fn a_wait_is_seconds_or_an_instant() {
        let now = Timestamp::from_micros(1_445_412_470_000_000);
        let read = |text| retry_after(text, now);
        assert_eq!(read(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(
            read("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::from_secs(10))
        );
        assert_eq!(read("Wed, 21 Oct 2015 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(
            read("99999999999999999999999"),
            Some(Duration::from_secs(u64::MAX))
        );
        for text in ["", "-1", "soon", "1.5", "1h"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_near_its_place_in_the_schedule(tries in 1_u32..=12, dice in 0.0..=1.0) {
            let Verdict::Again(wait) = Policy::default().judge(Answer::None, tries, start(), start(), dice) else {
                return Err(TestCaseError::fail("it is not given up"));
            };
            let place = SCHEDULE[tries as usize - 1];
            prop_assert!(wait >= place.mul_f64(1.0 - JITTER - 1e-9) && wait <= place.mul_f64(1.0 + JITTER + 1e-9));
        }

        #[test]
        fn dice_are_from_nothing_to_one(tries: u32) {
            let id = EventId { task: TaskId::fresh(), event: Event::Failed, attempt: 0 };
            let thrown = dice(id, tries);
            prop_assert!((0.0..=1.0).contains(&thrown));
            prop_assert_eq!(thrown, dice(id, tries));
        }
    }
}
