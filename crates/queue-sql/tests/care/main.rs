//! Stores as a whole: copied while they are worked on, put back, damaged anywhere, and what a check says of it.
//!
//! Seeds are printed; `CRESSET_CARE_SEED=<n>` plays one again, and `CRESSET_CARE_ROUNDS=<n>` plays so many.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod damage;
#[path = "../common/folder.rs"]
mod folder;
mod full;
mod kills;
mod refusals;
mod round_trip;
mod rules;
mod world;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// The seeds of a test: a few that are always played, and a new one.
fn seeds(rounds: u64) -> Vec<u64> {
    if let Some(seed) = number("CRESSET_CARE_SEED") {
        return vec![seed];
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = now.unwrap().as_nanos() as u64;
    let rounds = number("CRESSET_CARE_ROUNDS").unwrap_or(rounds);
    (1..rounds).chain([fresh]).collect()
}
