//! `doctor`: what somebody with a problem reads.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cresset_queue_sql::{SqliteOptions, SqliteStore};

use crate::program::{Ended, cresset, end};

/// What differs from machine to machine is looked at in tests of its own, beside the code.
const OF_THE_MACHINE: [&str; 8] = [
    "version",
    "file system",
    "space",
    "open files",
    "memory",
    "locked memory",
    "cgroup",
    "uv",
];

/// Runs it in `dir`; without the lines that are the machine's.
fn doctor(dir: &Path, args: &[&str]) -> Ended {
    let mut ended = end(cresset(&[&["doctor"], args].concat())
        .current_dir(dir)
        .env("HOME", "/home/someone")
        .env_remove("XDG_CACHE_HOME")
        .spawn()
        .unwrap());
    let is_ours = |line: &&str| {
        let Some((status, rest)) = line.split_at_checked(4) else {
            return false;
        };
        let area = rest.trim_start().split("  ").next().unwrap_or_default();
        !status.trim().is_empty() && OF_THE_MACHINE.contains(&area)
    };
    let (mut kept, mut skipping) = (String::new(), false);
    for line in ended.stdout.lines() {
        let is_remedy = line.starts_with("     ");
        skipping = if is_remedy { skipping } else { is_ours(&line) };
        if !skipping {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    let path = dir.canonicalize().unwrap().display().to_string();
    ended.stdout = kept.replace(&path, "HERE");
    // How many of the machine's own warnings there are is the machine's.
    ended.stderr = ended
        .stderr
        .split("arnings: ")
        .next()
        .unwrap_or_default()
        .to_owned();
    ended
}

/// A Python that tells what it is told to tell.
fn python(dir: &Path, name: &str, tells: &str) {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{tells}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn model(dir: &Path, name: &str, python: &str, devices: &str) {
    let folder = dir.join("models").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.py"), "").unwrap();
    let text = format!(
        "[instances]\ndevices = [\"{devices}\"]\n[environment]\npython = \"{}\"\n",
        dir.canonicalize().unwrap().join(python).display()
    );
    std::fs::write(folder.join("model.toml"), text).unwrap();
}

macro_rules! assert_reads {
    ($name:literal, $ended:expr) => {
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT");
        settings.add_filter(r"in use by \S+ \(pid \d+\)", "in use by NAME (pid 4711)");
        settings.add_filter(
            r"in use by another process \(pid \d+\)",
            "in use by another process (pid 4711)",
        );
        settings.add_filter(
            r"the running server's: \S+ \(pid \d+\)",
            "the running server's: NAME (pid 4711)",
        );
        settings.add_filter(r"schema \d+", "schema NEWEST");
        settings.bind(|| insta::assert_snapshot!($name, $ended));
    };
}

#[test]
fn a_place_where_all_is_well_is_told_so_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    python(
        dir.path(),
        "good",
        r#"echo '{"python":"3.11.7","torch":"2.9.0+cpu","devices":0}'"#,
    );
    model(dir.path(), "digits", "good", "cpu");
    let ended = doctor(dir.path(), &["models", "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.exit, 0, "{ended}");
    assert_reads!("doctor_well", ended.stdout);
    assert!(!dir.path().join(".cresset").exists(), "it made a data folder");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    python(
        dir.path(),
        "blind",
        r#"echo '{"python":"3.11.7","torch":"2.9.0","built_for":"12.8","devices":0}'"#,
    );
    python(dir.path(), "ill", "echo 'no such library' >&2; exit 3");
    model(dir.path(), "sees", "blind", "cuda:0");
    model(dir.path(), "words", "ill", "cpu");
    std::fs::write(dir.path().join("cresset.toml"), "[store]\ndurability = \"os\"\n").unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/tasks.db"), vec![b'x'; 4_096]).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let args = ["models", "--data-dir", "data", "--listen", &listen];
    let ended = doctor(dir.path(), &args);
    assert_eq!(ended.exit, 1, "{ended}");
    assert_reads!("doctor_ill", ended.stdout);
    let json = doctor(dir.path(), &[&args[..], &["--json"]].concat());
    assert_eq!(json.exit, 1);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let lines = document["lines"].as_array().unwrap();
    assert_eq!(document["ok"], false);
    assert!(
        lines
            .iter()
            .any(|line| line["area"] == "port" && line["status"] == "fail")
    );
    assert!(
        lines
            .iter()
            .all(|line| line["status"] == "ok" || line["remedy"].is_string())
    );
}

#[test]
fn wrong_settings_are_told_and_nothing_more_is_guessed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cresset.toml"), "[server]\nlisten = \"8700\"\n").unwrap();
    let ended = doctor(dir.path(), &["nowhere"]);
    assert_eq!(ended.exit, 1, "{ended}");
    assert_reads!("doctor_wrong_settings", ended.stdout);
}

/// The holder of the store is this process, which listens as the server would.
#[test]
fn a_server_that_runs_is_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    python(
        dir.path(),
        "good",
        r#"echo '{"python":"3.11.7","torch":"2.9.0","built_for":"12.8","devices":2}'"#,
    );
    model(dir.path(), "sees", "good", "cuda:0");
    std::fs::create_dir(dir.path().join("data")).unwrap();
    let store = SqliteStore::open(SqliteOptions::at(dir.path().join("data/tasks.db"))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap().to_string();
    let ended = doctor(dir.path(), &["models", "--data-dir", "data", "--listen", &listen]);
    assert_eq!(ended.exit, 0, "{ended}");
    assert!(ended.stdout.contains("the running server's"), "{ended}");
    assert!(ended.stdout.contains("CUDA 12.8 with 2 devices"), "{ended}");
    drop(store);
}
