//! `cresset webhooks test`: a message on trial.

use clap::Args;

use crate::args::{self, ServerArgs};
use crate::client::Tested;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Sends a signed message that tells of nothing to an address, once, from the server, and says what came back.
///
/// The exit status is 0 when a real one would count as delivered, and 1 when not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset webhooks test https://example.com/hooks/cresset")]
pub(crate) struct TestArgs {
    /// The address
    #[arg(value_name = "URL")]
    address: String,
    /// Print the server's JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &TestArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    args::block_on(async {
        let tested = client.test_webhook(&args.address).await;
        let (tested, document) = tested.map_err(|error| error.trouble())?;
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::line(&words(&tested))?;
        }
        Ok(if tested.delivered {
            Exit::OK
        } else {
            Exit::FOUND_WRONG
        })
    })
}

fn words(tested: &Tested) -> String {
    let took = tested.took_ms;
    let Some(status) = tested.status else {
        let problem = tested.problem.as_deref().unwrap_or("nothing came back");
        return format!("not delivered after {took} ms: {problem}");
    };
    let verdict = if tested.delivered {
        "delivered"
    } else {
        "not delivered"
    };
    let text = tested.text.as_deref().map(str::trim).unwrap_or_default();
    let said = if text.is_empty() {
        String::new()
    } else {
        format!(": {}", text.escape_debug())
    };
    format!("{verdict} after {took} ms: it answered {status}{said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: Option<u16>, text: Option<&str>, problem: Option<&str>) -> String {
        words(&Tested {
            delivered: status == Some(204),
            status,
            text: text.map(Into::into),
            problem: problem.map(Into::into),
            took_ms: 12,
        })
    }

    #[test]
    fn what_came_back_is_one_line() {
        assert_eq!(
            said(Some(204), Some(""), None),
            "delivered after 12 ms: it answered 204"
        );
        assert_eq!(
            said(Some(500), Some("oh\n\u{1b}[2J"), None),
            "not delivered after 12 ms: it answered 500: oh\\n\\u{1b}[2J"
        );
        assert_eq!(
            said(None, None, Some("nobody is there")),
            "not delivered after 12 ms: nobody is there"
        );
    }
}
