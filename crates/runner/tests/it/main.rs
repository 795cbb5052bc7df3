//! The crate against real processes: fake instances in plain Python, and the real Python package.

mod batches;
mod cancelling;
mod deaths;
mod environments;
mod hostile;
mod package;
mod recycling;
mod stops;
mod streams;
mod support;
mod surroundings;
mod unloading;
