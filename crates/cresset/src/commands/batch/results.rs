//! `cresset batch results`: what became of each line, written as it comes.

use std::path::PathBuf;

use clap::Args;
use cresset_task::BulkId;

use super::sink::Sink;
use super::tally::Tally;
use super::{OneArgs, PAUSE, TRIES, words};
use crate::args::{self, WaitArgs};
use crate::client::{BatchWaitEnd, CallError, Client};
use crate::exit::{Exit, Trouble};

/// Prints what became of each line of a batch, as JSON Lines in the order of the input.
///
/// {"index":0,"task_id":"...","status":"SUCCESS","result":...}
///
/// {"index":1,"task_id":null,"status":"INVALID","error":{"code":"...","message":"..."}}
///
/// Written as they come, never held: of any number. Where the connection breaks it is gone on with. Exits 1 when a line has no
/// result and will have none, 75 when some have not ended yet (--wait waits for them).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset batch results 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10 --wait --output results.jsonl\n  \
    cresset batch results 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10 | jq -c 'select(.status != \"SUCCESS\")'\n  \
    cresset batch results 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10 --from 5000 >> results.jsonl")]
pub(crate) struct ResultsArgs {
    #[command(flatten)]
    of: OneArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// Begin with line N, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Write the results here instead of to stdout
    #[arg(long, short, value_name = "OUT")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &ResultsArgs) -> Result<Exit, Trouble> {
    let client = args.of.server.client()?;
    let id = args.of.id;
    args::block_on(async {
        // Before a file is made for its results.
        let seen = client.batch(id).await.map_err(|error| error.trouble())?;
        if let Some(limit) = args.wait.limit() {
            match client.batch_wait(seen, limit).await {
                Ok(BatchWaitEnd::Ended(..)) => {}
                Ok(BatchWaitEnd::TimedOut(batch)) => return Err(words::timed_out(&batch)),
                Err(error) => return Err(error.trouble()),
            }
        }
        let mut sink = Sink::open(args.output.as_deref())?;
        let tally = copy(&client, id, args.from, &mut sink).await?;
        sink.finish()?;
        match tally.open {
            0 => Ok(tally.exit()),
            open => Err(
                Trouble::new(Exit::TRY_AGAIN, format!("{open} lines have not ended yet"))
                    .hint(format!("wait for them with `cresset batch results {id} --wait`")),
            ),
        }
    })
}

/// Writes the results from line `from` on to `sink`.
pub(super) async fn copy(client: &Client, id: BulkId, from: u64, sink: &mut Sink) -> Result<Tally, Trouble> {
    let mut tally = Tally::new(from);
    // In a row, without a line in between.
    let mut broken = 0;
    loop {
        let before = tally.next;
        let Err(cut) = read(client, id, &mut tally, sink).await else {
            return Ok(tally);
        };
        tally.drop_part();
        broken = if tally.next > before { 1 } else { broken + 1 };
        match cut {
            Cut::Call(error) if error.passes() && broken <= TRIES => {
                tokio::time::sleep(error.pause(PAUSE, broken - 1)).await;
            }
            Cut::Call(error) => return Err(rest(error.trouble(), id, tally.next)),
            Cut::Trouble(trouble) if trouble.is_quiet() => return Err(trouble),
            Cut::Trouble(trouble) => return Err(rest(trouble, id, tally.next)),
        }
    }
}

/// Why reading ended before the last line.
enum Cut {
    Call(CallError),
    Trouble(Trouble),
}

async fn read(client: &Client, id: BulkId, tally: &mut Tally, sink: &mut Sink) -> Result<(), Cut> {
    let answer = client.batch_results(id, tally.next).await;
    let mut answer = answer.map_err(Cut::Call)?;
    while let Some(piece) = client.piece(&mut answer).await.map_err(Cut::Call)? {
        let whole = tally.take(&piece).map_err(Cut::Trouble)?;
        sink.write(&whole).map_err(Cut::Trouble)?;
    }
    tally.end().map_err(Cut::Trouble)
}

fn rest(trouble: Trouble, id: BulkId, next: u64) -> Trouble {
    trouble.hint(format!(
        "go on at this line with `cresset batch results {id} --from {next} >> FILE`"
    ))
}
