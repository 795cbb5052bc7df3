//! The courier and the sender against receivers that behave as badly as they like. Each has a port of its own.
#![expect(clippy::unwrap_used, reason = "this is a test suite")]

mod courier;
mod receiver;
mod sender;
