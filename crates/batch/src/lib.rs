//! The batching policy: which waiting items go together to an instance, and when.
//!
//! Pure: time is given, nothing is awaited, so a whole day of traffic can be simulated in a second. The engine asks
//! [`Batcher::next`] whenever an item arrives, a seat becomes free, or the moment it was told to wait for has come.
//!
//! The policy is work-conserving: an idle instance takes what is there, at once; it waits only for callers that are known to
//! come back, one within a moment of the other, and only while the measured times say that a fuller batch saves more than
//! the wait costs. A batch for the seat *behind* a running one is bound late: it would have to wait there anyway, and until
//! then it can get fuller, and more urgent items can still go first. When its turn comes is told by the measured times of
//! earlier batches ([`Batcher::observe`]).
//!
//! Items stand in line by [`Turn`], an age in which priorities count; they are taken from lanes of one shape and about one
//! length; they leave at their deadline, or when nobody wants them any more, whatever is running. What it must not do: know
//! a clock, a model, a process. `docs/decisions/0008-batching.md` says why it is this way.

mod batcher;
mod entry;
mod lane;
mod latency;
mod limits;
mod returns;
mod runs;
mod seats;
mod share;
mod store;
mod waiting;

pub use batcher::{Batcher, Decision};
pub use entry::{BULK_HEADWAY, Class, Entry, Moment, STRICT_STEP, Turn};
pub use limits::{CostRule, Limits};
pub use seats::{Ahead, Seat, Seats};
