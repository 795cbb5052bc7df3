//! The engine on the real embedded store, with a pool that has no processes.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod admission;
mod answers;
mod batching;
mod caching;
mod caching_tasks;
mod cancelling;
mod elsewhere;
mod faults;
mod follow;
mod health;
mod house;
mod idempotency;
mod idle;
mod inbox;
mod late;
mod letters;
mod life;
mod retrying;
mod spans;
mod stopping;
mod store;
mod streaming;
mod times;
mod watching;
