//! `cresset batch` where connections break: lines are sent again under the same key, results are gone on with.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::program::{Ended, run, run_with};

const ID: &str = "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10";

/// What one connection was asked: the head, and the body as it came, in chunks or not.
struct Asked {
    head: String,
    body: String,
}

/// A server that answers each connection with the next of these and closes it. An empty answer is a connection that breaks.
fn scripted(answers: Vec<String>) -> (String, JoinHandle<Vec<Asked>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let answer = |text: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = read(&stream);
            stream.write_all(text.as_bytes()).unwrap();
            asked
        };
        answers.into_iter().map(answer).collect()
    });
    (url, serving)
}

fn read(stream: &TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length, mut chunked) = (String::new(), 0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        chunked |= lower.starts_with("transfer-encoding: chunked");
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = String::new();
    if chunked {
        while !body.ends_with("0\r\n\r\n") {
            reader.read_line(&mut body).unwrap();
        }
    } else {
        reader.take(length).read_to_string(&mut body).unwrap();
    }
    Asked { head, body }
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn batch(status: &str, success: u64) -> String {
    let body = format!(
        r#"{{"batch_id":"{ID}","model":"digits","status":"{status}","accepted":3,"total":3,"counts":{{"success":{success}}}}}"#
    );
    answer("200 OK", "application/json", &body)
}

fn key(asked: &Asked) -> &str {
    let line = asked
        .head
        .lines()
        .find(|line| line.starts_with("idempotency-key: "));
    line.unwrap()
}

#[test]
fn a_file_is_sent_again_under_its_key_and_results_are_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines.jsonl");
    let text = "{\"input\":1}\n{\"input\":2}\n{\"input\":3}\n";
    std::fs::write(&file, text).unwrap();
    let lines = [
        "{\"index\":0,\"status\":\"SUCCESS\",\"result\":1}\n",
        "{\"index\":1,\"status\":\"SUCCESS\",\"result\":2.50}\n",
        "{\"index\":2,\"status\":\"SUCCESS\",\"result\":3}\n",
    ];
    let half = format!("{}{}", lines[0], &lines[1][..20]);
    let long = answer("200 OK", "application/x-ndjson", &lines.concat()).replace(&lines.concat(), &half);
    let (url, serving) = scripted(vec![
        String::new(),
        answer(
            "503 Service Unavailable",
            "application/problem+json",
            r#"{"code":"shutting_down"}"#,
        ),
        batch("in_progress", 0),
        String::new(),
        batch("completed", 3),
        long,
        answer("200 OK", "application/x-ndjson", &lines[1..].concat()),
    ]);
    let ended = run(&[
        "batch",
        "submit",
        "digits",
        file.to_str().unwrap(),
        "--wait",
        "--url",
        &url,
    ]);
    let asked = serving.join().unwrap();
    assert_eq!(
        (ended.exit, ended.stdout.as_str()),
        (0, &*lines.concat()),
        "{ended}"
    );
    let first = key(&asked[0]);
    assert!(
        asked[..3]
            .iter()
            .all(|asked| asked.body == text && key(asked) == first)
    );
    assert!(asked[2].head.starts_with("POST /v1/batches?model=digits "));
    assert!(
        asked[6]
            .head
            .starts_with(&format!("GET /v1/batches/{ID}/results?from=1 "))
    );
}

#[test]
fn what_comes_through_a_pipe_is_sent_once_and_its_key_is_told() {
    let (url, serving) = scripted(vec![String::new()]);
    let words = ["batch", "submit", "digits", "-", "--url", &url];
    let ended = run_with(&words, "{\"input\":1}\n");
    let asked = serving.join().unwrap();
    assert_eq!((ended.exit, ended.stdout.as_str()), (75, ""));
    assert!(asked[0].body.contains("{\"input\":1}\n"));
    let key = key(&asked[0]).strip_prefix("idempotency-key: ").unwrap();
    assert!(
        ended
            .stderr
            .contains(&format!("send the same lines again with --idempotency-key {key}")),
        "{ended}"
    );
}

#[test]
fn an_answer_that_is_no_result_ends_the_reading() {
    let odd = |body: &str| -> Ended {
        let (url, serving) = scripted(vec![
            batch("completed", 3),
            answer("200 OK", "application/x-ndjson", body),
        ]);
        let ended = run(&["batch", "results", ID, "--url", &url]);
        serving.join().unwrap();
        ended
    };
    let text: Vec<String> = [
        "hello\n",
        "{\"index\":7,\"status\":\"SUCCESS\"}\n",
        "{\"index\":0",
    ]
    .iter()
    .map(|body| odd(body).to_string())
    .collect();
    insta::assert_snapshot!(text.join("\n"));
}
