//! How much memory a process holds, as the kernel counts it.

use std::time::Duration;

use tokio::time::Instant;

/// While an instance works, its memory is looked at this often: often enough to see it grow, and no load.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What was last seen of a process's memory. A dead one has none, so what it had is known only if somebody looked.
#[derive(Debug)]
pub(crate) struct Resident {
    pid: u32,
    seen: Option<u64>,
    looked: Instant,
}

impl Resident {
    pub(crate) fn of(pid: u32) -> Self {
        let (seen, looked) = (None, Instant::now());
        Self { pid, seen, looked }
    }

    /// Looks now. What was seen before stays when there is nothing to be seen any more.
    pub(crate) fn look(&mut self) {
        self.looked = Instant::now();
        self.seen = resident(self.pid).or(self.seen);
    }

    /// When to look again.
    pub(crate) fn next_look(&self) -> Instant {
        self.looked + LOOK_EVERY
    }

    /// Bytes, when it was last looked at.
    pub(crate) fn seen(&self) -> Option<u64> {
        self.seen
    }
}

/// Resident bytes of a process: its own memory, mapped files, and the part of its slab that it has touched. `None` when
/// it is gone, or the kernel does not say.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    // A process that is gone has no file, and says nothing.
    of_status(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn of_status(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_processes_that_are_there() {
        assert!(resident(std::process::id()).is_some_and(|bytes| bytes > 100 << 10));
        assert_eq!(resident(u32::MAX), None);
    }

    #[test]
    fn what_is_not_said_is_not_guessed() {
        assert_eq!(
            of_status("Name:\tpython\nVmRSS:\t  2048 kB\nThreads:\t1\n"),
            Some(2 << 20)
        );
        assert_eq!(of_status("Name:\tzombie\nState:\tZ\n"), None);
        assert_eq!(of_status("VmRSS:\tmuch\n"), None);
    }
}
