//! What the server's processes use, read from `/proc`: the CPU time of whole trees, the memory of the named processes.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

/// Clock ticks a second in `/proc/*/stat`: fixed in Linux's interface to programs.
const TICKS: f64 = 100.0;
const PROC: &str = "/proc";

/// The CPU seconds of these processes and everything below them, reaped children included. Two readings are compared;
/// a process that ends between them has been added to its parent's by then.
pub(crate) fn cpu_seconds(roots: &[u32]) -> f64 {
    let mut used: HashMap<u32, f64> = HashMap::new();
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir(PROC).into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some((parent, ticks)) = fs::read_to_string(entry.path().join("stat"))
            .ok()
            .and_then(|text| stat(&text))
        {
            used.insert(pid, ticks as f64 / TICKS);
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut seen = HashSet::new();
    let mut left = roots.to_vec();
    while let Some(pid) = left.pop() {
        if seen.insert(pid) {
            left.extend(children.get(&pid).into_iter().flatten());
        }
    }
    seen.iter().filter_map(|pid| used.get(pid)).sum()
}

/// The parent and the ticks used, by itself and by children that it has waited for.
fn stat(text: &str) -> Option<(u32, u64)> {
    // The name, in parentheses, may hold spaces and parentheses itself.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let ticks = fields
        .skip(9)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Some((parent, ticks))
}

/// The CPU seconds that this whole machine has worked.
pub(crate) fn machine_seconds() -> f64 {
    let text = fs::read_to_string(Path::new(PROC).join("stat")).unwrap_or_default();
    busy(&text) as f64 / TICKS
}

/// The ticks of the first line that were work: all but idle (4th) and waiting for a disk (5th), and not the guests'
/// (9th, 10th), which are in the first two already.
fn busy(text: &str) -> u64 {
    let fields = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .take(8);
    fields
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4))
        .filter_map(|(_, field)| field.parse::<u64>().ok())
        .sum()
}

/// Megabytes of memory that are resident, of the named processes alone.
pub(crate) fn memory_mb(pids: &[u32]) -> f64 {
    let kilobytes: u64 = pids
        .iter()
        .filter_map(|pid| fs::read_to_string(Path::new(PROC).join(pid.to_string()).join("status")).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        })
        .sum();
    kilobytes as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b) (c) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        assert_eq!(stat(text), Some((7, 100)));
    }

    #[test]
    fn idle_time_is_no_work() {
        assert_eq!(busy("cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 9 9 9"), 63);
    }

    #[test]
    fn the_own_process_uses_time_and_memory() {
        let own = [std::process::id()];
        assert!(memory_mb(&own) > 0.0);
        assert!(cpu_seconds(&own) >= 0.0);
        assert!(cpu_seconds(&[]) == 0.0);
    }
}
