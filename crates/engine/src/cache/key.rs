//! What two requests have in common that must have one result: a digest of the model and its input.
//!
//! The input is taken in its stored form: JSON as it was written, tensors as their values. Nothing else that a request says
//! reaches a model, and in which form a result is answered is decided after it. Keys live no longer than the process, so how
//! one is computed may change.

use cresset_config::ModelConfig;
use cresset_task::Payload;
use sha2::{Digest, Sha256};

/// Said first, so that no other digest of ours is ever taken for one of these.
const DOMAIN: &[u8] = b"cresset result 1\n";

/// The digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// Of an input to this model, as it is served.
    pub(crate) fn of(config: &ModelConfig, input: &Payload) -> Self {
        let mut digest = Sha256::new();
        begin(&mut digest, config.name.as_str(), &config.version);
        add_input(&mut digest, input);
        Self(digest.finalize().into())
    }

    #[cfg(test)]
    pub(super) fn numbered(number: u64) -> Self {
        Self(Sha256::digest(number.to_le_bytes()).into())
    }
}

fn begin(digest: &mut Sha256, name: &str, version: &str) {
    digest.update(DOMAIN);
    add(digest, name.as_bytes());
    add(digest, version.as_bytes());
}

fn add_input(digest: &mut Sha256, input: &Payload) {
    digest.update([input.kind()]);
    match input {
        Payload::Json(text) => add(digest, text),
        // What `TensorSet::encode` writes, without the copy.
        Payload::Tensors(set) => {
            digest.update((set.0.len() as u64).to_le_bytes());
            for (name, tensor) in &set.0 {
                add(digest, name.as_bytes());
                digest.update([tensor.dtype.code()]);
                digest.update((tensor.shape.len() as u64).to_le_bytes());
                for size in &tensor.shape {
                    digest.update((*size as u64).to_le_bytes());
                }
                add(digest, &tensor.data);
            }
        }
    }
}

/// The length goes first, so that no two different lists of parts are the same bytes.
fn add(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use bytes::Bytes;
    use cresset_task::{DType, Tensor, TensorSet};
    use proptest::prelude::*;

    use super::*;

    fn tensor() -> impl Strategy<Value = (Arc<str>, Tensor)> {
        (
            "[xy]{0,2}",
            0..2_usize,
            proptest::collection::vec(0..3_usize, 0..3),
            0..2_u8,
        )
            .prop_map(|(name, dtype, shape, byte)| {
                let dtype = [DType::Uint8, DType::Int8][dtype];
                let len = shape.iter().product();
                let tensor = Tensor::new(dtype, shape, vec![byte; len].into()).unwrap();
                (name.as_str().into(), tensor)
            })
    }

    fn payload() -> impl Strategy<Value = Payload> {
        prop_oneof![
            "[01 ]{0,3}".prop_map(|text| Payload::Json(Bytes::from(text))),
            proptest::collection::vec(tensor(), 0..3).prop_map(|set| Payload::Tensors(TensorSet(set))),
        ]
    }

    fn digest(input: &Payload, name: &str, version: &str) -> Key {
        let mut digest = Sha256::new();
        begin(&mut digest, name, version);
        add_input(&mut digest, input);
        Key(digest.finalize().into())
    }

    proptest! {
        /// Two inputs have one key exactly when their stored forms are the same.
        #[test]
        fn a_key_stands_for_the_stored_form(inputs in proptest::collection::vec(payload(), 2..40)) {
            let mut seen: HashMap<Key, (u8, Bytes)> = HashMap::new();
            let mut forms = std::collections::HashSet::new();
            for input in &inputs {
                let form = (input.kind(), input.encode());
                forms.insert(form.clone());
                let before = seen.entry(digest(input, "m", "1")).or_insert_with(|| form.clone());
                prop_assert_eq!(&*before, &form);
            }
            prop_assert_eq!(seen.len(), forms.len());
        }
    }

    #[test]
    fn the_model_and_its_version_are_in_the_key() {
        let input = Payload::Json(Bytes::from_static(b"1"));
        let all = [("a", "1"), ("b", "1"), ("a", "2"), ("a1", ""), ("", "a1")];
        let keys: std::collections::HashSet<_> = all
            .iter()
            .map(|(name, version)| digest(&input, name, version))
            .collect();
        assert_eq!(keys.len(), all.len());
    }
}
