//! What of a submit is the same when it is sent again: a digest of its input, its priority and its metadata.
//!
//! Digests lie in stores beside the keys they were made for, so how one is computed never changes: a store that outlives
//! an upgrade must recognise what the version before it accepted. The input is digested in its stored form, which is
//! fixed for the same reason: JSON as it was written, tensors as their values.

use cresset_queue::{Idempotency, IdempotencyKey};
use sha2::{Digest, Sha256};

use crate::api::Submission;

/// Said first, so that no other digest of ours is ever taken for one of these.
const DOMAIN: &[u8] = b"cresset submit 1\n";

/// An input of this many bytes is digested on a blocking thread: it takes about a millisecond, as long as one call may
/// hold up the others of its runtime thread.
pub(crate) const OFFLOAD_BYTES: usize = 256 << 10;

/// The submission under this key.
pub(crate) fn named(key: IdempotencyKey, submission: &Submission) -> Idempotency {
    let Submission {
        model: _, // each model has keys of its own
        input,
        priority,
        metadata,
        // Not what is computed, but how.
        cache: _,
        retry: _,
        // Each time it is sent another.
        trace: _,
        // Nor whom to tell.
        callback: _,
        // Often told as so long from now, and then another instant each time it is sent.
        due_at: _,
        expires_at: _,
        deadline_at: _,
        idempotency_key: _,
        // The key is the model's and the tenant's, whoever sends it.
        client: _,
        tenant: _,
    } = submission;
    let mut digest = Sha256::new();
    digest.update(DOMAIN);
    digest.update([input.kind()]);
    add(&mut digest, &input.encode());
    digest.update(priority.to_le_bytes());
    match metadata {
        None => digest.update([0]),
        Some(bytes) => {
            digest.update([1]);
            add(&mut digest, bytes);
        }
    }
    Idempotency {
        key,
        digest: digest.finalize().into(),
    }
}

/// The length goes first, so that no two different lists of parts are the same bytes.
fn add(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cresset_task::{DType, Payload, Tensor, TensorSet};

    use super::*;

    fn submission(input: Payload, priority: i8, metadata: Option<&'static str>) -> Submission {
        Submission {
            model: "digits".parse().unwrap(),
            input,
            priority,
            metadata: metadata.map(|text| Bytes::from_static(text.as_bytes())),
            cache: Default::default(),
            retry: None,
            trace: None,
            tenant: None,
            callback: None,
            due_at: None,
            expires_at: None,
            deadline_at: None,
            idempotency_key: None,
            client: None,
        }
    }

    fn json(text: &'static str) -> Payload {
        Payload::Json(Bytes::from_static(text.as_bytes()))
    }

    fn tensor(name: &str, byte: u8) -> Payload {
        let tensor = Tensor::new(DType::Uint8, vec![2], vec![byte; 2].into()).unwrap();
        Payload::Tensors(TensorSet(vec![(name.into(), tensor)]))
    }

    fn digest(submission: &Submission) -> [u8; 32] {
        named("k".parse().unwrap(), submission).digest
    }

    #[test]
    fn what_differs_in_any_part_has_another_digest() {
        let all = [
            submission(json("[1]"), 0, None),
            submission(json("[1] "), 0, None),
            submission(json("[1]"), 1, None),
            submission(json("[1]"), -1, None),
            submission(json("[1]"), 0, Some("{}")),
            submission(json("[1]"), 0, Some("{ }")),
            submission(tensor("x", 1), 0, None),
            submission(tensor("x", 2), 0, None),
            submission(tensor("y", 1), 0, None),
        ];
        let digests: std::collections::HashSet<_> = all.iter().map(digest).collect();
        assert_eq!(digests.len(), all.len());
        assert!(all.iter().all(|s| digests.contains(&digest(&s.clone()))));
    }

    /// Stores hold digests of this form: a change here would refuse what an earlier version accepted.
    #[test]
    fn the_digest_on_disk_is_this() {
        let wanted = Sha256::digest(b"cresset submit 1\n\0\x03\0\0\0\0\0\0\0[1]\xfb\x01\x02\0\0\0\0\0\0\0{}");
        assert_eq!(json("[1]").kind(), 0);
        assert_eq!(
            digest(&submission(json("[1]"), -5, Some("{}"))),
            <[u8; 32]>::from(wanted)
        );
    }
}
