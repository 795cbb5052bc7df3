//! `cresset keys create`.

use std::time::Duration;

use clap::Args;
use cresset_keys::{KeyRecord, NAME_MAX, Rate, Scope, Scopes, Token};
use cresset_task::{ModelName, Tenant, Timestamp};
use serde::Serialize;

use super::{PlaceArgs, trouble};
use crate::args;
use crate::exit::{Exit, Trouble};
use crate::out;

/// The tenant of keys that are made without one.
const TENANT: &str = "default";

/// Makes a key and prints it. It is shown this once: only a hash of it is kept.
///
/// Keys of one tenant see the same tasks, and no other's. The scope admin has the others in it, and sees the tasks of all
/// tenants.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset keys create --name 'web shop' --tenant shop --scope submit --scope read\n  \
    cresset keys create --name nightly --tenant data --scope submit --model embed --rate 5 --burst 20 --expires 90d\n  \
    cresset keys create --name prometheus --tenant ops --scope admin --json")]
pub(super) struct CreateArgs {
    /// What people call it; shown in the list
    #[arg(long, value_name = "TEXT", value_parser = name)]
    name: String,
    /// Whose tasks its tasks are: a-z, 0-9, _ . and -
    #[arg(long, value_name = "NAME", default_value = TENANT)]
    tenant: Tenant,
    /// What it may do: submit, read or admin; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// A model it may use; may be given several times; all if not given
    #[arg(long = "model", value_name = "MODEL", value_delimiter = ',')]
    models: Vec<ModelName>,
    /// Requests a second that it may send in the long run; any number if not given
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Requests that it may send at once after a rest; as many as in a second, at least 1, if not given
    #[arg(long, value_name = "N", requires = "rate")]
    burst: Option<u32>,
    /// Queued tasks and predictions under way that it may have at once; any number if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_open: Option<u32>,
    /// For how long it is good, such as 90d; for ever if not given
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    expires: Option<Duration>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What is printed, this once.
#[derive(Serialize)]
struct Document {
    key: String,
    #[serde(flatten)]
    made: super::list::Shown,
}

pub(super) fn run(args: CreateArgs) -> Result<Exit, Trouble> {
    let (file, is_asked_for) = args.place.keys()?;
    let token = Token::fresh().map_err(|error| {
        Trouble::new(
            Exit::SOFTWARE,
            format!("the system has no random numbers: {error}"),
        )
    })?;
    let now = Timestamp::now();
    let mut scopes = args.scopes;
    scopes.sort_by_key(|scope| scope.name());
    scopes.dedup();
    let record = KeyRecord {
        id: token.id,
        name: args.name,
        tenant: args.tenant,
        scopes: Scopes(scopes),
        models: (!args.models.is_empty()).then_some(args.models),
        rate: rate(args.rate, args.burst)?,
        max_open: args.max_open,
        created_at: now,
        expires_at: args.expires.map(|after| now.plus(after)),
        revoked_at: None,
        sha256: token.hash(),
    };
    file.change(|keys| keys.push(record.clone()))
        .map_err(|error| trouble(&error))?;
    if args.json {
        out::json(&Document {
            key: token.reveal(),
            made: super::list::Shown::of(&record, None, now),
        })?;
    } else {
        out::line(&token.reveal())?;
        out::note("keep it now: it is shown this once, and only a hash of it is kept");
    }
    if !is_asked_for {
        out::note("these settings ask for no key yet: set `auth.enabled = true`, or serve with --auth");
    }
    Ok(Exit::OK)
}

fn rate(per_second: Option<f64>, burst: Option<u32>) -> Result<Option<Rate>, Trouble> {
    let Some(per_second) = per_second else {
        return Ok(None);
    };
    let a_second = per_second.clamp(1.0, f64::from(Rate::BURST_MAX)).ceil() as u32;
    let rate = Rate {
        per_second,
        burst: burst.unwrap_or(a_second),
    };
    match rate.is_sane() {
        true => Ok(Some(rate)),
        false => Err(Trouble::new(
            Exit::USAGE,
            format!(
                "--rate must be from one a day ({:.6}) to {} a second, and --burst from 1 to {}",
                Rate::PER_SECOND_MIN,
                Rate::PER_SECOND_MAX,
                Rate::BURST_MAX
            ),
        )),
    }
}

fn name(text: &str) -> Result<String, String> {
    let is_plain = !text.trim().is_empty() && !text.chars().any(char::is_control);
    match is_plain && text.chars().count() <= NAME_MAX {
        true => Ok(text.trim().to_owned()),
        false => Err(format!("write 1 to {NAME_MAX} characters on one line")),
    }
}
