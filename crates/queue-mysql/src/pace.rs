//! How often is looked for what nobody tells of: neither MySQL nor MariaDB tells of a commit.

use std::time::Duration;

/// Between two looks there is this part of the time since something came or went: who comes after a second is seen within a
/// sixteenth of one, and a rush costs no more looks than it has time for.
const PAUSE_PART: u32 = 16;

/// While there is nothing: what comes is seen so late at most, and an idle site asks four times a second.
const PAUSE_LONGEST: Duration = Duration::from_millis(250);

/// Until the next look, when nothing has come or gone for so long; while something does, the `shortest`.
pub(crate) fn pause_after(quiet: Duration, shortest: Duration) -> Duration {
    (quiet / PAUSE_PART).clamp(shortest, PAUSE_LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_frequent_while_something_comes_and_seldom_while_nothing_does() {
        let shortest = Duration::from_millis(10);
        let after = |millis| pause_after(Duration::from_millis(millis), shortest).as_millis();
        assert_eq!(
            [after(0), after(160), after(1_600), after(4_000), after(3_600_000)],
            [10, 10, 100, 250, 250]
        );
    }
}
