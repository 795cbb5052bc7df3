//! Lists that are walked page by page, newest first, along a number that grows.

/// Rows that one page looks at, at most: a few milliseconds. There is no index for what is asked for seldom, as every task
/// would pay for it.
pub const LOOK_MAX: i64 = 20_000;

/// Where a list goes on.
pub type Place = u64;

/// The number before which a page begins. A place that no row of ours has is behind all of them.
#[must_use]
pub fn place_of(after: Option<Place>) -> i64 {
    after.map_or(i64::MAX, |place| i64::try_from(place).unwrap_or(i64::MAX))
}

/// Where the next page of a list begins that looked no further than `floor` and whose oldest row is `oldest`; `more` is the
/// last row shown when there was one more than was asked for.
#[must_use]
pub fn next_place(more: Option<i64>, floor: i64, oldest: i64) -> Option<Place> {
    match more {
        Some(last) => u64::try_from(last).ok(),
        None if floor > oldest => u64::try_from(floor).ok(),
        None => None,
    }
}
