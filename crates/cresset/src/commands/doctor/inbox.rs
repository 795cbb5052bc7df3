//! What lies in the inbox of a store in a database.

use std::time::Duration;

use cresset_queue::InboxLoad;
use cresset_task::Timestamp;

use super::line::Lines;

/// What has waited for longer waits for a reason, as the health report has it too.
const LONG: Duration = Duration::from_secs(60);

/// Says whether it is emptied.
pub(super) fn tell(load: &InboxLoad, is_served: bool, now: Timestamp, lines: &mut Lines) {
    if load.refused > 0 {
        lines.warn(
            "inbox",
            format!(
                "{} rows cannot be tasks; their column `error` says why",
                load.refused
            ),
            "mend what writes them and delete the rows, or set `error` to NULL to have them tried again",
        );
    }
    let Some(oldest) = load.oldest else {
        lines.ok("inbox", "nothing waits");
        return;
    };
    let age = now.since(oldest);
    let text = format!("{} tasks wait, the oldest for {} s", load.rows, age.as_secs());
    if age < LONG {
        lines.ok("inbox", text);
    } else if is_served {
        lines.warn(
            "inbox",
            text,
            "`GET /health/ready` of the server says for what: room in a queue, a model that is down, or the database",
        );
    } else {
        lines.warn("inbox", text, "no server has the store: start one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(load: &InboxLoad, is_served: bool) -> String {
        let mut lines = Lines::default();
        tell(load, is_served, Timestamp::from_micros(100_000_000), &mut lines);
        format!("{lines:?}")
    }

    #[test]
    fn what_waits_for_long_and_what_is_refused_is_a_warning() {
        let mut load = InboxLoad::default();
        assert!(told(&load, true).contains("nothing waits"));
        load.rows = 2;
        load.oldest = Some(Timestamp::from_micros(99_000_000));
        assert!(told(&load, true).contains("2 tasks wait, the oldest for 1 s"));
        load.oldest = Some(Timestamp::from_micros(1_000_000));
        assert!(told(&load, true).contains("/health/ready"));
        assert!(told(&load, false).contains("start one"));
        load.refused = 1;
        assert!(told(&load, true).contains("1 rows cannot be tasks"));
    }
}
