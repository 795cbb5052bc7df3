//! Payloads that are too large for a message between servers: left in a store that both sides have, and referred to.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use crate::QueueError;

/// What one call of [`Parcels::sweep`] removes at most.
pub const PARCELS_SWEPT_MAX: u64 = 100;

/// Where parcels are left.
///
/// Promises: a parcel that was put is there, whole, until it is removed or swept; whoever opens the same store finds it, by the identity that is
/// kept in the store. The store's clock alone says how old a parcel is. Any of these may be asked again when it is not known what
/// became of it.
#[async_trait]
pub trait Parcels: Send + Sync + fmt::Debug {
    /// Which store it is: the same for everybody who opens it, by whichever address.
    fn store(&self) -> Uuid;

    /// Leaves bytes under an id that is used for nothing else. When there is a parcel of that id already, it stays as it is.
    async fn put(&self, id: Uuid, bytes: Bytes) -> Result<(), QueueError>;

    /// What was left; `None` when it is not there, or not there any more.
    async fn get(&self, id: Uuid) -> Result<Option<Bytes>, QueueError>;

    /// These are as new as if they had just been put. Those that are not there stay away.
    async fn keep(&self, ids: &[Uuid]) -> Result<(), QueueError>;

    /// These are not needed any more. Those that are not there are nobody's mistake.
    async fn remove(&self, ids: &[Uuid]) -> Result<(), QueueError>;

    /// Removes parcels that nobody has put or kept for so long, the oldest first; says how many, at most [`PARCELS_SWEPT_MAX`].
    async fn sweep(&self, unkept_for: Duration) -> Result<u64, QueueError>;

    /// Ends the connections.
    async fn close(&self);
}
