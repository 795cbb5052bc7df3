//! A look at a store, for people: changes nothing, and works beside its server.

use cresset_queue::kit::IntoQueueError;
use cresset_queue::kit::remote::{Dial as _, Trouble as _};
use cresset_queue::{InboxLoad, QueueError};

use crate::connect::{Conn, Dialer};
use crate::error::{StoreError, col, small};
use crate::read::inbox_load;
use crate::schema;
use crate::target::Target;

const COUNTS: &str = "\
SELECT (SELECT count(*) FROM tasks WHERE finished_at IS NULL), (SELECT count(*) FROM tasks WHERE finished_at IS NOT NULL),
       (SELECT count(*) FROM letters), (SELECT count(*) FROM outbox WHERE settled_at IS NULL)";

/// The servers that have not ended and have a session.
const SERVERS: &str = "\
SELECT string_agg(s.who, ', ' ORDER BY s.id) FROM servers AS s
WHERE s.ended_at IS NULL
      AND EXISTS (SELECT 1 FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.pid = s.pid AND l.granted)";

/// What must hold between the tables, each with how often it does not.
const RULES: &[(&str, &str)] = &[
    (
        "open tasks without an input",
        "SELECT count(*) FROM tasks AS t WHERE t.finished_at IS NULL AND NOT EXISTS (SELECT 1 FROM inputs AS i WHERE i.seq = t.seq)",
    ),
    (
        "ended tasks without an outcome",
        "SELECT count(*) FROM tasks AS t WHERE t.finished_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM outcomes AS o WHERE o.seq = t.seq)",
    ),
    (
        "tasks whose state does not go with their end",
        "SELECT count(*) FROM tasks WHERE (finished_at IS NOT NULL) <> (state IN (3, 4, 5))",
    ),
    (
        "inputs and outcomes without a task",
        "SELECT (SELECT count(*) FROM inputs AS i WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.seq = i.seq)) \
         + (SELECT count(*) FROM outcomes AS o WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.seq = o.seq))",
    ),
];

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The version of PostgreSQL, as `server_version_num` has it.
    pub server_version: i32,
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
    /// What lies in the inbox; `None` while the schema has none yet.
    pub inbox: Option<InboxLoad>,
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
    let dialer = Dialer::new(target.clone());
    let looked = look_inside(&dialer, rules).await;
    dialer.end().await;
    looked.map_err(|error| {
        let whole = error.whole();
        match error {
            StoreError::Postgres { .. } => {
                QueueError::new(error.kind(), "check", format!("{target}: {whole}"))
            }
            error => error.into_queue("check"),
        }
    })
}

async fn look_inside(dialer: &Dialer, rules: bool) -> Result<Looked, StoreError> {
    let target = &dialer.target;
    let conn = Conn::open(dialer).await?;
    let mut looked = Looked {
        server_version: conn.version,
        flushes: conn.flushes,
        schema: None,
        open: 0,
        ended: 0,
        letters: 0,
        deliveries: 0,
        inbox: None,
        in_use_by: None,
        problems: Vec::new(),
    };
    if !schema::exists(&conn, target).await? {
        return Ok(looked);
    }
    looked.schema = Some(schema::version(&conn).await?);
    if rules {
        // Whoever asks for that waits as long as a large store takes, and may give up at any time.
        conn.batch("cannot set up a connection", "SET statement_timeout = 0")
            .await?;
    }
    if let Some(row) = conn.row("cannot count", COUNTS, &[]).await? {
        looked.open = small(&row, 0)?;
        looked.ended = small(&row, 1)?;
        looked.letters = small(&row, 2)?;
        looked.deliveries = small(&row, 3)?;
    }
    // One that an older program made lacks such tables, and will be upgraded by the next server.
    if looked.schema == Some(schema::NEWEST) {
        looked.inbox = Some(inbox_load(&conn).await?);
    }
    if looked.schema == Some(schema::NEWEST)
        && let Some(row) = conn.row("cannot read who is on the store", SERVERS, &[]).await?
    {
        looked.in_use_by = col(&row, 0)?;
    }
    for (what, sql) in RULES.iter().filter(|_| rules) {
        let row = conn.row("cannot check a rule", sql, &[]).await?;
        let broken: i64 = row.as_ref().map_or(Ok(0), |row| col(row, 0))?;
        if broken > 0 {
            looked.problems.push(format!("{what}: {broken}"));
        }
    }
    Ok(looked)
}
