//! Times as Celery writes them: ISO 8601 with an offset, or without one, which then means a zone that both sides have set.

use cresset_task::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Offset, TimeZone};

static PARSER: DateTimeParser = DateTimeParser::new();

/// Reads a time; one without an offset is UTC, Celery's own default.
#[must_use]
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let stamp = match PARSER.parse_timestamp(text) {
        Ok(stamp) => stamp,
        Err(_) => {
            let local: DateTime = PARSER.parse_datetime(text).ok()?;
            let zoned = TimeZone::fixed(Offset::UTC).to_timestamp(local).ok()?;
            // "…[Zone]" is not Celery's, and has no offset that we could trust.
            if text.contains('[') {
                return None;
            }
            zoned
        }
    };
    Some(Timestamp::from_micros(stamp.as_microsecond()))
}

/// `2026-11-22T23:14:34.856244+00:00`.
#[must_use]
pub fn show_time(at: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(at.as_micros()) {
        Ok(stamp) => {
            let local = Offset::UTC.to_datetime(stamp);
            format!("{}+00:00", local.strftime("%Y-%m-%dT%H:%M:%S.%6f"))
        }
        // Beyond the years that can be written: nothing here makes such a time.
        Err(_) => "9999-12-31T23:59:59.999999+00:00".into(),
    }
}

/// `2026-11-22 23:14:34.856244`, in UTC: as databases take a time that has no zone.
#[must_use]
pub fn show_sql_time(at: Timestamp) -> String {
    let shown = show_time(at);
    shown.replace('T', " ").replace("+00:00", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_and_none_is_utc() {
        let utc = parse_time("2026-11-22T23:14:34.856244+00:00").unwrap();
        assert_eq!(parse_time("2026-11-23T04:44:34.856244+05:30"), Some(utc));
        assert_eq!(parse_time("2026-11-22T23:14:34.856244"), Some(utc));
        assert_eq!(parse_time("2026-11-22T23:14:34.856244Z"), Some(utc));
        assert_eq!(show_time(utc), "2026-11-22T23:14:34.856244+00:00");
        assert_eq!(show_sql_time(utc), "2026-11-22 23:14:34.856244");
        for wrong in [
            "",
            "soon",
            "12",
            "2026-13-01T00:00:00",
            "2026-11-22T23:14:34[Europe/Oslo]",
        ] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }
}
