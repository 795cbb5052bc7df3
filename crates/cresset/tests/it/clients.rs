//! `submit`, `status`, `result`, `models`: what they print, where, and how they exit.

use std::process::Stdio;

use crate::mock::{Manner, Mock};
use crate::program::{cresset, run, run_with};

fn redact(text: &str, mock: &Mock) -> String {
    text.replace(&mock.url, "URL")
}

/// An id out of a line.
fn id(text: &str) -> String {
    let id = text.trim().to_owned();
    assert_eq!(id.len(), 36, "{text}");
    id
}

#[test]
fn a_submit_prints_the_bare_id_which_status_and_result_take() {
    let mock = Mock::start(Manner::default());
    let submitted = run(&["submit", "digits", "--json", "[1.50]", "--url", &mock.url]);
    assert_eq!((submitted.exit, submitted.stderr.as_str()), (0, ""));
    let id = id(&submitted.stdout);
    let result = run(&["result", &id, "--url", &mock.url]);
    assert_eq!(
        (result.exit, result.stdout.as_str(), result.stderr.as_str()),
        (0, "[[1.5]]\n", "")
    );
    let status = run(&["status", &id, "--url", &mock.url]);
    insta::assert_snapshot!(status.to_string().replace(&id, "ID"));
    let json = run(&["status", &id, "--json", "--url", &mock.url]);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["task_id"], id);
}

#[test]
fn input_comes_from_a_file_or_stdin_with_options_beside_it() {
    let mock = Mock::start(Manner::default());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.json");
    std::fs::write(&path, "{\"x\":\n 1}\n").unwrap();
    let path = path.to_str().unwrap();
    let from_file = run(&[
        "submit",
        "digits",
        "--file",
        path,
        "--priority",
        "-5",
        "--metadata",
        "{\"u\":7}",
        "--url",
        &mock.url,
    ]);
    assert_eq!(from_file.exit, 0, "{from_file}");
    let from_stdin = run_with(&["submit", "digits", "--file", "-", "--url", &mock.url], "\"é\"");
    assert_eq!(from_stdin.exit, 0, "{from_stdin}");
    assert_eq!(
        mock.bodies(),
        [
            serde_json::json!({"input": {"x": 1}, "priority": -5, "metadata": {"u": 7}}),
            serde_json::json!({"input": "é"})
        ]
    );
}

#[test]
fn waiting_prints_the_result_or_says_why_there_is_none() {
    let mock = Mock::start(Manner::default());
    let good = run(&["submit", "digits", "--json", "1", "--wait", "--url", &mock.url]);
    assert_eq!(
        (good.exit, good.stdout.as_str(), good.stderr.as_str()),
        (0, "[1]\n", "")
    );
    let bad = run(&[
        "submit", "digits", "--json", "\"fail\"", "--wait", "--url", &mock.url,
    ]);
    assert_eq!((bad.exit, bad.stdout.as_str()), (1, ""));
    assert!(bad.stderr.contains("failed: ValueError: odd input"), "{bad}");
    let json = run(&[
        "submit",
        "digits",
        "--json",
        "\"fail\"",
        "--wait",
        "--json-output",
        "--url",
        &mock.url,
    ]);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.exit, &document["status"]), (1, &"FAILURE".into()));
}

#[test]
fn a_wait_that_runs_out_exits_124_and_says_how_to_go_on() {
    let mock = Mock::start(Manner {
        hold_every: Some(1),
        ..Manner::default()
    });
    let submitted = run(&[
        "submit",
        "digits",
        "--json",
        "1",
        "--wait=50ms",
        "--url",
        &mock.url,
    ]);
    assert_eq!((submitted.exit, submitted.stdout.as_str()), (124, ""));
    let id = submitted.stderr.split_whitespace().nth(2).unwrap().to_owned();
    insta::assert_snapshot!("wait_ran_out", submitted.to_string().replace(&id, "ID"));
    let early = run(&["result", &id, "--url", &mock.url]);
    insta::assert_snapshot!("no_result_yet", early.to_string().replace(&id, "ID"));
    let pending = run(&["status", &id, "--url", &mock.url]);
    insta::assert_snapshot!("pending", pending.to_string().replace(&id, "ID"));
    mock.release();
    let late = run(&["result", &id, "--wait", "--url", &mock.url]);
    assert_eq!((late.exit, late.stdout.as_str()), (0, "[1]\n"));
}

