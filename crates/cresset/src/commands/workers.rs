//! `cresset workers`: which servers are on the store of one, and what they run.

use clap::Args;

use crate::args::{self, ServerArgs};
use crate::client::{Worker, WorkerModel};
use crate::exit::{Exit, Trouble};
use crate::out::{self, Table};

/// Lists the servers that share the store of one: gateways, workers, and those that are both.
///
/// Any of them answers for all. With keys it needs one with the scope `admin`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset workers\n  \
    cresset workers --json | jq -r '.workers[] | select(.role == \"worker\") | .host'")]
pub(crate) struct WorkersArgs {
    /// Print the server's JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &WorkersArgs) -> Result<Exit, Trouble> {
    let client = args.server.client()?;
    args::block_on(async {
        let (workers, document) = client.workers().await.map_err(|error| error.trouble())?;
        if args.json {
            out::line(&String::from_utf8_lossy(&document))?;
        } else {
            out::raw(table(&workers.workers).as_bytes())?;
        }
        Ok(Exit::OK)
    })
}

/// What a server has none of.
const NONE: &str = "-";

/// A line for each model of each server.
fn table(workers: &[Worker]) -> String {
    let mut table = Table::new(&[
        ">ID",
        "ROLE",
        "HOST",
        ">PID",
        "SINCE",
        "SEEN",
        "MODEL",
        "VERSION",
        "STATE",
        ">INSTANCES",
        ">RUNNING",
    ]);
    for worker in workers {
        let role = match worker.stopping {
            true => format!("{} (stopping)", worker.role),
            false => worker.role.clone(),
        };
        let own = [
            worker.id.to_string(),
            role,
            worker.host.clone(),
            worker.pid.to_string(),
            seconds(&worker.since),
            seconds(&worker.seen_at),
        ];
        let models: Vec<_> = worker.models.iter().map(Some).collect();
        for model in if models.is_empty() { vec![None] } else { models } {
            table.row(own.iter().cloned().chain(columns(model)));
        }
    }
    table.render()
}

fn columns(model: Option<&WorkerModel>) -> [String; 5] {
    let none = || NONE.to_owned();
    match model {
        None => [none(), none(), none(), none(), none()],
        Some(model) => [
            model.name.clone(),
            model.version.clone(),
            model.state.clone(),
            format!("{}/{}", model.instances_ready, model.instances),
            model.running.to_string(),
        ],
    }
}

/// A time without its fractions.
fn seconds(time: &str) -> String {
    let cut = time.split_once('.').map(|(whole, _)| format!("{whole}Z"));
    cut.unwrap_or_else(|| time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_a_server_is_a_line() {
        let text = r#"[
            {"id":3,"role":"gateway","host":"web-1","pid":4711,"version":"0.1.0","stopping":false,
             "since":"2026-11-23T10:00:00.123456Z","seen_at":"2026-11-23T11:00:00.000000Z","models":[]},
            {"id":12,"role":"worker","host":"gpu-1","pid":99,"version":"0.1.0","stopping":true,
             "since":"2026-11-23T10:00:00.000000Z","seen_at":"2026-11-23T11:00:04.000000Z","models":[
               {"name":"digits","version":"2","state":"ready","ready":true,"reason":null,"instances":2,"instances_ready":1,"running":64,"items_per_second":8.5},
               {"name":"embed","version":"1","state":"starting","ready":false,"reason":"no instance is ready yet","instances":1,"instances_ready":0,"running":0,"items_per_second":null}]}
        ]"#;
        let workers: Vec<Worker> = serde_json::from_str(text).unwrap();
        insta::assert_snapshot!(table(&workers));
    }
}
