//! Durations as callers write them: `30s`, `500ms`, `2m`, `1h`, or a plain number of seconds.
//!
//! Unlike the settings files, where a bare number is a mistake, the API takes one: clients hold timeouts as seconds.

use std::time::Duration;

/// What a duration must look like, for messages.
pub(crate) const FORM: &str = "a duration such as `30s`, `500ms` or `2m`, or a number of seconds";

/// Longest first where one is another's ending.
const UNITS: [(&str, f64); 4] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Reads `30s`, `1.5m`, `30`. `None` when it is not one, or longer than a `Duration` can be.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let (number, scale) = UNITS
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))
        .unwrap_or((text, 1.0));
    // Only what reads as a plain decimal: `f64` would also take `inf`, `1e9` and `+1`.
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && number.starts_with(|c: char| c.is_ascii_digit());
    if !plain {
        return None;
    }
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}

/// The shortest of the forms above that says it, to the millisecond.
pub(crate) fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0s".into(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_callers_mean_them() {
        let ms = |n| Some(Duration::from_millis(n));
        for (text, is) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("5", 5000),
            ("0.25", 250),
            ("1.5m", 90_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), ms(is), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for bad in [
            "",
            "s",
            "-1s",
            "+1s",
            "inf",
            "nan",
            "1e3",
            ".5s",
            "1.2.3",
            "5 s",
            "30S",
            "1d",
            "99999999999999999999999999h",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(ms in 0_u64..100_000_000) {
            prop_assert_eq!(parse(&show(Duration::from_millis(ms))), Some(Duration::from_millis(ms)));
        }
    }
}
