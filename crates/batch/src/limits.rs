//! The bounds of one batch, and the one place that says whether another item still fits.

use std::time::Duration;

use crate::entry::Entry;

/// Bounds of one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Items at most; at least 1.
    pub max_items: usize,
    /// Bytes at most; a heavier single item goes alone.
    pub max_bytes: usize,
    /// Cost at most, if that is bounded; a dearer single item goes alone.
    pub max_cost: Option<u64>,
    /// How the cost of a batch is made of the costs of its items.
    pub cost: CostRule,
    /// How long an item may be held back for a fuller batch where holding it back costs time.
    pub max_delay: Duration,
    /// The share of a batch that may be padding, 0 to below 1, when items of unequal length are padded to the longest.
    /// `None`: nothing is padded, and lengths mean nothing.
    pub max_padding: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_items: 32,
            max_bytes: usize::MAX,
            max_cost: None,
            cost: CostRule::Sum,
            max_delay: Duration::from_millis(2),
            max_padding: None,
        }
    }
}

/// How the cost of a batch is made of the costs of its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostRule {
    /// Their sum.
    Sum,
    /// The largest, times their number: what a batch costs in which all are padded to the longest.
    Padded,
}

/// What is in a batch that is being filled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fill {
    pub(crate) items: usize,
    bytes: usize,
    cost_sum: u64,
    cost_max: u64,
    length_sum: u64,
    length_max: u64,
}

impl Fill {
    #[must_use]
    pub(crate) fn with<T>(self, entry: &Entry<T>) -> Self {
        Self {
            items: self.items + 1,
            bytes: self.bytes.saturating_add(entry.bytes),
            cost_sum: self.cost_sum.saturating_add(entry.cost),
            cost_max: self.cost_max.max(entry.cost),
            length_sum: self.length_sum.saturating_add(entry.length),
            length_max: self.length_max.max(entry.length),
        }
    }

    /// True while the batch keeps all bounds. One item does, whatever it is: it has to go somehow.
    pub(crate) fn keeps(&self, limits: &Limits) -> bool {
        self.items <= 1
            || (self.items <= limits.max_items
                && self.bytes <= limits.max_bytes
                && limits.max_cost.is_none_or(|max| self.cost(limits.cost) <= max)
                && limits.max_padding.is_none_or(|max| self.padding() <= max))
    }

    fn cost(&self, rule: CostRule) -> u64 {
        match rule {
            CostRule::Sum => self.cost_sum,
            CostRule::Padded => self.cost_max.saturating_mul(self.items as u64),
        }
    }

    /// The share of the padded batch that is padding.
    fn padding(&self) -> f64 {
        let padded = self.padded_length();
        if padded == 0 {
            return 0.0;
        }
        padded.saturating_sub(self.length_sum) as f64 / padded as f64
    }

    fn padded_length(&self) -> u64 {
        self.length_max.saturating_mul(self.items as u64)
    }

    /// What the time in an instance is measured against: items, or what they are padded to.
    pub(crate) fn work(&self, limits: &Limits) -> u64 {
        match limits.max_padding {
            Some(_) => self.padded_length().max(1),
            None => self.items as u64,
        }
    }
}