#[test]
fn every_error_ends_with_something_to_type() {
    let mock = Mock::start(Manner::default());
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let url = mock.url.as_str();
    let unknown = "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10";
    let cases: [&[&str]; 11] = [
        &["submit", "digit", "--json", "1", "--url", url],
        &["submit", "digits", "--json", "hello", "--url", url],
        &["submit", "digits", "--json", "{\"refuse\": true}", "--url", url],
        &["submit", "digits", "--json", "1", "--metadata", "7", "--url", url],
        &["submit", "digits", "--file", "/does/not/exist", "--url", url],
        &["submit", "digits", "--url", url],
        &["status", unknown, "--url", url],
        &["status", "nonsense", "--url", url],
        &["result", unknown, "--url", url],
        &["models", "--url", &closed],
        &["models", "--url", "localhost:8700"],
    ];
    let text: Vec<String> = cases
        .iter()
        .map(|args| {
            let ended = run(args);
            assert_ne!(ended.exit, 0, "{args:?}");
            assert_eq!(ended.stdout, "", "{args:?}");
            format!("$ cresset {}\n{ended}", args.join(" ")).replace(&closed, "CLOSED")
        })
        .collect();
    insta::assert_snapshot!(redact(&text.join("\n"), &mock));
}

#[test]
fn the_server_is_named_by_the_environment_too() {
    let mock = Mock::start(Manner::default());
    let ended = cresset(&["models", "--json"])
        .env("CRESSET_URL", &mock.url)
        .output()
        .unwrap();
    assert!(ended.status.success());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mock = Mock::start(Manner::default());
    for args in [
        &["models", "--url", &mock.url] as &[&str],
        &["--help"],
        &["completions", "bash"],
    ] {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let ended = cresset(args).stdout(Stdio::from(write)).output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8(ended.stderr).unwrap(), "", "{args:?}");
    }
}

#[test]
fn a_cancellation_says_when_it_came_and_exits_1_when_it_was_too_late() {
    let mock = Mock::start(Manner::default());
    let queued = "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10";
    let cancelled = run(&["cancel", queued, "--url", &mock.url]);
    assert_eq!(
        (
            cancelled.exit,
            cancelled.stdout.as_str(),
            cancelled.stderr.as_str()
        ),
        (0, "REVOKED, before it ran\n", "")
    );
    let submitted = run(&["submit", "digits", "--json", "[1]", "--url", &mock.url]);
    let ended = id(&submitted.stdout);
    let late = run(&["cancel", &ended, "--json", "--url", &mock.url]);
    assert_eq!(late.exit, 1, "{late}");
    let document: serde_json::Value = serde_json::from_str(&late.stdout).unwrap();
    assert_eq!(
        (&document["status"], &document["cancelled"]),
        (&"SUCCESS".into(), &"too_late".into())
    );
}

#[test]
fn a_submit_says_when_to_start_and_when_to_give_up() {
    let mock = Mock::start(Manner::default());
    let url = ["--url", mock.url.as_str()];
    let submit = |times: &[&str]| run(&[&["submit", "digits", "--json", "1"], times, &url].concat());
    assert_eq!(submit(&["--countdown", "90s", "--expires", "10m"]).exit, 0);
    assert_eq!(submit(&["--eta", "2099-01-31T08:00:00Z"]).exit, 0);
    assert_eq!(
        submit(&["--eta", "2099-01-31T08:00:00Z", "--countdown", "1s"]).exit,
        64
    );
    assert_eq!(
        mock.bodies(),
        [
            serde_json::json!({"input": 1, "countdown": "90000ms", "expires": "600000ms"}),
            serde_json::json!({"input": 1, "eta": "2099-01-31T08:00:00Z"}),
        ]
    );
}

#[test]
fn purging_dead_letters_needs_to_be_told_which() {
    let vague = run(&["dead", "purge"]);
    assert_eq!(vague.exit, 64, "{vague}");
    assert!(
        vague
            .stderr
            .contains("<ID|--model <MODEL>|--before <WHEN>|--all>"),
        "{vague}"
    );
    let both = run(&["dead", "purge", "--all", "--model", "digits"]);
    assert_eq!(both.exit, 64, "{both}");
    assert!(both.stderr.contains("cannot be used with"), "{both}");
}
