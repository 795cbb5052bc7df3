//! After many lives and deaths nothing is left: no process, no zombie, no descriptor, no memory file.
//!
//! One test in a binary of its own: it counts what belongs to the whole process.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "it/support.rs"]
#[expect(dead_code, reason = "this binary uses a part of it")]
mod support;

use std::time::Duration;

use cresset_runner::{Executor, PoolEvent};
use support::*;

fn descriptors() -> Vec<String> {
    let names = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut all: Vec<_> = names
        .filter_map(|e| {
            Some(
                std::fs::read_link(e.ok()?.path())
                    .ok()?
                    .to_string_lossy()
                    .into_owned(),
            )
        })
        .collect();
    all.sort();
    all
}

fn slabs() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("cresset-slab")).count()
}

/// Direct children of this process, zombies too.
fn children() -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(std::process::id()))
        .collect()
}

async fn lives() {
    for order in [
        r#"{"do":"exit","status":1}"#,
        r#"{"do":"grandchild"}"#,
        r#"{"do":"close"}"#,
        r#"{"do":"garbage"}"#,
    ] {
        let mut it = Fixture::new(object_model);
        it.up().await;
        it.order(order);
        it.order("2");
        it.ended().await;
        it.ended().await;
        it.down().await;
        it.up().await;
        it.stop(Duration::from_secs(5)).await;
    }
    let mut it = Fixture::new(|dir| tensor_model(dir, &[-1]));
    it.up().await;
    for n in [10, 1_000_000, 2_000_000] {
        it.run(vec![floats("x", &vec![1.0; n])]);
        it.ended().await;
    }
    assert_eq!(slabs(), 1, "the old slabs are gone");
    it.kill.cancel();
    while !matches!(it.next().await, PoolEvent::Down { .. }) {}
    it.pool.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn nothing_is_left_behind() {
    lives().await; // the first time makes the thread that spawns, and whatever the runtime keeps
    let before = descriptors();
    lives().await;
    let after = descriptors();
    assert_eq!(before.len(), after.len(), "before {before:#?}\nafter {after:#?}");
    assert_eq!(children(), Vec::<u32>::new(), "no child, not even a zombie");
    assert_eq!(slabs(), 0);
}
