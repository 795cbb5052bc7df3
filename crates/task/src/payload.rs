//! What a task carries in, and what it carries out.

use bytes::Bytes;

use crate::tensor::{BadTensorSet, TensorSet};

/// An input or a result: any JSON text (object models), or named tensors of one item (tensor models).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One JSON value, as UTF-8 text already checked to be JSON.
    Json(Bytes),
    /// Named tensors.
    Tensors(TensorSet),
}

/// Stored bytes that are not a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    /// The kind is none we know: written by a newer Cresset, or damaged.
    #[error("unknown payload kind {0}")]
    Kind(u8),
    /// The kind says tensors, the bytes do not.
    #[error(transparent)]
    Tensors(#[from] BadTensorSet),
}

impl Payload {
    /// The number a store keeps beside the bytes: 0 JSON, 1 tensors.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Json(_) => 0,
            Self::Tensors(_) => 1,
        }
    }

    /// The bytes a store keeps.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Json(text) => text.clone(),
            Self::Tensors(set) => set.encode(),
        }
    }

    /// The payload kept as these bytes.
    pub fn decode(kind: u8, stored: &Bytes) -> Result<Self, BadPayload> {
        match kind {
            0 => Ok(Self::Json(stored.clone())),
            1 => Ok(Self::Tensors(TensorSet::decode(stored)?)),
            other => Err(BadPayload::Kind(other)),
        }
    }

    /// Bytes this payload weighs in a queue or batch.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Json(text) => text.len(),
            Self::Tensors(set) => set.data_len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_survives_storage() {
        for payload in [
            Payload::Json(Bytes::from_static(b"[1]")),
            Payload::Tensors(TensorSet::default()),
        ] {
            assert_eq!(Payload::decode(payload.kind(), &payload.encode()), Ok(payload));
        }
        assert_eq!(Payload::decode(9, &Bytes::new()), Err(BadPayload::Kind(9)));
    }
}
