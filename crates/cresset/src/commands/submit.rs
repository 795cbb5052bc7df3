//! `cresset submit`: one input as a task, or, with `--jsonl`, many (see `jsonl`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgGroup, Args};
use cresset_config::retry::{RETRIES_MAX, is_exception_class};
use cresset_task::RetryTerms;

use super::{result, status};
use crate::args::{self, ServerArgs, WaitArgs};
use crate::client::{Accepted, CallError, Client, SubmitBody, Upload, WaitEnd};
use crate::exit::{Exit, Trouble};
use crate::jsonl;
use crate::{input, out};

/// A process may often have no more than 1,024 files open, and a connection is one.
const IN_FLIGHT_MAX: i64 = 512;

/// Submits an input to a model as a task; or many, one on each line of a file.
///
/// One input: prints the task's id, or with --wait the task's result. A photo, sound or document (photo.png, or anything with
/// --content-type) is sent as it is, for models with `files` in their model.toml, and never held in memory.
///
/// Many inputs (--jsonl): each line is one input, any JSON value; empty lines are passed over. Results are written as
/// JSON Lines in the order of the input, one for each line:
///
/// {"line":1,"task_id":"...","status":"SUCCESS","result":...}
///
/// {"line":2,"task_id":"...","status":"FAILURE","error":{"code":"...","message":"..."}}
///
/// A line that fails does not stop the others. A full queue and a server that is away for a while are waited out. With
/// --output the run can be interrupted, also by a crash, and goes on with --resume: what was submitted is not submitted
/// again (OUT.journal holds the ids until the run is complete).
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["json", "file", "jsonl"]))]
#[command(after_help = "Examples:\n  \
    cresset submit embed --json '\"a sentence\"' --wait\n  \
    id=$(cresset submit digits --file digit.json)\n  \
    cresset submit caption --file photo.jpg --wait\n  \
    scan | cresset submit caption --file - --content-type image/tiff --wait\n  \
    cresset submit embed --file page.json --max-retries 5 --retry-delay 2s --retry-on TimeoutError\n  \
    cresset submit digits --jsonl digits.jsonl --output results.jsonl\n  \
    cresset submit digits --jsonl digits.jsonl --output results.jsonl --resume\n  \
    zcat inputs.jsonl.gz | cresset submit embed --jsonl - > results.jsonl")]
pub(crate) struct SubmitArgs {
    /// The model's name
    model: String,
    /// The input, as JSON
    #[arg(long, value_name = "JSON", help_heading = "Input")]
    json: Option<String>,
    /// A file that is the input; - is stdin. JSON, unless --content-type or the file's name says otherwise
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    file: Option<PathBuf>,
    /// What --file is, such as image/png, for a model that takes files (or application/x-npy for a tensor model): it is sent as it is
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["json", "jsonl"], value_parser = content_type, help_heading = "Input")]
    content_type: Option<String>,
    /// A file with one input on each line (JSON Lines); - is stdin
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    jsonl: Option<PathBuf>,
    /// -100 (last) to 100 (first) among the queued tasks of the model
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-100..=100))]
    priority: Option<i8>,
    /// A JSON object that is kept with the task and given back with it
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    #[command(flatten)]
    when: WhenArgs,
    #[command(flatten)]
    retry: RetryArgs,
    #[command(flatten)]
    callback: CallbackArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// Print the server's JSON document of the task instead of the bare id or result
    #[arg(long, conflicts_with = "jsonl")]
    json_output: bool,
    #[command(flatten)]
    many: ManyArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Time")]
struct WhenArgs {
    /// Do not start before this instant, such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "INSTANT", conflicts_with_all = ["countdown", "jsonl"])]
    eta: Option<String>,
    /// Do not start before so long from now, such as 90s
    #[arg(long, value_name = "TIME", conflicts_with = "jsonl", value_parser = args::duration)]
    countdown: Option<Duration>,
    /// Revoke it if it has not started within this time
    #[arg(long, value_name = "TIME", conflicts_with = "jsonl", value_parser = args::duration)]
    expires: Option<Duration>,
    /// Revoke it if it has not ended within this time; if it runs by then, it is stopped
    #[arg(long, value_name = "TIME", conflicts_with = "jsonl", value_parser = args::duration)]
    deadline: Option<Duration>,
}

