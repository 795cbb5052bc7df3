//! `cresset keys list`.

use clap::Args;
use cresset_keys::{KeyId, KeyRecord, Rate};
use cresset_task::{ModelName, Tenant, Timestamp};
use serde::Serialize;

use super::{PlaceArgs, trouble};
use crate::exit::{Exit, Trouble};
use crate::out;

/// Lists the keys, those that are revoked or past their time too. No secret is shown: there is none to show.
///
/// USED is when a server last saw the key, to the minute, and noted a minute later.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cresset keys list\n  cresset keys list --json | jq -r '.keys[] | select(.state == \"good\") | .id'"
)]
pub(super) struct ListArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A key as it is shown.
#[derive(Serialize)]
pub(super) struct Shown {
    id: KeyId,
    name: String,
    tenant: Tenant,
    scopes: Vec<&'static str>,
    models: Option<Vec<ModelName>>,
    rate: Option<Rate>,
    max_open: Option<u32>,
    state: &'static str,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

impl Shown {
    pub(super) fn of(record: &KeyRecord, used: Option<Timestamp>, now: Timestamp) -> Self {
        Self {
            id: record.id,
            name: record.name.clone(),
            tenant: record.tenant.clone(),
            scopes: record.scopes.0.iter().map(|scope| scope.name()).collect(),
            models: record.models.clone(),
            rate: record.rate,
            max_open: record.max_open,
            state: match (record.revoked_at, record.expires_at) {
                (Some(_), _) => "revoked",
                (None, Some(at)) if at <= now => "expired",
                _ => "good",
            },
            created_at: record.created_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            last_used_at: used,
        }
    }
}

#[derive(Serialize)]
struct Document {
    keys: Vec<Shown>,
}

pub(super) fn run(args: &ListArgs) -> Result<Exit, Trouble> {
    let (file, _) = args.place.keys()?;
    let records = file.read().map_err(|error| trouble(&error))?.unwrap_or_default();
    let used = file.last_used().map_err(|error| trouble(&error))?;
    let now = Timestamp::now();
    let shown = records
        .iter()
        .map(|record| Shown::of(record, used.get(&record.id).copied(), now));
    let keys: Vec<_> = shown.collect();
    if args.json {
        out::json(&Document { keys })?;
    } else {
        out::raw(table(&keys).as_bytes())?;
    }
    Ok(Exit::OK)
}

fn table(keys: &[Shown]) -> String {
    let mut table = out::Table::new(&[
        "ID", "STATE", "TENANT", "SCOPES", "MODELS", "LIMITS", "USED", "EXPIRES", "NAME",
    ]);
    let day = |at: Option<Timestamp>| at.map_or_else(|| "-".into(), |at| at.to_string()[..10].to_owned());
    for key in keys {
        let models = key.models.as_ref().map(|models| {
            let names: Vec<_> = models.iter().map(ModelName::as_str).collect();
            names.join(",")
        });
        let limits = [
            key.rate
                .map(|rate| format!("{}/s+{}", rate.per_second, rate.burst)),
            key.max_open.map(|open| format!("{open} open")),
        ];
        let limits: Vec<_> = limits.into_iter().flatten().collect();
        table.row([
            key.id.to_string(),
            key.state.to_owned(),
            key.tenant.to_string(),
            key.scopes.join(","),
            models.unwrap_or_else(|| "all".into()),
            if limits.is_empty() {
                "-".into()
            } else {
                limits.join(",")
            },
            day(key.last_used_at),
            day(key.expires_at),
            key.name.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use cresset_keys::{Scope, Scopes, Token};

    use super::*;

    #[test]
    fn a_key_is_a_line() {
        let token = Token::parse(&format!("crs_0123456789abcdef_{}", "0".repeat(64))).unwrap();
        let at = |seconds: i64| Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000);
        let plain = KeyRecord {
            id: token.id,
            name: "web shop".into(),
            tenant: "shop".parse().unwrap(),
            scopes: Scopes(vec![Scope::Submit, Scope::Read]),
            models: None,
            rate: None,
            max_open: None,
            created_at: at(0),
            expires_at: None,
            revoked_at: None,
            sha256: token.hash(),
        };
        let bounded = KeyRecord {
            scopes: Scopes(vec![Scope::Submit]),
            models: Some(vec!["embed".parse().unwrap(), "digits".parse().unwrap()]),
            rate: Some(Rate {
                per_second: 2.5,
                burst: 10,
            }),
            max_open: Some(100),
            expires_at: Some(at(10)),
            ..plain.clone()
        };
        let revoked = KeyRecord {
            revoked_at: Some(at(5)),
            ..plain.clone()
        };
        let keys = [
            Shown::of(&plain, Some(at(60)), at(20)),
            Shown::of(&bounded, None, at(20)),
            Shown::of(&revoked, None, at(20)),
        ];
        insta::assert_snapshot!(table(&keys));
    }
}
