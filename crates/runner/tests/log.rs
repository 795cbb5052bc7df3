//! What instances print, and how they die, as the operator reads it.
//!
//! A binary of its own: each test here has a subscriber, and a thread without one, coming first to a line of the log,
//! would switch that line off for all.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "it/support.rs"]
#[expect(dead_code, reason = "this binary uses a part of it")]
mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use support::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// From now on the log of this thread (and so of this test: its runtime has no other) goes here.
    fn take(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let json = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO);
        tracing::subscriber::set_default(json.with_writer(move || log.clone()).finish())
    }

    fn lines(&self) -> Vec<Value> {
        let text = self.0.lock().unwrap();
        text.split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect()
    }
}

#[tokio::test]
async fn printed_lines_reach_the_log_with_the_name_of_who_printed() {
    let log = Log::default();
    let _taken = log.take();
    let mut it = Fixture::new(object_model);
    it.up().await;
    it.answer(r#"{"do":"print","lines":2}"#).await;
    it.stop(Duration::from_secs(5)).await;
    let printed: Vec<_> = log
        .lines()
        .into_iter()
        .filter(|l| l["target"] == "cresset::model")
        .collect();
    assert_eq!(printed.len(), 2);
    for (i, line) in printed.iter().enumerate() {
        let fields = &line["fields"];
        assert_eq!(fields["message"], format!("line {i}"));
        assert_eq!(
            (&fields["model"], &fields["instance"], &fields["stream"]),
            (&"fake".into(), &"0".into(), &"stdout".into())
        );
    }
}

#[tokio::test]
async fn a_flood_of_lines_is_thinned_and_the_log_says_so() {
    let log = Log::default();
    let _taken = log.take();
    let mut it = Fixture::new(object_model);
    it.up().await;
    it.answer(r#"{"do":"print","lines":20000}"#).await;
    it.stop(Duration::from_secs(5)).await;
    let lines = log.lines();
    let printed = lines
        .iter()
        .filter(|l| l["fields"]["stream"] == "stdout" && l["level"] == "INFO")
        .count();
    let dropped: u64 = lines
        .iter()
        .filter(|l| l["level"] == "WARN")
        .filter_map(|l| l["fields"]["lines"].as_u64())
        .sum();
    assert!(printed < 20_000 && dropped > 0);
    assert_eq!(
        printed as u64 + dropped,
        20_000,
        "every line is in the log or counted"
    );
}

#[tokio::test]
async fn a_crash_is_reported_with_its_reason_and_the_last_lines() {
    let log = Log::default();
    let _taken = log.take();
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        set(&mut config, "FAKE_START", "exit");
        config
    });
    it.down().await;
    it.stop(Duration::from_secs(5)).await;
    let lines = log.lines();
    let report = lines.iter().find(|l| l["level"] == "ERROR").unwrap();
    assert_eq!(report["fields"]["message"], "an instance is down");
    assert_eq!(report["fields"]["why"], "exited with status 3");
    assert_eq!(report["fields"]["reason"], "exit");
    assert_eq!(report["fields"]["last_lines"], "about to leave");
}
