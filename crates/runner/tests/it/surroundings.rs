//! What an instance finds around itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::*;
use cresset_runner::{Executor, PoolEvent};

#[tokio::test]
async fn an_instance_finds_the_variables_that_the_protocol_and_the_model_promise() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.instances.threads = Some(3);
        set(&mut config, "OMP_NUM_THREADS", "7");
        set(&mut config, "MINE", "yes");
        set(&mut config, "PYTHONPATH", "/more");
        set(&mut config, "CRESSET_MODEL", "not allowed");
        config
    });
    it.up().await;
    let answer = it.answer(r#"{"do":"env"}"#).await;
    let env: BTreeMap<String, String> = serde_json::from_str(&answer).unwrap();
    let sdk = fake_sdk().display().to_string();
    let pid = std::process::id().to_string();
    for (name, value) in [
        ("CRESSET_PARENT_PID", pid.as_str()),
        ("CRESSET_MODEL", "fake"),
        ("CRESSET_INSTANCE", "0"),
        ("PYTHONPATH", &format!("{sdk}:/more")),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONSAFEPATH", "1"),
        ("OMP_NUM_THREADS", "7"),
        ("MKL_NUM_THREADS", "3"),
        ("GOMP_SPINCOUNT", "0"),
        ("MINE", "yes"),
        (
            "cwd",
            it.pool.config().dir.canonicalize().unwrap().to_str().unwrap(),
        ),
        ("stdin", "/dev/null"),
    ] {
        assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(env.contains_key("PATH"), "the server's environment is inherited");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_instance_has_four_descriptors_and_a_group_of_its_own() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    let fds: Vec<u32> = serde_json::from_str(&it.answer(r#"{"do":"fds"}"#).await).unwrap();
    assert_eq!(fds[..4], [0, 1, 2, 3], "stdin, stdout, stderr, the channel");
    // Besides, what whoever runs the tests has left open for all its children, the one that lists them, and that of the board,
    // which Python's mapping keeps.
    let ours: Vec<_> = fds[4..].iter().filter(|fd| !is_inherited(**fd)).collect();
    assert!(ours.len() <= 2, "{fds:?}");
    let ids: BTreeMap<String, u32> = serde_json::from_str(&it.answer(r#"{"do":"pid"}"#).await).unwrap();
    assert_eq!(ids["pid"], ids["pgid"]);
    assert_eq!(ids["ppid"], std::process::id());
    assert_eq!(it.pool.status().instances[0].pid, Some(ids["pid"]));
    it.stop(Duration::from_secs(5)).await;
}

/// True for a descriptor of this process that is left open for its children.
fn is_inherited(fd: u32) -> bool {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .map(str::trim);
    flags.is_some_and(|flags| u32::from_str_radix(flags, 8).is_ok_and(|flags| flags & CLOSE_ON_EXEC == 0))
}

#[tokio::test]
async fn every_device_gets_its_processes() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.instances.count = 2;
        config.instances.devices = vec!["cpu".into(), "cuda:1".into()];
        config
    });
    let mut up = Vec::new();
    for _ in 0..4 {
        match it.next().await {
            PoolEvent::Up { instance, .. } => up.push(instance.0),
            other => panic!("{other:?}"),
        }
    }
    up.sort_unstable();
    assert_eq!(up, [0, 1, 2, 3]);
    let devices: Vec<_> = it.pool.status().instances.into_iter().map(|i| i.device).collect();
    assert_eq!(devices, ["cpu", "cpu", "cuda:1", "cuda:1"]);
    it.stop(Duration::from_secs(5)).await;
}
