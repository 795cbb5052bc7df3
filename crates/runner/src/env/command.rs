//! Running a program that takes its time and talks meanwhile.

use std::collections::VecDeque;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use super::Progress;

/// Last lines kept for the error.
const LINES_KEPT: usize = 30;
/// A longer line is cut; uv's are short, a build backend's may not be.
const LINE_MAX: usize = 1000;

/// It did not succeed: its last lines, or why it did not even start.
#[derive(Debug)]
pub(super) struct Failed(pub(super) String);

/// Runs a program to its end, telling each line of its stderr; gives its stdout. The program is killed when the future
/// is dropped.
pub(super) async fn run(mut command: Command, progress: Progress<'_>) -> Result<String, Failed> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let name = command.as_std().get_program().display().to_string();
    let mut child = command
        .spawn()
        .map_err(|e| Failed(format!("{name} could not be started: {e}")))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let nothing = |_: &str| {};
    let (out, err) = tokio::join!(lines(stdout, &nothing), lines(stderr, progress));
    let status = child
        .wait()
        .await
        .map_err(|e| Failed(format!("{name} could not be waited for: {e}")))?;
    if status.success() {
        return Ok(out);
    }
    let said = if err.is_empty() { out } else { err };
    Err(Failed(if said.is_empty() {
        format!("{name} ended with {status} and said nothing")
    } else {
        said
    }))
}

/// Reads to the end; gives the last lines.
async fn lines(pipe: Option<impl AsyncRead + Unpin>, each: Progress<'_>) -> String {
    let Some(pipe) = pipe else { return String::new() };
    let mut reader = BufReader::new(pipe);
    let mut kept = VecDeque::with_capacity(LINES_KEPT);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(e) => {
                tracing::warn!(error = %e, "reading the output of a program failed");
                break;
            }
        }
        let mut text = String::from_utf8_lossy(&line[..line.len().min(LINE_MAX)])
            .trim_end()
            .to_owned();
        text.retain(|c| !c.is_control() || c == '\t');
        if text.is_empty() {
            continue;
        }
        each(text.trim());
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(text);
    }
    Vec::from(kept).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn progress_is_told_and_the_output_given() {
        let told = Mutex::new(Vec::new());
        let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
        let out = run(shell("echo ' a' >&2; echo result; echo b >&2"), &tell).await;
        assert_eq!(out.unwrap(), "result");
        assert_eq!(told.into_inner().unwrap(), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_failure_carries_the_last_words() {
        let error = run(shell("seq 100 >&2; exit 3"), &|_: &str| {})
            .await
            .unwrap_err();
        assert_eq!(error.0.lines().count(), LINES_KEPT);
        assert!(error.0.ends_with("\n100"));
        let error = run(shell("exit 3"), &|_: &str| {}).await.unwrap_err();
        assert!(error.0.contains("exit status: 3"), "{}", error.0);
        let error = run(Command::new("/nonexistent/uv"), &|_: &str| {})
            .await
            .unwrap_err();
        assert!(error.0.contains("could not be started"), "{}", error.0);
    }
}
