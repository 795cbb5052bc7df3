//! Kept results, within their bounds: what was not used for the longest time goes first. Pure: the time is given.

use bytes::Bytes;
use cresset_batch::Moment;
use cresset_config::ResultCache;
use cresset_task::{Payload, Tensor, TensorSet};
use hashlink::LruCache;

use super::key::Key;

/// What it takes to keep a result, beside the result: its key, its place in the map and in the line, what its allocations
/// are rounded up to.
const ENTRY_BYTES: u64 = 200;
/// The same for each tensor: its name, its sizes.
const TENSOR_BYTES: u64 = 100;

struct Kept {
    output: Payload,
    weight: u64,
    until: Moment,
    /// The number of the computation that it is of.
    made_by: u64,
}

/// See above.
pub(super) struct Shelf {
    bounds: ResultCache,
    kept: LruCache<Key, Kept>,
    bytes: u64,
}

/// What a look has found.
#[derive(Debug, PartialEq)]
pub(super) enum Look {
    /// This result.
    Found(Payload),
    /// One that was too old, and is gone now.
    Old,
    /// Nothing.
    Nothing,
}

impl Shelf {
    pub(super) fn new(bounds: ResultCache) -> Self {
        Self {
            bounds,
            // Its own bound would not tell us what it throws out.
            kept: LruCache::new_unbounded(),
            bytes: 0,
        }
    }

    pub(super) fn look(&mut self, key: &Key, now: Moment) -> Look {
        match self.kept.get(key) {
            Some(kept) if now < kept.until => Look::Found(kept.output.clone()),
            Some(_) => {
                self.forget(key);
                Look::Old
            }
            None => Look::Nothing,
        }
    }

    /// Keeps a result, unless it is larger than all that may be kept, or of an older computation than what is here. Says how
    /// many others had to go.
    pub(super) fn keep(&mut self, key: Key, output: Payload, made_by: u64, now: Moment) -> u64 {
        let weight = weight(&output);
        let is_older = self.kept.peek(&key).is_some_and(|kept| kept.made_by > made_by);
        if weight > self.bounds.max_bytes || is_older {
            return 0;
        }
        self.forget(&key);
        let mut gone = 0;
        while self.kept.len() >= self.bounds.max_entries || self.bytes + weight > self.bounds.max_bytes {
            let Some((_, old)) = self.kept.remove_lru() else {
                break;
            };
            self.bytes -= old.weight;
            gone += 1;
        }
        self.bytes += weight;
        let kept = Kept {
            output,
            weight,
            until: now.saturating_add(self.bounds.ttl),
            made_by,
        };
        self.kept.insert(key, kept);
        gone
    }

    fn forget(&mut self, key: &Key) {
        if let Some(old) = self.kept.remove(key) {
            self.bytes -= old.weight;
        }
    }

    /// All that is kept, for whoever throws it away; nothing is from now on.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::new(self.bounds.clone());
        std::mem::replace(self, empty)
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a result takes of the bound.
fn weight(output: &Payload) -> u64 {
    let parts = match output {
        Payload::Json(_) => 0,
        Payload::Tensors(set) => set.0.len() as u64 * TENSOR_BYTES,
    };
    ENTRY_BYTES + parts + output.weight() as u64
}

/// The same result in memory of its own: as it comes from an instance it shares that of its whole batch, which would be kept
/// with it.
pub(super) fn apart(output: &Payload) -> Payload {
    let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    match output {
        Payload::Json(text) => Payload::Json(copy(text)),
        Payload::Tensors(set) => {
            let tensors = set.0.iter().map(|(name, tensor)| {
                let tensor = Tensor {
                    data: copy(&tensor.data),
                    ..tensor.clone()
                };
                (name.clone(), tensor)
            });
            Payload::Tensors(TensorSet(tensors.collect()))
        }
    }
}

#[cfg(test)]
mod tests;
