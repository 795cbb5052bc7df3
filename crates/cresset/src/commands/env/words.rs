//! Environments in words and in JSON.

use std::time::SystemTime;

use cresset_runner::EnvInfo;
use cresset_task::Timestamp;
use serde::Serialize;

use crate::out::Table;

/// As much of the requirements as a table shows, in characters.
const REQUIREMENTS_SHOWN_MAX: usize = 60;

/// An environment in `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Environment<'a> {
    key: &'a str,
    path: String,
    python: &'a str,
    requirements: Vec<&'a str>,
    last_used: Option<Timestamp>,
    bytes: u64,
    bytes_own: u64,
    in_use: bool,
}

impl<'a> Environment<'a> {
    pub(super) fn of(info: &'a EnvInfo) -> Self {
        Self {
            key: info.key.as_str(),
            path: info.path.display().to_string(),
            python: &info.python,
            requirements: info.requirements.lines().collect(),
            last_used: info.last_used.map(timestamp),
            bytes: info.bytes,
            bytes_own: info.bytes_own,
            in_use: info.in_use,
        }
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::from_micros(0).plus(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Environments for a person. `OWN` is what removing one frees.
pub(super) fn table<'a>(infos: impl IntoIterator<Item = &'a EnvInfo>) -> String {
    let mut table = Table::new(&[
        "ENVIRONMENT",
        "PYTHON",
        ">SIZE",
        ">OWN",
        "LAST USED (UTC)",
        "IN USE",
        "REQUIREMENTS",
    ]);
    for info in infos {
        table.row([
            info.key.to_string(),
            info.python.clone(),
            size(info.bytes),
            size(info.bytes_own),
            info.last_used
                .map_or_else(|| "-".to_owned(), |at| minutes(timestamp(at))),
            if info.in_use { "yes" } else { "no" }.to_owned(),
            requirements(&info.requirements),
        ]);
    }
    table.render()
}

fn minutes(at: Timestamp) -> String {
    at.to_string()
        .chars()
        .take("2026-11-23T10:00".len())
        .collect::<String>()
        .replace('T', " ")
}

fn requirements(text: &str) -> String {
    let line = text.lines().collect::<Vec<_>>().join(", ");
    match line.char_indices().nth(REQUIREMENTS_SHOWN_MAX) {
        None => line,
        Some((end, _)) => format!("{}...", &line[..end]),
    }
}

/// Bytes with three digits: `9.5 GB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if amount < 1000.0 {
            return if amount < 10.0 && unit != "B" {
                format!("{amount:.1} {unit}")
            } else {
                format!("{amount:.0} {unit}")
            };
        }
        amount /= 1000.0;
    }
    format!("{amount:.1} TB")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use cresset_runner::EnvKey;

    use super::*;

    fn info() -> EnvInfo {
        EnvInfo {
            key: EnvKey::from_name("0123456789abcdef0123456789abcdef").unwrap(),
            path: "/cache/envs/0123456789abcdef0123456789abcdef".into(),
            python: "3.11.7".into(),
            requirements: "torch==2.15.0\nnumpy\nsentence-transformers>=3\nscikit-learn==1.5.0\n".into(),
            last_used: Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
            bytes: 5_312_345_678,
            bytes_own: 9_123_456,
            in_use: true,
        }
    }

    #[test]
    fn environments_are_a_table() {
        insta::assert_snapshot!(table([
            &info(),
            &EnvInfo {
                last_used: None,
                in_use: false,
                ..info()
            }
        ]));
    }

    #[test]
    fn json_has_every_field() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&Environment::of(&info())).unwrap());
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1500, "1.5 kB"),
            (999_999, "1000 kB"),
            (12_345_678, "12 MB"),
            (5_000_000_000_000, "5.0 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
