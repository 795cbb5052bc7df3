//! The door over real sockets, before a real engine and store, with a pool that has no processes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod binary;
mod browsers;
mod bulks;
mod caching;
mod clients;
mod coding;
mod dead;
mod entrances;
mod events;
mod files;
mod fixture;
mod guarded;
mod happy;
mod hostile;
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
mod streams;
mod tenants;
mod times;
mod waiting;
mod webhooks;
mod wire;
