//! `[batching]`: how its batches form.

use std::time::Duration;

use super::{Draft, TIMEOUT_MIN, key, words};
use crate::field::{Field, Key};
use crate::model::{Cost, Priorities};

/// A point of priority is worth at most a day: two hundred of them are well within what the queue can count.
const STEP_MAX: Duration = Duration::from_secs(86_400);
/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[
    key(
        "batching.max_batch_size",
        int!(batching.max_batch_size, 1, 65_536),
        "Items in one batch at most.",
    ),
    key(
        "batching.max_delay",
        duration!(batching.max_delay, Duration::ZERO, Duration::from_secs(60)),
        "The longest a batch may be held back to fill up, when that pays. `\"0s\"` never waits.",
    ),
    key(
        "batching.max_batch_bytes",
        bytes!(batching.max_batch_bytes, 1, 16 << 30),
        "Input bytes in one batch at most.",
    ),
    words(
        key(
            "batching.max_batch_cost",
            Field::Int {
                min: 1,
                max: 1 << 50,
                get: |m| m.batching.max_batch_cost,
                set: |m, n| m.batching.max_batch_cost = Some(n),
            },
            "Cost of one batch at most. An item's cost is the number of its input elements, all inputs together; for an \
             object model it is the bytes of its JSON. An item that costs more goes alone.",
        ),
        "not bounded",
        "16384",
    ),
    key(
        "batching.cost",
        Field::Choice {
            names: &["sum", "padded"],
            get: |m| match m.batching.cost {
                Cost::Sum => "sum",
                Cost::Padded => "padded",
            },
            set: |m, name| m.batching.cost = if name == "padded" { Cost::Padded } else { Cost::Sum },
        },
        "What a batch costs: the `sum` of its items, or `padded`, the largest of them times their number, for models that \
         compute on what is padded too.",
    ),
    key(
        "batching.max_padding",
        Field::Number {
            min: 0.0,
            max: 0.9,
            get: |m| m.batching.max_padding,
            set: |m, n| m.batching.max_padding = n,
        },
        "The share of a batch that may be padding, where items of unequal size go together: those of inputs with a `pad`, \
         or with `group_by_size`. Less of it means more and smaller batches. Where several free dimensions of an item \
         differ it is measured by their product.",
    ),
    key(
        "batching.group_by_size",
        flag!(batching.group_by_size),
        "For an object model that pads by itself: JSON inputs of about the same size go together, within `max_padding`.",
    ),
    key(
        "batching.priorities",
        Field::Choice {
            names: &["aged", "strict"],
            get: |m| match m.batching.priorities {
                Priorities::Aged => "aged",
                Priorities::Strict => "strict",
            },
            set: |m, name| {
                m.batching.priorities = if name == "strict" {
                    Priorities::Strict
                } else {
                    Priorities::Aged
                }
            },
        },
        "What a task's priority is worth. `aged`: each point counts as `priority_step` of age, so whatever has waited long \
         enough goes first. `strict`: a higher priority always goes first, and a lower one may wait for ever. A task keeps \
         the place that it got when it was accepted.",
    ),
    key(
        "batching.priority_step",
        duration!(batching.priority_step, TIMEOUT_MIN, STEP_MAX),
        "How much age a point of priority is worth when priorities are `aged`.",
    ),
];
