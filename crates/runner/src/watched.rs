//! Descriptors of which the runtime tells what it is asked for, and nothing else.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime of the caller watch this for what it is interested in. A descriptor that blocks must not be given.
#[expect(
    deprecated,
    reason = "its successor is the same behind an unsafe contract that an OwnedFd always keeps, and memfd.rs is to be the \
              only module with unsafe"
)]
pub(crate) fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
