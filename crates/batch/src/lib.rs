//! The batching policy: which waiting items go together to an instance, and when.
//!
//! Pure: time is given, nothing is awaited, so a whole day of traffic can be simulated in a second. The engine asks
//! [`Batcher::next`] whenever an item arrives, a seat becomes free, or the moment it was told to wait for has come.
//!
//! The policy is work-conserving: an idle instance takes what is there, at once. A batch is held back only for a seat
//! *behind* a batch that is running already, where it would have to wait anyway, and there for `max_delay` at most.

mod batcher;
mod lane;

pub use batcher::{Batcher, Decision, Limits, Seat, Seats};
pub use lane::{BULK_HEADWAY, Class, Entry, Moment};
