//! `cresset webhooks list`: a line for each webhook, the newest first.

use clap::Args;
use cresset_task::TaskId;

use crate::args::ServerArgs;
use crate::client::{Webhook, WebhookFilter};
use crate::commands::listed::{self, Words};
use crate::exit::{Exit, Trouble};
use crate::out::Table;

/// Lists webhooks, the newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset webhooks list\n  \
    cresset webhooks list --state failed --host example.com:443\n  \
    cresset webhooks list --state failed --json | jq -r .id | xargs -n1 cresset webhooks replay")]
pub(crate) struct ListArgs {
    /// In this state only
    #[arg(long, value_name = "STATE", value_parser = ["waiting", "sending", "delivered", "failed", "disabled"])]
    state: Option<String>,
    /// Of this task only
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// To this host and port only, such as example.com:443
    #[arg(long, value_name = "HOST:PORT")]
    host: Option<String>,
    /// Show at most N webhooks
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print each webhook as the server's JSON document, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &ListArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    let filter = WebhookFilter {
        state: args.state.as_deref(),
        task: args.task,
        host: args.host.as_deref(),
    };
    let words = Words {
        none: "no such webhooks",
        one: "a webhook",
    };
    listed::show(client.webhooks(filter, args.limit), args.json, &words, table)
}

fn table(webhooks: &[Webhook]) -> String {
    let mut table = Table::new(&["ID", "STATE", "HAPPENED", ">TRIES", "NEXT", "HOST", "NOTE"]);
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    for webhook in webhooks {
        table.row([
            webhook.id.clone(),
            webhook.state.clone(),
            webhook.timestamp.clone(),
            webhook.tries.to_string(),
            or_dash(&webhook.due_at),
            webhook.host.clone(),
            or_dash(&webhook.note),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_a_line() {
        let webhook = |rest: &str| -> Webhook {
            let text = format!(
                r#"{{"id":"evt_019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10_succeeded","host":"example.com:443",
                "timestamp":"2026-11-23T10:00:00.000000Z","tries":2,{rest}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        insta::assert_snapshot!(table(&[
            webhook(r#""state":"delivered","due_at":null,"note":null"#),
            webhook(r#""state":"waiting","due_at":"2026-11-23T10:00:30.000000Z","note":"it answered 503""#),
        ]));
    }
}
