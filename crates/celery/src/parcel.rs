//! A payload that is not in its message but in a store that both servers of ours have: what the message says of it.

use bytes::Bytes;
use cresset_task::Payload;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::body::check_json;

/// A larger one is nobody's: no request may have more.
pub const PARCEL_BYTES_MAX: u64 = 1 << 30;
/// The class of a failure that says of an input: it was referred to, and the worker cannot have it.
pub const PARCEL_LOST: &str = "ParcelLost";

/// Where a payload is, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Its own name.
    pub id: Uuid,
    /// Which store it is in, as that says itself.
    pub store: Uuid,
    /// What its bytes are, as [`Payload::kind`] has it.
    pub kind: u8,
    /// How many there are.
    pub size: u64,
}

impl Parcel {
    /// One for this payload.
    #[must_use]
    pub fn of(payload: &Payload, id: Uuid, store: Uuid, bytes: &Bytes) -> Self {
        Self {
            id,
            store,
            kind: payload.kind(),
            size: bytes.len() as u64,
        }
    }

    /// The payload whose bytes these are; or why they are none.
    pub fn open(&self, bytes: &Bytes) -> Result<Payload, String> {
        if bytes.len() as u64 != self.size {
            return Err(format!(
                "parcel {} has {} bytes, and {} were said",
                self.id,
                bytes.len(),
                self.size
            ));
        }
        let wrong = |why: String| format!("parcel {} cannot be read: {why}", self.id);
        if self.kind == 0 {
            check_json(bytes).map_err(|error| wrong(error.to_string()))?;
        }
        Payload::decode(self.kind, bytes).map_err(|error| wrong(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use cresset_task::{DType, Tensor, TensorSet};
    use proptest::prelude::*;

    use super::*;

    fn parcel(payload: &Payload) -> (Parcel, Bytes) {
        let bytes = payload.encode();
        (Parcel::of(payload, Uuid::nil(), Uuid::max(), &bytes), bytes)
    }

    #[test]
    fn what_is_opened_is_what_was_put_and_nothing_else() {
        let tensor = Tensor::new(DType::Uint8, vec![3], vec![1, 2, 3].into()).unwrap();
        for payload in [
            Payload::Json("{\"a\": [1.50]}".into()),
            Payload::Tensors(TensorSet(vec![("x".into(), tensor)])),
        ] {
            let (parcel, bytes) = parcel(&payload);
            assert_eq!(parcel.open(&bytes), Ok(payload));
            let cut = bytes.slice(..bytes.len() - 1);
            assert!(parcel.open(&cut).unwrap_err().contains("were said"));
            let shorter = Parcel {
                size: cut.len() as u64,
                ..parcel.clone()
            };
            assert!(shorter.open(&cut).unwrap_err().contains("cannot be read"));
            let other = Parcel { kind: 9, ..parcel };
            assert!(other.open(&bytes).unwrap_err().contains("kind"));
        }
        let (deep, bytes) = parcel(&Payload::Json("[".repeat(500).into()));
        assert!(deep.open(&bytes).unwrap_err().contains("deeper"));
    }

    proptest! {
        #[test]
        fn garbage_is_opened_without_harm(kind in 0_u8..4, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let parcel = Parcel { id: Uuid::nil(), store: Uuid::nil(), kind, size: bytes.len() as u64 };
            // Whatever it says: it says it in words.
            let _ = parcel.open(&bytes);
        }

        #[test]
        fn what_a_message_says_of_one_is_read_as_it_was(id: u128, store: u128, kind: u8, size: u64) {
            let parcel = Parcel { id: Uuid::from_u128(id), store: Uuid::from_u128(store), kind, size };
            let text = serde_json::to_vec(&parcel).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Parcel>(&text).unwrap(), parcel);
        }
    }
}
