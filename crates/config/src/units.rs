//! Durations and byte sizes as people write them: `"2ms"`, `"1.5h"`, `"64MiB"`. Read exactly or refused; written in the
//! largest unit that is exact, so that what we print reads back as the same value.

use std::time::Duration;

const DURATIONS: &[(&str, u64)] = &[
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

/// What a duration must look like, for messages.
pub(crate) const DURATION_FORM: &str = "a duration with a unit (us, ms, s, m, h, d), such as \"30s\"";
/// What a size must look like, for messages.
pub(crate) const SIZE_FORM: &str =
    "a size in bytes, or a size with a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), such as \"64MiB\"";

/// `"30s"` as a duration, exact to the microsecond. `None` when it is not one.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, DURATIONS).map(Duration::from_micros)
}

/// `"64MiB"` as bytes; a bare number is bytes. `None` when it is not a size.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    match text.trim() {
        digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        other => parse(other, SIZES),
    }
}

/// The shortest text that reads back as `duration` (to the microsecond).
pub(crate) fn show_duration(duration: Duration) -> String {
    show(
        u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        DURATIONS,
        "0s",
    )
}

/// The shortest text that reads back as `bytes`, in binary units.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES[..4], "0B")
}

/// `bytes` for a sentence, where 37.3GiB says more than 39062500KiB.
pub(crate) fn about_size(bytes: u64) -> String {
    let exact = show_size(bytes);
    match SIZES[..4].iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) if exact.len() > 8 => format!("{:.1}{unit}", bytes as f64 / *size as f64),
        _ => exact,
    }
}

fn show(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    if amount == 0 {
        return zero.into();
    }
    match units.iter().find(|(_, size)| amount.is_multiple_of(*size)) {
        Some((unit, size)) => format!("{}{unit}", amount / size),
        None => format!("{amount}B"),
    }
}

/// Digits, perhaps a point and more digits, perhaps spaces, a unit. The product must be a whole number of base units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let scale = units.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
        None => (number, ""),
    };
    let mut amount = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if !fraction.is_empty() {
        let divisor = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(scale);
        if !part.is_multiple_of(u128::from(divisor)) {
            return None;
        }
        amount = amount.checked_add(u64::try_from(part / u128::from(divisor)).ok()?)?;
    }
    Some(amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_people_mean_them() {
        let ms = |n| Some(Duration::from_millis(n));
        assert_eq!(parse_duration("2ms"), ms(2));
        assert_eq!(parse_duration("30s"), ms(30_000));
        assert_eq!(parse_duration(" 5 m "), ms(300_000));
        assert_eq!(parse_duration("1.5h"), ms(5_400_000));
        assert_eq!(parse_duration("1d"), ms(86_400_000));
        assert_eq!(parse_duration("0s"), ms(0));
        for bad in [
            "",
            "5",
            "s",
            "5 minutes",
            "-1s",
            "1e3s",
            ".5s",
            "1.s",
            "1.2.3s",
            "0.5us",
            "99999999999999d",
            "1M",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_know_binary_from_decimal() {
        assert_eq!(parse_size("64MiB"), Some(64 << 20));
        assert_eq!(parse_size("1GB"), Some(1_000_000_000));
        assert_eq!(parse_size("1.5KiB"), Some(1536));
        assert_eq!(parse_size("4096"), Some(4096));
        for bad in ["", "MiB", "1mb", "1M", "-1", "0.3B", "99999999TiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(n in any::<u64>(), shift in 0..60_u32) {
            let n = n >> shift;
            prop_assert_eq!(parse_size(&show_size(n)), Some(n));
            prop_assert_eq!(parse_duration(&show_duration(Duration::from_micros(n))), Some(Duration::from_micros(n)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,24}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
