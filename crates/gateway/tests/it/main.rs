//! The door over real sockets, before a real engine and store, with a pool that has no processes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod binary;
mod caching;
mod clients;
mod dead;
mod events;
mod fixture;
mod guarded;
mod happy;
mod house;
mod idempotency;
mod keys;
mod limits;
mod listing;
mod preferring;
mod reference;
mod refusals;
mod retrying;
mod safetensors;
mod shapes;
mod slow;
mod sockets;
mod spool;
mod stopping;
mod tenants;
mod times;
mod waiting;
mod wire;
