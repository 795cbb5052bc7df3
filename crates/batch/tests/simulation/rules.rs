//! What must hold whatever happens: the rules, written as if by somebody who has not seen the policy's code.

use std::collections::HashSet;

use cresset_batch::{Batcher, CostRule, Entry, Limits, Moment};

use crate::plan::Plan;
use crate::world::{Fate, Known};

/// Size, bytes, cost, one bucket, padding.
pub(crate) fn a_batch_keeps_its_bounds(batch: &[Entry<usize>], limits: &Limits) {
    let count = batch.len() as u64;
    assert!((1..=limits.max_items as u64).contains(&count), "{count} items");
    let buckets: HashSet<_> = batch.iter().map(|e| e.bucket).collect();
    assert_eq!(buckets.len(), 1, "shapes that do not go together");
    if count == 1 {
        return;
    }
    let bytes: usize = batch.iter().map(|e| e.bytes).sum();
    assert!(bytes <= limits.max_bytes, "{bytes} bytes");
    let costs = batch.iter().map(|e| e.cost);
    let cost = match limits.cost {
        CostRule::Sum => costs.sum(),
        CostRule::Padded => costs.max().unwrap_or(0) * count,
    };
    assert!(limits.max_cost.is_none_or(|max| cost <= max), "a cost of {cost}");
    if let Some(max) = limits.max_padding {
        let longest = batch.iter().map(|e| e.length).max().unwrap_or(0);
        let (padded, real) = (longest * count, batch.iter().map(|e| e.length).sum::<u64>());
        let share = (padded - real) as f64 / (padded as f64).max(1.0);
        assert!(share <= max + 1e-9, "{share} of the batch is padding");
    }
}

/// The item that is first in line, of those that wait: `None` when lanes are by length, which is the policy's own affair.
pub(crate) fn whose_turn<'a>(waiting: impl Iterator<Item = &'a Known>, plan: &Plan) -> Option<Entry<usize>> {
    if plan.limits.max_padding.is_some() {
        return None;
    }
    let step = plan.step.as_nanos() as i128;
    let place = |k: &Known| {
        let worth = i128::from(k.priority) * step;
        k.entry.arrived.as_nanos() as i128 - worth
    };
    let merged = |k: &Known| match k.entry.class {
        cresset_batch::Class::Interactive => place(k),
        // Where a bulk item stands in its own line, less what interactive ones are given.
        cresset_batch::Class::Bulk => {
            let came = k.entry.arrived.as_nanos() as i128;
            let owed = (place(k) - came).max(0);
            let worth = i128::from(k.priority.max(0)) * step;
            came + owed + cresset_batch::BULK_HEADWAY.as_nanos() as i128 - worth
        }
    };
    let mut heads: Vec<&Known> = Vec::new();
    for known in waiting {
        let same =
            |h: &&mut &Known| (h.entry.class, h.entry.bucket) == (known.entry.class, known.entry.bucket);
        match heads.iter_mut().find(same) {
            Some(head) if place(known) < place(head) => *head = known,
            Some(_) => {}
            None => heads.push(known),
        }
    }
    let first = heads.into_iter().min_by_key(|k| (merged(k), k.entry.item))?;
    Some(first.entry.clone())
}

/// Every batch takes whoever is first in line; only where nobody knew how long the first would have to wait did a full
/// batch of another shape go before it, and not after the delay.
pub(crate) fn it_takes_whoever_is_first(
    batch: &[Entry<usize>],
    first: Option<&Entry<usize>>,
    now: Moment,
    limits: &Limits,
) {
    if let Some(first) = first {
        let taken = batch.iter().any(|e| e.item == first.item);
        let other_shape = batch.iter().all(|e| e.bucket != first.bucket);
        let in_time = now < first.arrived + limits.max_delay;
        assert!(
            taken || (other_shape && in_time),
            "{first:?} was passed over at {now:?}"
        );
    }
}

/// Every item has exactly one end, and none is left.
pub(crate) fn nothing_is_lost(items: &[Known], batcher: &Batcher<usize>) {
    assert_eq!(batcher.len(), 0, "items are left in the batcher");
    for known in items {
        let ended = !matches!(known.fate, Fate::Waiting | Fate::Sent);
        assert!(ended, "item {} is {:?}", known.entry.item, known.fate);
    }
}
