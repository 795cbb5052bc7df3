//! What can go wrong at a port.

use std::error::Error;
use std::fmt;

/// What kind of trouble a backend is in. Closed on purpose: the engine decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueErrorKind {
    /// Not reachable or not writable now (disk full, I/O error, busy, connection lost). Trying later may help.
    Unavailable,
    /// What is stored cannot be read: damaged, or written by a newer version. Trying again will not help.
    Corrupt,
    /// This backend cannot do that ([`Capabilities`](crate::Capabilities)), and never will.
    Unsupported,
    /// The backend has been closed by us.
    Closed,
    /// A caller broke the port's rules, or a bug.
    Internal,
}

/// A failed operation at a port. `Display` gives this layer's part; the cause is in `source`.
#[derive(Debug)]
pub struct QueueError {
    /// What kind of trouble.
    pub kind: QueueErrorKind,
    /// The operation, as the trait names it: `submit`, `lease`, ...
    pub operation: &'static str,
    /// What it was doing, in words; may be empty.
    pub context: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl QueueError {
    /// An error without a cause below it.
    pub fn new(kind: QueueErrorKind, operation: &'static str, context: impl Into<String>) -> Self {
        Self {
            kind,
            operation,
            context: context.into(),
            source: None,
        }
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error for another who waited for the same; its cause in words.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            kind: self.kind,
            operation: self.operation,
            context: self.context.clone(),
            source: self.source.as_ref().map(|source| source.to_string().into()),
        }
    }

    /// True when the same call may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.kind == QueueErrorKind::Unavailable
    }
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            QueueErrorKind::Unavailable => "the task store is unavailable",
            QueueErrorKind::Corrupt => "the task store cannot be read",
            QueueErrorKind::Unsupported => "the task store cannot do this",
            QueueErrorKind::Closed => "the task store is closed",
            QueueErrorKind::Internal => "the task store was misused",
        };
        write!(f, "{}: {kind}", self.operation)?;
        if !self.context.is_empty() {
            write!(f, ", {}", self.context)?;
        }
        Ok(())
    }
}

impl Error for QueueError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
