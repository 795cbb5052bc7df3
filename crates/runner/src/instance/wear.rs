//! How worn an instance is: what it has served and what it holds, against the bounds at which it is replaced.

use std::time::Duration;

use cresset_config::Instances;
use tokio::time::Instant;

use crate::memory::resident;
use crate::port::RecycleReason;

/// How often an instance's memory is looked at, where it is bounded. A look costs some tens of microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Counts from when the instance is ready.
#[derive(Debug, Default)]
pub(super) struct Wear {
    max_tasks: Option<u64>,
    max_memory: Option<u64>,
    served: u64,
    look_at: Option<Instant>,
}

impl Wear {
    pub(super) fn new(bounds: &Instances) -> Self {
        Self {
            max_tasks: bounds.max_tasks,
            max_memory: bounds.max_memory,
            served: 0,
            look_at: None,
        }
    }

    /// It is loaded and warm. Gives the resident bytes when they are over the bound already: another copy would be no
    /// better, so memory is no reason to replace this one.
    pub(super) fn begin(&mut self, pid: u32) -> Option<u64> {
        let bound = self.max_memory?;
        let over = resident(pid).filter(|bytes| *bytes >= bound);
        if over.is_some() {
            self.max_memory = None;
        } else {
            self.look_at = Some(Instant::now() + LOOK_EVERY);
        }
        over
    }

    /// So many items more have been answered.
    pub(super) fn answered(&mut self, items: u32) -> Option<RecycleReason> {
        self.served = self.served.saturating_add(items.into());
        let worn = self.max_tasks.is_some_and(|max| self.served >= max);
        worn.then(|| self.told(RecycleReason::Tasks(self.served)))
    }

    /// When its memory is to be looked at next.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Looks at its memory.
    pub(super) fn look(&mut self, pid: u32) -> Option<RecycleReason> {
        let bound = self.max_memory?;
        self.look_at = Some(Instant::now() + LOOK_EVERY);
        // A process that is gone ends otherwise.
        let bytes = resident(pid).filter(|bytes| *bytes >= bound)?;
        Some(self.told(RecycleReason::Memory(bytes)))
    }

    /// Worn once is worn for good.
    fn told(&mut self, reason: RecycleReason) -> RecycleReason {
        *self = Self {
            served: self.served,
            ..Self::default()
        };
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(max_tasks: Option<u64>, max_memory: Option<u64>) -> Instances {
        Instances {
            max_tasks,
            max_memory,
            ..Instances::default()
        }
    }

    #[tokio::test]
    async fn items_wear_it_out_and_it_is_told_once() {
        let mut wear = Wear::new(&bounds(Some(10), None));
        assert_eq!(wear.begin(std::process::id()), None);
        assert_eq!(wear.look_at(), None, "memory is not bounded");
        assert_eq!(wear.answered(9), None);
        assert_eq!(wear.answered(4), Some(RecycleReason::Tasks(13)));
        assert_eq!(wear.answered(4), None);
    }

    #[tokio::test]
    async fn memory_wears_it_out() {
        let mut wear = Wear::new(&bounds(None, Some(u64::MAX)));
        assert_eq!(wear.begin(std::process::id()), None);
        assert!(wear.look_at().is_some());
        assert_eq!(wear.look(std::process::id()), None);
        wear.max_memory = Some(1 << 10);
        let Some(RecycleReason::Memory(bytes)) = wear.look(std::process::id()) else {
            panic!("a test holds more than a kilobyte");
        };
        assert!(bytes > 1 << 10);
        assert_eq!((wear.look(std::process::id()), wear.look_at()), (None, None));
    }

    #[tokio::test]
    async fn who_is_over_the_bound_from_the_start_is_not_replaced_for_it() {
        let mut wear = Wear::new(&bounds(Some(1), Some(1)));
        assert!(wear.begin(std::process::id()).is_some_and(|bytes| bytes > 1));
        assert_eq!((wear.look(std::process::id()), wear.look_at()), (None, None));
        assert_eq!(
            wear.answered(1),
            Some(RecycleReason::Tasks(1)),
            "items still count"
        );
    }
}
