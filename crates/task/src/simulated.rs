//! A thread's own wall clock and ids, for tests in which a seed decides everything.
//!
//! Only the thread that asked for it sees it, and only until the guard is dropped; all others have the real clock and random
//! ids, also where this feature is on.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;

use crate::time::Timestamp;

type Clock = Box<dyn Fn() -> Timestamp>;

thread_local! {
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
    static IDS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// As long as this is there, its thread has the clock and the ids that were asked for.
pub struct Simulated {
    /// What it set is this thread's, so it is not to be dropped in another.
    _thread: PhantomData<*const ()>,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulated")
    }
}

impl Simulated {
    /// From now on [`Timestamp::now`] is what `clock` says, in this thread, and fresh ids follow from `seed`.
    #[must_use]
    pub fn begin(seed: u64, clock: impl Fn() -> Timestamp + 'static) -> Self {
        CLOCK.set(Some(Box::new(clock)));
        IDS.set(Some(seed));
        Self { _thread: PhantomData }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        CLOCK.set(None);
        IDS.set(None);
    }
}

/// This thread's own now, if it has one.
pub(crate) fn now() -> Option<Timestamp> {
    CLOCK.with_borrow(|clock| clock.as_ref().map(|clock| clock()))
}

/// The random part of this thread's next id, if it has ids of its own.
pub(crate) fn id_bytes() -> Option<[u8; 10]> {
    let state = IDS.get()?;
    // Weyl's sequence, each number mixed: it does not repeat before 2^64 ids.
    let next = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    IDS.set(Some(next));
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&mix(next).to_be_bytes());
    Some(bytes)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::id::TaskId;

    #[test]
    fn a_thread_has_the_clock_it_asked_for_and_no_other_thread_does() {
        let then = Timestamp::from_micros(17);
        let simulated = Simulated::begin(1, move || then);
        assert_eq!(Timestamp::now(), then);
        let elsewhere = std::thread::spawn(Timestamp::now).join().unwrap();
        assert!(elsewhere > then);
        drop(simulated);
        assert!(Timestamp::now() > then);
    }

    #[test]
    fn ids_follow_from_the_seed_and_do_not_repeat() {
        let then = Timestamp::from_micros(1_700_000_000_000_000);
        let ids = |seed| {
            let _simulated = Simulated::begin(seed, move || then);
            (0..1_000).map(|_| TaskId::fresh()).collect::<Vec<_>>()
        };
        assert_eq!(ids(7), ids(7));
        assert_eq!(ids(7).into_iter().collect::<HashSet<_>>().len(), 1_000);
        assert_ne!(ids(7), ids(8));
        assert_ne!(TaskId::fresh(), TaskId::fresh());
    }
}
