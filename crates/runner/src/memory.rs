//! How much memory a process holds, as the kernel counts it.

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
