//! What must hold between the rows: each rule is a query for the rows that break it, and what that means.

use cresset_task::TaskId;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::report::{Listed, Report};

/// What to do about one task that cannot be relied on.
pub(super) const ONE_TASK: &str =
    "other tasks are not touched; cancel and submit it anew, or restore a backup";
/// What to do about a database that cannot be relied on.
pub(super) const RESTORE: &str = "restore a backup (`cresset store restore BACKUP --replace`)";

/// Rows that break it: each with the task's number, its id if it has one, and a detail.
struct Rule {
    what: &'static str,
    says: &'static str,
    remedy: &'static str,
    sql: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        what: "unknown_state",
        says: "is in a state that there is not",
        remedy: ONE_TASK,
        sql: "SELECT seq, id, state FROM tasks WHERE state NOT BETWEEN 0 AND 5",
    },
    Rule {
        what: "end_without_time",
        says: "has ended and no time of it, or a time and has not ended",
        remedy: ONE_TASK,
        sql: "SELECT seq, id, NULL FROM tasks WHERE (state >= 3) <> (finished_at IS NOT NULL)",
    },
    Rule {
        what: "end_without_outcome",
        says: "has ended, and its outcome is missing",
        remedy: ONE_TASK,
        sql: "SELECT seq, id, NULL FROM tasks WHERE state >= 3 AND seq NOT IN (SELECT seq FROM outcomes)",
    },
    Rule {
        what: "outcome_without_end",
        says: "has an outcome, and has not ended",
        remedy: ONE_TASK,
        sql: "SELECT seq, id, NULL FROM tasks WHERE state < 3 AND seq IN (SELECT seq FROM outcomes)",
    },
    Rule {
        what: "no_input",
        says: "has not ended, and its input is missing",
        remedy: ONE_TASK,
        // That of one that ended may have gone with its dead letter.
        sql: "SELECT seq, id, NULL FROM tasks WHERE state < 3 AND seq NOT IN (SELECT seq FROM inputs)",
    },
    Rule {
        what: "no_task",
        says: "is gone, and rows of it are in the table",
        remedy: "nothing reads them; restore a backup if the task is missed",
        sql: "SELECT seq, NULL, 'inputs' FROM inputs WHERE seq NOT IN (SELECT seq FROM tasks)
            UNION ALL SELECT seq, NULL, 'outcomes' FROM outcomes WHERE seq NOT IN (SELECT seq FROM tasks)
            UNION ALL SELECT seq, NULL, 'history' FROM history WHERE seq NOT IN (SELECT seq FROM tasks)
            UNION ALL SELECT seq, NULL, 'callbacks' FROM callbacks WHERE seq NOT IN (SELECT seq FROM tasks)
            UNION ALL SELECT seq, NULL, 'idempotency' FROM idempotency WHERE seq NOT IN (SELECT seq FROM tasks)",
    },
    Rule {
        what: "lease_without_attempt",
        says: "is leased under no attempt, or at no time",
        remedy: ONE_TASK,
        sql: "SELECT seq, id, NULL FROM tasks WHERE state = 1 AND (attempts < 1 OR started_at IS NULL)",
    },
    Rule {
        what: "due_and_not_queued",
        says: "waits for its time, and is not queued",
        remedy: ONE_TASK,
        sql: "SELECT seq, id, NULL FROM tasks WHERE due_at IS NOT NULL AND state NOT IN (0, 2)",
    },
    Rule {
        what: "numbers",
        says: "has numbers that cannot be",
        remedy: ONE_TASK,
        sql: "SELECT seq, id, 'attempts ' || attempts || ', retries ' || retries || ', weight ' || weight FROM tasks
            WHERE attempts NOT BETWEEN 0 AND 4294967295 OR retries NOT BETWEEN 0 AND attempts OR weight < 0
                OR priority NOT BETWEEN -128 AND 127 OR (state = 2 AND retries = 0)",
    },
    Rule {
        what: "purged_and_there",
        says: "is there, and remembered as purged",
        remedy: ONE_TASK,
        sql: "SELECT seq, id, NULL FROM tasks WHERE id IN (SELECT id FROM tombstones)",
    },
    Rule {
        what: "history_ahead",
        says: "has a history of an attempt that was not given",
        remedy: ONE_TASK,
        sql: "SELECT t.seq, t.id, h.attempt FROM history AS h JOIN tasks AS t ON t.seq = h.seq WHERE h.attempt > t.attempts",
    },
    Rule {
        what: "delivery",
        says: "is told of in the outbox at a time, or in a state, that cannot be",
        remedy: "`cresset webhooks replay` has it sent again; or restore a backup",
        sql: "SELECT seq, task, 'state ' || state FROM outbox
            WHERE (state = 0) <> (due_at IS NOT NULL) OR (state > 1) <> (settled_at IS NOT NULL) OR event NOT BETWEEN 0 AND 4",
    },
    Rule {
        what: "file_columns",
        says: "names a file without saying what is in it, or says what is in a file and names none",
        remedy: ONE_TASK,
        sql: "SELECT t.seq, t.id, NULL FROM (SELECT * FROM inputs UNION ALL SELECT * FROM outcomes) AS p
            JOIN tasks AS t ON t.seq = p.seq
            WHERE (p.file IS NULL) <> (p.length IS NULL) OR (p.file IS NULL) <> (p.checksum IS NULL)
                OR (p.file IS NOT NULL AND length(p.bytes) > 0)
            UNION ALL SELECT seq, id, 'its dead letter' FROM letters
            WHERE (file IS NULL) <> (length IS NULL) OR (file IS NULL) <> (checksum IS NULL)
                OR (file IS NOT NULL AND length(bytes) > 0)",
    },
];

