//! `submit --jsonl`: order, patience, bounds, bad lines, interruption and going on.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::mock::{Manner, Mock};
use crate::program::{self, cresset, run, run_with};

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(input: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("in.jsonl"), input).unwrap();
        Self { dir }
    }

    fn input(&self) -> String {
        self.path("in.jsonl").display().to_string()
    }

    fn output(&self) -> String {
        self.path("out.jsonl").display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn records(&self) -> Vec<Value> {
        records(&std::fs::read_to_string(self.path("out.jsonl")).unwrap())
    }

    fn redact(&self, text: &str) -> String {
        text.replace(&self.dir.path().display().to_string(), "DIR")
    }
}

fn records(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn numbers(count: u64) -> String {
    (1..=count).map(|n| format!("{n}\n")).collect()
}

/// The records of `numbers(count)`, whatever the ids.
fn assert_all_in_order(records: &[Value], count: u64) {
    assert_eq!(records.len() as u64, count);
    for (record, n) in records.iter().zip(1_u64..) {
        assert_eq!(
            (&record["line"], &record["status"], &record["result"]),
            (&json!(n), &json!("SUCCESS"), &json!([n]))
        );
    }
}

fn journal(files: &Files) -> bool {
    Path::new(&files.path("out.jsonl.journal")).exists()
}

#[test]
fn five_thousand_lines_come_back_in_order_and_the_flight_is_bounded() {
    let mock = Mock::start(Manner::default());
    let files = Files::new(&numbers(5000));
    let ended = run(&[
        "submit",
        "digits",
        "--jsonl",
        &files.input(),
        "--output",
        &files.output(),
        "--in-flight",
        "20",
        "--url",
        &mock.url,
    ]);
    assert_eq!((ended.exit, ended.stdout.as_str()), (0, ""), "{ended}");
    // On a slow machine lines of progress come first.
    let is_summary = |line: &str| line.starts_with("digits: 5000 succeeded, 0 failed; ");
    assert!(ended.stderr.lines().any(is_summary), "{ended}");
    assert_all_in_order(&files.records(), 5000);
    assert_eq!(mock.accepted().len(), 5000);
    assert!(
        (2..=20).contains(&mock.concurrent_max()),
        "{}",
        mock.concurrent_max()
    );
    assert!(!journal(&files), "a complete run leaves no journal");
}

#[test]
fn stdin_to_stdout_keeps_order_though_tasks_end_out_of_order() {
    let mock = Mock::start(Manner {
        hold_every: Some(7),
        ..Manner::default()
    });
    let input = numbers(40);
    let url = mock.url.clone();
    let child =
        std::thread::spawn(move || run_with(&["submit", "digits", "--jsonl", "-", "--url", &url], &input));
    mock.wait_accepted(40);
    mock.release();
    let ended = child.join().unwrap();
    assert_eq!(ended.exit, 0, "{ended}");
    assert_all_in_order(&records(&ended.stdout), 40);
}

#[test]
fn a_full_queue_is_waited_out() {
    let mock = Mock::start(Manner {
        full_times: 2,
        ..Manner::default()
    });
    let files = Files::new(&numbers(50));
    let ended = run(&[
        "submit",
        "digits",
        "--jsonl",
        &files.input(),
        "--output",
        &files.output(),
        "--url",
        &mock.url,
    ]);
    assert_eq!(ended.exit, 0, "{ended}");
    assert_all_in_order(&files.records(), 50);
    assert_eq!(mock.accepted().len(), 50);
}

#[test]
fn bad_lines_are_reported_by_number_and_stop_nothing() {
    let mock = Mock::start(Manner::default());
    let files = Files::new("1\n\n{\"a\": \n\"fail\"\n{\"refuse\": true}\n[2, 3] x\n{\"b\": 4}");
    let ended = run(&[
        "submit",
        "digits",
        "--jsonl",
        &files.input(),
        "--output",
        &files.output(),
        "--url",
        &mock.url,
    ]);
    assert_eq!(ended.exit, 1, "{ended}");
    assert!(
        ended.stderr.starts_with("digits: 2 succeeded, 4 failed; "),
        "{ended}"
    );
    let mut text = String::new();
    for mut record in files.records() {
        if record.get("task_id").is_some() {
            record["task_id"] = "ID".into();
        }
        text.push_str(&format!("{record}\n"));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn an_unknown_model_stops_the_run_at_once() {
    let mock = Mock::start(Manner::default());
    let files = Files::new(&numbers(500));
    let ended = run(&["submit", "digit", "--jsonl", &files.input(), "--url", &mock.url]);
    assert_eq!(ended.exit, 66, "{ended}");
    insta::assert_snapshot!(ended.to_string());
}

#[test]
fn a_server_that_stays_away_ends_a_run_that_can_be_gone_on_with() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let files = Files::new(&numbers(500));
    let (input, output) = (files.input(), files.output());
    let words = [
        "submit",
        "digits",
        "--jsonl",
        &input,
        "--output",
        &output,
        "--give-up-after",
        "300ms",
        "--url",
    ];
    let ended = run(&[&words[..], &[&closed]].concat());
    assert_eq!(ended.exit, 69, "{ended}");
    insta::assert_snapshot!(files.redact(&ended.to_string()).replace(&closed, "CLOSED"));
    let mock = Mock::start(Manner::default());
    let ended = run(&[&words[..], &[&mock.url, "--resume"]].concat());
    assert_eq!(ended.exit, 0, "{ended}");
    assert_all_in_order(&files.records(), 500);
}

/// Starts a run of 300 lines in which every tenth task hangs, and hits it with `signal` once it can go no further.
fn cut(mock: &Mock, files: &Files, signal: Signal) -> (Option<i32>, String) {
    let child = cresset(&[
        "submit",
        "digits",
        "--jsonl",
        &files.input(),
        "--output",
        &files.output(),
        "--in-flight",
        "8",
        "--url",
        &mock.url,
    ])
    .spawn()
    .unwrap();
    // Every tenth task hangs: with eight in flight the run stands still at the eightieth.
    mock.wait_held(8);
    assert_eq!(mock.accepted().len(), 80);
    program::signal(&child, signal);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Goes on with it, and looks at everything.
fn go_on(mock: &Mock, files: &Files) {
    mock.release();
    let ended = run(&[
        "submit",
        "digits",
        "--jsonl",
        &files.input(),
        "--output",
        &files.output(),
        "--resume",
        "--url",
        &mock.url,
    ]);
    assert_eq!(ended.exit, 0, "{ended}");
    assert!(
        ended.stderr.starts_with("digits: 300 succeeded, 0 failed ("),
        "{ended}"
    );
    assert_all_in_order(&files.records(), 300);
    let mut inputs: Vec<u64> = mock
        .accepted()
        .iter()
        .map(|input| input.as_u64().unwrap())
        .collect();
    inputs.sort_unstable();
    assert_eq!(
        inputs,
        (1..=300).collect::<Vec<_>>(),
        "each line is submitted once"
    );
    assert!(!journal(files));
    let keys: std::collections::HashSet<_> = mock.keys().into_iter().collect();
    assert_eq!(keys.len(), 300);
    let runs: std::collections::HashSet<_> = keys.iter().map(|key| key.rsplit_once('-').unwrap().0).collect();
    assert_eq!(runs.len(), 1, "both halves name the same run");
}

#[test]
fn ctrl_c_stops_cleanly_and_a_resumed_run_submits_no_line_twice() {
    let mock = Mock::start(Manner {
        hold_every: Some(10),
        ..Manner::default()
    });
    let files = Files::new(&numbers(300));
    let (exit, stderr) = cut(&mock, &files, Signal::INT);
    assert_eq!(exit, Some(130));
    insta::assert_snapshot!(files.redact(&stderr));
    assert_eq!(files.records().len(), 9, "what is in order is written");
    assert!(journal(&files));
    let again = run(&[
        "submit",
        "digits",
        "--jsonl",
        &files.input(),
        "--output",
        &files.output(),
        "--url",
        &mock.url,
    ]);
    assert_eq!(again.exit, 73, "an interrupted run is not overwritten: {again}");
    go_on(&mock, &files);
}

#[test]
fn a_killed_run_goes_on_too() {
    let mock = Mock::start(Manner {
        hold_every: Some(10),
        ..Manner::default()
    });
    let files = Files::new(&numbers(300));
    let (exit, _) = cut(&mock, &files, Signal::KILL);
    assert_eq!(exit, None);
    go_on(&mock, &files);
}

#[test]
fn a_changed_input_is_noticed() {
    let mock = Mock::start(Manner {
        hold_every: Some(10),
        ..Manner::default()
    });
    let files = Files::new(&numbers(300));
    cut(&mock, &files, Signal::TERM);
    std::fs::write(files.path("in.jsonl"), numbers(300).replace("\n10\n", "\n10.5\n")).unwrap();
    mock.release();
    let ended = run(&[
        "submit",
        "digits",
        "--jsonl",
        &files.input(),
        "--output",
        &files.output(),
        "--resume",
        "--url",
        &mock.url,
    ]);
    assert_eq!(ended.exit, 65, "{ended}");
    assert!(
        ended
            .stderr
            .contains("line 10 of the input is not the one that was submitted"),
        "{ended}"
    );
}

#[test]
fn resume_starts_a_run_that_was_never_started_and_leaves_a_complete_one_alone() {
    let mock = Mock::start(Manner::default());
    let files = Files::new(&numbers(20));
    for _ in 0..2 {
        let ended = run(&[
            "submit",
            "digits",
            "--jsonl",
            &files.input(),
            "--output",
            &files.output(),
            "--resume",
            "--url",
            &mock.url,
        ]);
        assert_eq!(ended.exit, 0, "{ended}");
        assert_all_in_order(&files.records(), 20);
    }
    assert_eq!(mock.accepted().len(), 20);
}

#[test]
fn a_reader_that_goes_away_stops_the_run() {
    let mock = Mock::start(Manner::default());
    let files = Files::new(&numbers(500));
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let ended = cresset(&["submit", "digits", "--jsonl", &files.input(), "--url", &mock.url])
        .stdout(std::process::Stdio::from(write))
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(74));
    assert!(
        String::from_utf8(ended.stderr)
            .unwrap()
            .contains("nobody reads the results"),
        "names the cause"
    );
    assert!(mock.accepted().len() < 500);
}

#[test]
fn a_second_ctrl_c_ends_a_run_whose_reader_does_not_read() {
    use std::io::BufRead as _;
    let mock = Mock::start(Manner::default());
    let files = Files::new(
        &(0..500)
            .map(|n| format!("\"{n}{}\"\n", "x".repeat(2000)))
            .collect::<String>(),
    );
    let mut child = cresset(&["submit", "digits", "--jsonl", &files.input(), "--url", &mock.url])
        .spawn()
        .unwrap();
    // A megabyte of results does not fit into the pipe, which nobody reads.
    mock.wait_accepted(500);
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    program::signal(&child, Signal::INT);
    assert_eq!(
        stderr.next().unwrap().unwrap(),
        "stopping; once more to stop at once"
    );
    program::signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
