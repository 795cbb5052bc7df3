//! `cresset keys revoke`.

use clap::Args;
use cresset_keys::{KeyId, Token};
use cresset_task::Timestamp;

use super::{PlaceArgs, trouble};
use crate::exit::{Exit, Trouble};
use crate::out;

/// Revokes a key: it opens nothing from then on, for a running server within a second.
///
/// Requests that are under way end as they would have; the tasks it has made stay, and are seen by other keys of its tenant. A
/// revoked key stays in the list, until it is revoked with --forget.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cresset keys revoke 0123456789abcdef\n  cresset keys revoke 0123456789abcdef --forget"
)]
pub(super) struct RevokeArgs {
    /// The key's id, as `cresset keys list` shows it: what stands between crs_ and the next _
    #[arg(value_name = "ID", value_parser = id)]
    id: KeyId,
    /// Take it out of the file altogether
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A whole key is taken for its id, and never told back.
fn id(text: &str) -> Result<KeyId, String> {
    let whole = Token::parse(text).map(|token| token.id);
    whole.map_or_else(|| text.parse().map_err(|error| format!("{error}")), Ok)
}

pub(super) fn run(args: &RevokeArgs) -> Result<Exit, Trouble> {
    let (file, _) = args.place.keys()?;
    let now = Timestamp::now();
    let was = file.change(|keys| {
        let place = keys.iter().position(|key| key.id == args.id)?;
        if args.forget {
            return Some(keys.remove(place).revoked_at);
        }
        let key = keys.get_mut(place)?;
        let was = key.revoked_at;
        key.revoked_at = was.or(Some(now));
        Some(was)
    });
    let path = file.path().display().to_string();
    match was.map_err(|error| trouble(&error))? {
        None => Err(Trouble::new(
            Exit::NOT_FOUND,
            format!("no key in {path} has the id {}", args.id),
        )
        .hint("`cresset keys list` shows them")),
        Some(before) => {
            let words = match (args.forget, before) {
                (true, _) => "revoked and forgotten".to_owned(),
                (false, None) => "revoked".into(),
                (false, Some(at)) => format!("revoked before, at {at}"),
            };
            out::note(&format!("key {} is {words}", args.id));
            Ok(Exit::OK)
        }
    }
}