/// Counted by the index that a start uses, and by the rows themselves: where the two differ, bounds would be wrong.
const COUNTERS: &[(&str, &str, &str)] = &[
    (
        "queued tasks",
        "SELECT count(*), coalesce(sum(weight), 0) FROM tasks NOT INDEXED WHERE state IN (0, 2)",
        "SELECT coalesce(sum(n), 0), coalesce(sum(w), 0) FROM (
            SELECT count(*) AS n, sum(weight) AS w FROM tasks WHERE state IN (0, 2) AND due_at IS NULL
            UNION ALL SELECT count(*), sum(weight) FROM tasks WHERE due_at IS NOT NULL)",
    ),
    (
        "deliveries",
        "SELECT count(*), count(due_at) FROM outbox NOT INDEXED WHERE settled_at IS NULL",
        "SELECT (SELECT count(*) FROM outbox INDEXED BY outbox_open WHERE settled_at IS NULL),
            (SELECT count(*) FROM outbox INDEXED BY outbox_due WHERE due_at IS NOT NULL)",
    ),
    (
        "queued tasks of clients",
        "SELECT count(*), coalesce(sum(weight), 0) FROM tasks NOT INDEXED WHERE client IS NOT NULL AND state IN (0, 2)",
        "SELECT count(*), coalesce(sum(weight), 0) FROM tasks WHERE client IS NOT NULL AND state IN (0, 2)",
    ),
];

/// Holds all rows to all rules. A query that fails is a finding too.
pub(super) fn hold(conn: &Connection, report: &mut Report) {
    for rule in RULES {
        if let Err(error) = hold_one(conn, rule, report) {
            unreadable(report, &error);
            return;
        }
    }
    for (what, by_rows, by_index) in COUNTERS {
        let count =
            |sql: &str| conn.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        match count(by_rows).and_then(|rows| Ok((rows, count(by_index)?))) {
            Ok((rows, index)) if rows == index => {}
            Ok((rows, index)) => report.problem(
                "counters",
                format!(
                    "{what}: {} with {} bytes by the rows, {} with {} by the index",
                    rows.0, rows.1, index.0, index.1
                ),
                RESTORE,
            ),
            Err(error) => return unreadable(report, &error),
        }
    }
}

pub(super) fn unreadable(report: &mut Report, error: &dyn std::error::Error) {
    report.problem(
        "unreadable",
        format!("the database cannot be read: {}", super::error::chain(error)),
        RESTORE,
    );
}

fn hold_one(conn: &Connection, rule: &Rule, report: &mut Report) -> rusqlite::Result<()> {
    let mut listed = Listed::default();
    let mut query = conn.prepare(rule.sql)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        if listed.next() {
            let detail = match row.get_ref(2)? {
                ValueRef::Null => String::new(),
                ValueRef::Text(text) => format!(" ({})", String::from_utf8_lossy(text)),
                ValueRef::Integer(number) => format!(" ({number})"),
                other => format!(" (a {})", other.data_type()),
            };
            report.problem(
                rule.what,
                format!("{} {}{detail}", name_of(row)?, rule.says),
                rule.remedy,
            );
        }
    }
    and_more(report, rule.what, rule.says, &listed, rule.remedy);
    Ok(())
}

/// What could not be listed for length.
pub(super) fn and_more(report: &mut Report, what: &'static str, says: &str, listed: &Listed, remedy: &str) {
    if listed.untold() > 0 {
        report.problem(what, format!("{} more tasks: {says}", listed.untold()), remedy);
    }
}

/// The task as its callers know it, if the row tells.
fn name_of(row: &Row<'_>) -> rusqlite::Result<String> {
    let id = row.get_ref(1)?.as_blob_or_null()?;
    Ok(match id.map(<[u8; 16]>::try_from) {
        Some(Ok(id)) => format!("task {}", TaskId::from_bytes(id)),
        _ => format!("task number {}", row.get::<_, i64>(0)?),
    })
}
