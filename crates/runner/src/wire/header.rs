//! The 32-byte header and the kinds of frames.

use super::{BODY_MAX, CHUNKS_BODY_MAX, JSON_BODY_MAX, WireError};

/// The protocol version we speak.
pub(crate) const PROTOCOL: u32 = 2;
/// Bytes of a header.
pub(crate) const HEADER_LEN: usize = 32;

/// DONE: the tensors' bytes follow the descriptors.
pub(super) const FLAG_INLINE: u8 = 1;
/// DONE: output names stand before the descriptors.
pub(super) const FLAG_NAMED: u8 = 2;
/// ERROR: the process exits after it, and begins nothing that was or will be sent to it.
const FLAG_LAST: u8 = 4;
/// ERROR: the model gave the batch up because items of it are cancelled.
const FLAG_CANCELLED: u8 = 8;

macro_rules! kinds {
    ($($variant:ident = $code:literal, $name:literal;)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($variant = $code),* }

        impl Kind {
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in the document.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    Hello = 1, "HELLO";
    Ready = 2, "READY";
    Failed = 3, "FAILED";
    Run = 4, "RUN";
    RunObjects = 5, "RUN_OBJECTS";
    Done = 6, "DONE";
    DoneObjects = 7, "DONE_OBJECTS";
    Error = 8, "ERROR";
    Ping = 9, "PING";
    Pong = 10, "PONG";
    Resize = 11, "RESIZE";
    Shutdown = 12, "SHUTDOWN";
    Note = 13, "NOTE";
    Progress = 14, "PROGRESS";
    Chunks = 15, "CHUNKS";
    Traces = 16, "TRACES";
    Logs = 17, "LOGS";
}

impl Kind {
    const fn body_max(self) -> u32 {
        match self {
            Self::Run | Self::RunObjects | Self::Done | Self::DoneObjects => BODY_MAX,
            Self::Hello | Self::Resize | Self::Traces => BODY_MAX, // ours: never read
            Self::Ready | Self::Failed | Self::Error | Self::Note | Self::Progress | Self::Logs => {
                JSON_BODY_MAX
            }
            Self::Chunks => CHUNKS_BODY_MAX,
            Self::Ping | Self::Pong | Self::Shutdown => 0,
        }
    }

    /// RUN, RUN_OBJECTS, their answers and what comes before these.
    const fn has_batch(self) -> bool {
        matches!(
            self,
            Self::Run
                | Self::RunObjects
                | Self::Done
                | Self::DoneObjects
                | Self::Error
                | Self::Progress
                | Self::Chunks
                | Self::Traces
                | Self::Logs
        )
    }
}

/// A frame's header; `reserved` is not kept, being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_len: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) n_tensors: u16,
    pub(crate) seq: u64,
    pub(crate) slot: u32,
    pub(crate) batch: u32,
    pub(crate) deadline_ms: u32,
}

impl Header {
    /// A header with nothing but its kind and the length of its body.
    pub(crate) const fn plain(kind: Kind, body_len: u32) -> Self {
        Self {
            body_len,
            kind,
            flags: 0,
            n_tensors: 0,
            seq: 0,
            slot: 0,
            batch: 0,
            deadline_ms: 0,
        }
    }

    /// True for the last answer of a process that exits by itself.
    pub(crate) const fn is_last(&self) -> bool {
        self.flags & FLAG_LAST != 0
    }

    /// True when the batch was given up because items of it are cancelled.
    pub(crate) const fn is_cancelled(&self) -> bool {
        self.flags & FLAG_CANCELLED != 0
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..4].copy_from_slice(&self.body_len.to_le_bytes());
        out[4] = self.kind as u8;
        out[5] = self.flags;
        out[6..8].copy_from_slice(&self.n_tensors.to_le_bytes());
        out[8..16].copy_from_slice(&self.seq.to_le_bytes());
        out[16..20].copy_from_slice(&self.slot.to_le_bytes());
        out[20..24].copy_from_slice(&self.batch.to_le_bytes());
        out[24..28].copy_from_slice(&self.deadline_ms.to_le_bytes());
        out
    }

    /// Reads a header. Everything that a header alone can have wrong is refused here, before the body is read.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, WireError> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let kind = Kind::from_code(bytes[4]).ok_or(WireError::Kind(bytes[4]))?;
        let header = Self {
            body_len: u32_at(0),
            kind,
            flags: bytes[5],
            n_tensors: u16_at(6),
            seq: u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32,
            slot: u32_at(16),
            batch: u32_at(20),
            deadline_ms: u32_at(24),
        };
        let name = kind.name();
        let reserved = u32_at(28);
        if reserved != 0 {
            return Err(WireError::Reserved(name, reserved));
        }
        let flags = match kind {
            Kind::Done => FLAG_INLINE | FLAG_NAMED,
            Kind::Error => FLAG_LAST | FLAG_CANCELLED,
            _ => 0,
        };
        if header.flags & !flags != 0 {
            return Err(WireError::Flags(name, header.flags));
        }
        let max = kind.body_max();
        if header.body_len > max {
            return Err(match max {
                0 => WireError::UnexpectedBody(name),
                _ => WireError::TooLong {
                    kind: name,
                    len: header.body_len,
                    max,
                },
            });
        }
        let tensors_max = match kind {
            Kind::Run | Kind::Done => cresset_task::tensor::TENSORS_MAX,
            _ => 0,
        };
        if usize::from(header.n_tensors) > tensors_max || (kind == Kind::Run && header.n_tensors == 0) {
            return Err(WireError::TensorCount(name, header.n_tensors));
        }
        if kind.has_batch() && header.batch == 0 {
            return Err(WireError::EmptyBatch(name));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_32_bytes_are_a_header_or_refused(bytes: [u8; HEADER_LEN]) {
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn nearly_right_headers_are_a_header_or_refused(mut bytes: [u8; HEADER_LEN], kind in 0_u8..20, small: bool) {
            bytes[4] = kind;
            bytes[28..].fill(0);
            if small { bytes[5] &= 15; bytes[3] = 0; bytes[7] = 0; }
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }

    #[test]
    fn every_kind_has_its_own_code() {
        for kind in Kind::ALL.iter().copied() {
            assert_eq!(Kind::from_code(kind as u8), Some(kind));
        }
    }
}