/// What of the model's `[retry]` is otherwise for the task.
#[derive(Debug, Args)]
#[command(next_help_heading = "Retries (what is not given, the model says)")]
struct RetryArgs {
    /// Try it again at most so often when the model raises one of the exceptions below; 0 is never
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(RETRIES_MAX)))]
    max_retries: Option<u32>,
    /// Wait so long before the first retry, such as 2s; each further wait is twice as long
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    retry_delay: Option<Duration>,
    /// Wait at most so long between two tries
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    retry_max_delay: Option<Duration>,
    /// Try again on this exception, such as TimeoutError, or '*' for any; may be given several times
    #[arg(long, value_name = "CLASS", value_parser = class)]
    retry_on: Option<Vec<String>>,
}

impl RetryArgs {
    fn terms(self) -> Option<RetryTerms> {
        let terms = RetryTerms {
            max_retries: self.max_retries,
            delay: self.retry_delay,
            max_delay: self.retry_max_delay,
            on: self.retry_on,
        };
        (!terms.is_empty()).then_some(terms)
    }
}

fn class(text: &str) -> Result<String, String> {
    match is_exception_class(text) {
        true => Ok(text.to_owned()),
        false => Err("write an exception's class, such as TimeoutError, or '*' for any".to_owned()),
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Webhook")]
struct CallbackArgs {
    /// Who is told of the task, by a signed POST
    #[arg(long, value_name = "URL", conflicts_with = "jsonl")]
    callback_url: Option<String>,
    /// Of what: started, retried, succeeded, failed, revoked; the last three unless told
    #[arg(long, value_name = "EVENTS", requires = "callback_url", value_delimiter = ',')]
    callback_events: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Many inputs")]
struct ManyArgs {
    /// Tasks submitted and not yet ended, at most; each holds a connection, so 512 is the most
    #[arg(long, value_name = "N", requires = "jsonl", default_value = "64")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=IN_FLIGHT_MAX))]
    in_flight: u16,
    /// Write the results here instead of to stdout
    #[arg(long, short, value_name = "OUT", requires = "jsonl")]
    output: Option<PathBuf>,
    /// Go on with a run that was interrupted (or start it, if OUT is not there yet)
    #[arg(long, requires = "output")]
    resume: bool,
    /// Stop, so that it can be resumed, when the server has taken no work for this long
    #[arg(long, value_name = "TIME", requires = "jsonl", default_value = "5m", value_parser = args::duration)]
    give_up_after: Duration,
}

pub(crate) fn run(args: SubmitArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    let metadata = args.metadata.as_deref().map(input::metadata).transpose()?;
    let retry = args.retry.terms();
    if let Some(source) = args.jsonl {
        if args.wait.limit().is_some() {
            return Err(Trouble::new(
                Exit::USAGE,
                "--wait does not go with --jsonl, which always waits for the results",
            )
            .hint("leave --wait away"));
        }
        return jsonl::run(jsonl::Options {
            client,
            model: args.model,
            source,
            priority: args.priority,
            metadata,
            retry,
            in_flight: usize::from(args.many.in_flight),
            output: args.many.output,
            resume: args.many.resume,
            give_up_after: args.many.give_up_after,
        });
    }
    let options = SubmitBody {
        priority: args.priority,
        metadata: metadata.as_deref(),
        eta: args.when.eta.as_deref(),
        countdown: args.when.countdown,
        expires: args.when.expires,
        deadline: args.when.deadline,
        retry: retry.as_ref(),
        callback_url: args.callback.callback_url.as_deref(),
        callback_events: &args.callback.callback_events,
    };
    let file = args.file.as_deref();
    let file = file.and_then(|path| Some((path, file_type(path, args.content_type.as_deref())?)));
    if let Some((path, content_type)) = file {
        let (wait, json_output) = (args.wait.limit(), args.json_output);
        return args::block_on(async {
            let upload = Upload::open(path).await?;
            let sent = client
                .submit_file(&args.model, &content_type, upload, &options)
                .await;
            follow(&client, sent, wait, json_output).await
        });
    }
    let input = match (&args.json, &args.file) {
        (Some(text), _) => input::json(text.as_bytes(), "--json")?,
        (None, Some(path)) => {
            input::json(&input::read(path)?, &path.display().to_string()).map_err(|trouble| {
                trouble
                    .hint("write it as JSON, or say what the file is with --content-type, such as image/png")
            })?
        }
        (None, None) => {
            return Err(Trouble::new(Exit::USAGE, "no input is given").hint("give it with --json or --file"));
        }
    };
    let body = options.render(&input);
    args::block_on(async {
        let sent = client.submit(&args.model, body, None).await;
        follow(&client, sent, args.wait.limit(), args.json_output).await
    })
}

/// The type of a file that is to be sent as it is; `None` for one that is JSON.
fn file_type(path: &Path, said: Option<&str>) -> Option<String> {
    let guessed = || {
        // What is text may be JSON, as it was before names meant something.
        let guess = mime_guess::from_path(path).first()?;
        (guess.type_() != mime_guess::mime::TEXT).then(|| guess.essence_str().to_owned())
    };
    said.map(str::to_owned)
        .or_else(guessed)
        .filter(|name| !is_json(name))
}

fn is_json(name: &str) -> bool {
    let name = name
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    name == "application/json" || (name.starts_with("application/") && name.ends_with("+json"))
}

fn content_type(text: &str) -> Result<String, String> {
    match text.parse::<mime_guess::Mime>() {
        Ok(mime) if mime.type_() == mime_guess::mime::MULTIPART => Err(
            "a form is made by what sends it, such as `curl -F`; give the type of the one file".to_owned(),
        ),
        Ok(mime) if !mime.subtype().as_str().is_empty() => Ok(text.to_owned()),
        _ => Err("write a type and a subtype, such as image/png".to_owned()),
    }
}

/// What is said of a submit that was accepted, at once or at the end of its task.
async fn follow(
    client: &Client,
    sent: Result<(Accepted, Bytes), CallError>,
    wait: Option<Option<Duration>>,
    json_output: bool,
) -> Result<Exit, Trouble> {
    let (accepted, document) = sent.map_err(|error| error.trouble())?;
    let id = accepted.task_id;
    let Some(limit) = wait else {
        if json_output {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::line(&id.to_string())?;
        }
        return Ok(Exit::OK);
    };
    match client.wait(id, limit).await {
        Ok(WaitEnd::Seen(task, document)) => result::print(&task, &document, json_output),
        Ok(WaitEnd::TimedOut(last)) => Err(status::timed_out(id, last.as_deref())),
        // The task is accepted: whatever happened to us, its id must not be lost.
        Err(error) => Err(error.trouble().hint(format!(
            "the task was accepted; fetch its result with `cresset result {id} --wait`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_json_unless_its_name_or_its_sender_says_otherwise() {
        for (path, said, found) in [
            ("in.json", None, None),
            ("in", None, None),
            ("in.txt", None, None),
            ("-", None, None),
            ("page.geojson", None, None),
            ("photo.PNG", None, Some("image/png")),
            ("a/song.mp3", None, Some("audio/mpeg")),
            ("page.pdf", None, Some("application/pdf")),
            ("photo.png", Some("application/json; charset=utf-8"), None),
            ("photo.png", Some("application/ld+json"), None),
            (
                "-",
                Some("text/plain; charset=latin1"),
                Some("text/plain; charset=latin1"),
            ),
        ] {
            assert_eq!(file_type(Path::new(path), said).as_deref(), found, "{path}");
        }
        assert!(content_type("image/png").is_ok());
        for bad in ["png", "", "image/", "multipart/form-data; boundary=x"] {
            assert!(content_type(bad).is_err(), "{bad}");
        }
    }
}
