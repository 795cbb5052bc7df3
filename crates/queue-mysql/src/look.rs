//! A look at a store, for people: changes nothing, and works beside its servers.

use std::time::Duration;

use cresset_queue::kit::IntoQueueError;
use cresset_queue::kit::remote::{STATEMENT_LIMIT, Trouble as _};
use cresset_queue::{InboxLoad, QueueError};
use tokio::time::timeout;

use crate::connect::{Conn, Dialer, Role};
use crate::error::{StoreError, col, small};
use crate::locks;
use crate::read::inbox_load;
use crate::schema;
use crate::target::Target;

/// Whoever asks for the rules waits as long as a large store takes, and may give up at any time.
const RULES_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

const COUNTS: &str = "\
SELECT (SELECT COUNT(*) FROM tasks WHERE finished_at IS NULL), (SELECT COUNT(*) FROM tasks WHERE finished_at IS NOT NULL),
       (SELECT COUNT(*) FROM letters), (SELECT COUNT(*) FROM outbox WHERE settled_at IS NULL)";

/// What must hold between the tables, each with how often it does not.
const RULES: &[(&str, &str)] = &[
    (
        "open tasks without an input",
        "SELECT COUNT(*) FROM tasks AS t WHERE t.finished_at IS NULL AND NOT EXISTS (SELECT 1 FROM inputs AS i WHERE i.id = t.id)",
    ),
    (
        "ended tasks without an outcome",
        "SELECT COUNT(*) FROM tasks AS t WHERE t.finished_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM outcomes AS o WHERE o.id = t.id)",
    ),
    (
        "tasks whose state does not go with their end",
        "SELECT COUNT(*) FROM tasks WHERE (finished_at IS NOT NULL) <> (state IN (3, 4, 5))",
    ),
    (
        "dead letters without an input",
        "SELECT COUNT(*) FROM letters AS l WHERE NOT EXISTS (SELECT 1 FROM inputs AS i WHERE i.id = l.id)",
    ),
    (
        "inputs and outcomes without a task or a letter",
        "SELECT (SELECT COUNT(*) FROM inputs AS i WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.id = i.id) \
         AND NOT EXISTS (SELECT 1 FROM letters AS l WHERE l.id = i.id)) \
         + (SELECT COUNT(*) FROM outcomes AS o WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.id = o.id))",
    ),
    (
        "payloads that lack a part",
        "SELECT (SELECT COUNT(*) FROM (SELECT id FROM inputs GROUP BY id HAVING COUNT(*) <> MAX(part) + 1) AS i) \
         + (SELECT COUNT(*) FROM (SELECT id FROM outcomes GROUP BY id HAVING COUNT(*) <> MAX(part) + 1) AS o)",
    ),
];

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The version of the database, as it says itself.
    pub version: String,
    /// Whether the database flushes what it commits.
    pub flushes: bool,
    /// The schema's version; `None` when there is no store yet.
    pub schema: Option<usize>,
    /// Tasks that have not ended.
    pub open: u64,
    /// Tasks that have.
    pub ended: u64,
    /// Dead letters.
    pub letters: u64,
    /// Deliveries that wait or are being sent.
    pub deliveries: u64,
    /// What lies in the inbox; `None` while there is no store.
    pub inbox: Option<InboxLoad>,
    /// Why nothing can be taken out of it, and what to do about it.
    pub inbox_refused: Option<&'static str>,
    /// The servers that are on it now.
    pub in_use_by: Option<String>,
    /// What is not as it must be, one line each.
    pub problems: Vec<String>,
}

/// Looks at a store; `rules` also counts what breaks a rule between the tables, which reads all of them.
///
/// # Errors
///
/// When it cannot be reached, or is none that this program can use.
pub async fn look(target: &Target, rules: bool) -> Result<Looked, QueueError> {
    let dialer = Dialer {
        target: target.clone(),
    };
    let limit = if rules { RULES_LIMIT } else { STATEMENT_LIMIT };
    let looked = timeout(limit, look_inside(&dialer, rules)).await;
    let looked = looked.unwrap_or_else(|_| {
        Err(StoreError::Away(format!(
            "{target} did not answer within {limit:?}"
        )))
    });
    looked.map_err(|error| {
        let whole = error.whole();
        match error {
            StoreError::Mysql { .. } => QueueError::new(error.kind(), "check", format!("{target}: {whole}")),
            error => error.into_queue("check"),
        }
    })
}

async fn look_inside(dialer: &Dialer, rules: bool) -> Result<Looked, StoreError> {
    let conn = Conn::open(dialer, Role::Reader).await?;
    let mut looked = Looked {
        version: conn.version.clone(),
        flushes: conn.flushes,
        schema: None,
        open: 0,
        ended: 0,
        letters: 0,
        deliveries: 0,
        inbox: None,
        inbox_refused: None,
        in_use_by: None,
        problems: Vec::new(),
    };
    if !schema::exists(&conn).await? {
        return Ok(looked);
    }
    let version = schema::version(&conn).await?;
    looked.schema = Some(version);
    if version == 0 {
        return Ok(looked); // it is just being made
    }
    if let Some(row) = conn.row("cannot count", COUNTS.into()).await? {
        looked.open = small(&row, 0)?;
        looked.ended = small(&row, 1)?;
        looked.letters = small(&row, 2)?;
        looked.deliveries = small(&row, 3)?;
    }
    looked.inbox = Some(inbox_load(&conn).await?);
    looked.inbox_refused = (!schema::is_inbox_guarded(&conn).await?).then_some(schema::TRIGGERS_NEED);
    let there = locks::present(&conn).await?;
    looked.in_use_by = (!there.is_empty()).then(|| there.join(", "));
    for (what, text) in RULES.iter().filter(|_| rules) {
        let row = conn.row("cannot check a rule", (*text).to_owned()).await?;
        let broken: i64 = row.as_ref().map_or(Ok(0), |row| col(row, 0))?;
        if broken > 0 {
            looked.problems.push(format!("{what}: {broken}"));
        }
    }
    Ok(looked)
}
