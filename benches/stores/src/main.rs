//! What each store takes for a task. [docs/scaling.md](../../../docs/scaling.md) has the figures, and `benches/fleet.py` goes on
//! from them.
//!
//! ```text
//! cargo run --release -p cresset-store-bench -- sqlite:///tmp/folder 'postgresql://user@host/database?schema=bench' \
//!     mysql://user@host/database
//! ```
//!
//! A store must be empty; SQLite's is a new folder in the one that is named. It measures through the ports, knows of no
//! server and no model, and removes nothing in a database.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod phases;

use std::path::Path;

use clap::Parser;
use cresset_queue_mysql::{MysqlOptions, MysqlStore, Target as MysqlTarget};
use cresset_queue_postgres::{PostgresOptions, PostgresStore, Target};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use serde::Serialize;

use crate::phases::{Costs, Failed, INPUT_BYTES, RESULT_BYTES, Rates, Store, costs, rates};

/// What each store takes for a task.
#[derive(Parser)]
struct Said {
    /// sqlite:///FOLDER, postgresql://... or mysql://..., each empty; several are measured one after the other
    #[arg(required = true)]
    stores: Vec<String>,
    /// Lengths of the queue, in rising order
    #[arg(long, value_delimiter = ',', default_value = "1000,100000,1000000")]
    queued: Vec<usize>,
    /// Groups of each kind at each length
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Tasks of the phase in which everything comes at once
    #[arg(long, default_value_t = 50_000)]
    tasks: usize,
    /// One object a store instead of tables
    #[arg(long)]
    json: bool,
}

/// One store.
#[derive(Serialize)]
struct Measured {
    store: String,
    costs: Vec<Costs>,
    rates: Rates,
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let said = Said::parse();
    if !said.json {
        println!("inputs of {INPUT_BYTES} B, results of {RESULT_BYTES} B; medians");
    }
    for url in &said.stores {
        let measured = if let Some(folder) = url.strip_prefix("sqlite://") {
            let folder = tempfile::tempdir_in(Path::new(folder))?;
            let store = SqliteStore::open(SqliteOptions::at(folder.path().join("tasks.db")))?;
            measure("SQLite", &store, &said).await?
        } else if url.starts_with("mysql:") || url.starts_with("mariadb:") {
            let store = MysqlStore::open(MysqlOptions::at(MysqlTarget::parse(url)?)).await?;
            if !store.opened().created {
                return Err("there is a store in this database; name an empty one".into());
            }
            measure("MySQL", &store, &said).await?
        } else {
            let store = PostgresStore::open(PostgresOptions::at(Target::parse(url)?)).await?;
            if !store.opened().created {
                return Err("there is a store in this schema; name an empty one with ?schema=".into());
            }
            measure("PostgreSQL", &store, &said).await?
        };
        if said.json {
            println!("{}", serde_json::to_string(&measured)?);
        } else {
            show(&measured);
        }
    }
    Ok(())
}

async fn measure<S: Store + Clone + 'static>(name: &str, store: &S, said: &Said) -> Result<Measured, Failed> {
    // First, while the store is small: a length of its own is measured below.
    let rates = rates(store, said.tasks).await?;
    let mut all = Vec::new();
    for queued in &said.queued {
        all.push(costs(store, *queued, said.rounds).await?);
    }
    store.close().await?;
    Ok(Measured {
        store: name.to_owned(),
        costs: all,
        rates,
    })
}

fn show(measured: &Measured) {
    let Measured { store, costs, rates } = measured;
    println!("\n{store}");
    println!("    queued  submit ms  lease ms  + us a task  finish ms  + us a task");
    for at in costs {
        println!(
            "{:>10}{:>11.2}{:>10.2}{:>13.1}{:>11.2}{:>13.1}",
            at.queued, at.submit_ms, at.lease_ms, at.lease_us, at.finish_ms, at.finish_us
        );
    }
    println!(
        "{:.0} submits/s (p50 {:.1} ms, p99 {:.1} ms), {:.0} lives/s, {:.0} MB/s in inputs of a megabyte",
        rates.submits, rates.submit_p50_ms, rates.submit_p99_ms, rates.lives, rates.megabytes
    );
}
