//! Death at every point: a random life is recorded, its write-ahead log is cut at every frame and at torn places between,
//! with the payload files in every state that they may be in at that moment, and the store is opened on what is left.
//!
//! The seed is printed; `CRESSET_CRASH_SEED=<n>` plays that life again, and `CRESSET_CRASH_STEPS=<n>` makes it longer.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod check;
mod cuts;
#[path = "../common/folder.rs"]
mod folder;
mod life;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::check::Image;
use crate::life::Recording;

/// Some 120 frames of log, and a few seconds.
const STEPS: usize = 24;
const PAGE_BYTES: usize = 4_096;
/// Played each time, besides a new one.
const KNOWN_SEED: u64 = 11;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn steps() -> usize {
    number("CRESSET_CRASH_STEPS").map_or(STEPS, |steps| steps as usize)
}

async fn die_everywhere(seed: u64) {
    println!("CRESSET_CRASH_SEED={seed}");
    let recording = Recording::make(seed, steps()).await;
    let mut deaths = 0;
    for cut in cuts::all(&recording, seed) {
        Image::new(&recording, &cut).check().await;
        deaths += 1;
    }
    println!(
        "{deaths} deaths in {} steps, {} bytes of log",
        recording.steps.len(),
        recording.log.len()
    );
    assert!(deaths > recording.log.len() / PAGE_BYTES, "{deaths} deaths");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_at_any_point_of_a_known_life() {
    die_everywhere(KNOWN_SEED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_at_any_point_of_a_new_life() {
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    die_everywhere(number("CRESSET_CRASH_SEED").unwrap_or_else(fresh)).await;
}
