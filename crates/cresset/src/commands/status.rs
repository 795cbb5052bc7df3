//! `cresset status`: a task as the server sees it now.

use clap::Args;
use cresset_task::TaskId;

use crate::args::{self, ServerArgs, WaitArgs};
use crate::client::{Progress, RetryShown, Task, WaitEnd};
use crate::exit::{Exit, Trouble};
use crate::out;

/// The longest result or metadata that the overview shows, in characters; `cresset result` prints all of it.
const SHOWN_MAX: usize = 200;

/// Shows how a task stands.
///
/// Exits 0 whatever the task's status is; `cresset result` exits 1 when a task has failed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset status 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10\n  \
    cresset status 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10 --wait=30s --json")]
pub(crate) struct StatusArgs {
    /// The task's id, as `cresset submit` printed it
    #[arg(value_name = "ID")]
    id: TaskId,
    #[command(flatten)]
    wait: WaitArgs,
    /// Print the server's JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &StatusArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    args::block_on(async {
        let (task, document) = match client.look(args.id, args.wait.limit()).await {
            Ok(WaitEnd::Seen(task, document)) => (task, document),
            Ok(WaitEnd::TimedOut(last)) => return Err(timed_out(args.id, last.as_deref())),
            Err(error) => return Err(error.trouble()),
        };
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::raw(overview(&task).as_bytes())?;
        }
        Ok(Exit::OK)
    })
}

/// `--wait=TIMEOUT` ran out.
pub(crate) fn timed_out(id: TaskId, last: Option<&Task>) -> Trouble {
    let status = last
        .map(|task| format!("; it is {}", task.status))
        .unwrap_or_default();
    Trouble::new(
        Exit::WAIT_TIMEOUT,
        format!("task {id} did not end in the time given{status}"),
    )
    .hint(format!(
        "it goes on; fetch its result with `cresset result {id} --wait`"
    ))
}

fn overview(task: &Task) -> String {
    let mut items = vec![("task", task.task_id.to_string())];
    items.push((
        "model",
        match &task.version {
            Some(version) => format!("{} (version {version})", task.model),
            None => task.model.clone(),
        },
    ));
    items.push(("status", task.status.to_string()));
    let mut push = |name, value: Option<String>| items.extend(value.map(|value| (name, value)));
    push(
        "position",
        task.queue_position
            .map(|position| format!("{position} before it in the queue")),
    );
    push("progress", task.progress.as_ref().map(progress));
    push("attempts", task.attempts.map(|n| n.to_string()));
    push("retries", task.retries.filter(|n| *n > 0).map(|n| n.to_string()));
    push(
        "cached",
        task.cached.then(|| "the result of an equal input".into()),
    );
    push("retry", task.retry.as_ref().map(retry));
    push("due", task.eta.clone());
    push("expires", task.expires_at.clone());
    push("deadline", task.deadline_at.clone());
    push("created", task.created_at.clone());
    push("started", task.started_at.clone());
    push("finished", task.finished_at.clone());
    push(
        "metadata",
        task.metadata
            .as_deref()
            .filter(|raw| raw.get() != "null")
            .map(|raw| short(raw.get())),
    );
    if task.status == cresset_task::State::Success {
        push("result", Some(short(task.result_text())));
    }
    push("error", task.error.as_ref().map(ToString::to_string));
    for entry in &task.history {
        let text = format!("attempt {} at {}: {}", entry.attempt, entry.at, entry.reason);
        push("ran again", Some(text));
    }
    let mut text = out::pairs(items);
    for line in task
        .error
        .as_ref()
        .and_then(|error| error.traceback.as_deref())
        .unwrap_or_default()
        .lines()
    {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// What its submitter says of how it is tried again.
fn retry(terms: &RetryShown) -> String {
    let said = [
        terms.max_retries.map(|n| format!("max_retries {n}")),
        terms.delay.as_ref().map(|wait| format!("delay {wait}")),
        terms.max_delay.as_ref().map(|wait| format!("max_delay {wait}")),
        terms.on.as_ref().map(|on| match on.as_slice() {
            [] => "on none".to_owned(),
            some => format!("on {}", some.join(" ")),
        }),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// JSON on one line, cut when it is long.
fn short(json: &str) -> String {
    let line = json.replace(['\n', '\r'], " ");
    match line.char_indices().nth(SHOWN_MAX) {
        None => line,
        Some((end, _)) => format!("{}... ({} bytes)", &line[..end], json.len()),
    }
}

fn progress(progress: &Progress) -> String {
    let percent = format!("{:.0} %", progress.fraction * 100.0);
    match &progress.message {
        Some(message) => format!("{percent}, {}", message.replace(char::is_control, " ")),
        None => percent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(rest: &str) -> Task {
        let text = format!(
            r#"{{"task_id":"019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10","model":"digits","version":"1",{rest}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_task_reads_well_in_each_status() {
        let pending = task(
            r#""status":"PENDING","created_at":"2026-11-23T10:00:00.000000Z","attempts":0,"queue_position":3"#,
        );
        let retry = task(
            r#""status":"RETRY","attempts":1,"retries":1,"retry":{"max_retries":5,"delay":"2s","on":["ValueError","OSError"]},"eta":"2026-11-23T10:00:09.000000Z","expires_at":"2026-11-23T11:00:00.000000Z","history":[{"attempt":1,"at":"2026-11-23T10:00:00.000000Z","reason":"ValueError: busy"}]"#,
        );
        let success = task(
            r#""status":"SUCCESS","result":[0.5,0.25],"created_at":"2026-11-23T10:00:00.000000Z","started_at":"2026-11-23T10:00:00.100000Z","finished_at":"2026-11-23T10:00:00.200000Z","attempts":1,"metadata":{"user":7}"#,
        );
        let failure = task(
            r#""status":"FAILURE","attempts":1,"error":{"code":"model_error","type":"ValueError","message":"odd","traceback":"Traceback:\n  File \"model.py\"\nValueError: odd"}"#,
        );
        let started = task(
            r#""status":"STARTED","attempts":1,"progress":{"fraction":0.257,"message":"page 3\nof 9","at":"2026-11-23T10:00:00.000000Z"}"#,
        );
        let said = overview(&started);
        assert!(said.contains("26 %, page 3 of 9"), "{said}");
        insta::assert_snapshot!([&pending, &retry, &success, &failure].map(overview).join("\n"));
    }

    #[test]
    fn a_long_result_is_cut_between_characters() {
        let text = short(&format!("\"{}\"", "é".repeat(1000)));
        assert!(text.ends_with("... (2002 bytes)"), "{text}");
        assert_eq!(short("[1,\n2]"), "[1, 2]");
    }
}
