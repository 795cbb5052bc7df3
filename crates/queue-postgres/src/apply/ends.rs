//! How leases end: outcomes, retries, releases; each in one statement for all of them.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{owner_of, state_of};
use cresset_queue::{Finished, Release, Retry};
use cresset_task::{Attempt, Event, HISTORY_MAX, Redelivery, State, TaskId};
use uuid::Uuid;

use super::letters;
use super::tell::{news, tell};
use crate::connect::{Conn, text};
use crate::error::{StoreError, col};
use crate::submission::Ending;

/// Under the server and the attempt that hold the lease, and of two ends of one attempt the first.
const FINISH: &str = "\
WITH given AS MATERIALIZED (
    SELECT DISTINCT ON (id, attempt) *
    FROM unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::bigint[], $5::text[], $6::bigint[], $7::boolean[],
                $8::smallint[], $9::bytea[])
    WITH ORDINALITY AS g (id, attempt, state, finished_at, version, redeliveries, cached, kind, bytes, ord)
    ORDER BY id, attempt, ord
), ended AS (
    UPDATE tasks AS t SET state = g.state, finished_at = g.finished_at, version = g.version,
           attempts = t.attempts + g.redeliveries, cached = g.cached, holder = NULL
    FROM given AS g WHERE t.id = g.id AND t.state = 1 AND t.attempts = g.attempt AND t.holder = $10
    RETURNING t.seq, t.id, t.model, g.kind, g.bytes, g.ord
), kept AS (
    INSERT INTO outcomes (seq, kind, bytes) SELECT seq, kind, bytes FROM ended
)
SELECT e.id, e.model, c.url, c.host, c.events, e.seq, e.ord
FROM ended AS e LEFT JOIN callbacks AS c ON c.seq = e.seq ORDER BY e.ord";

const RETRY: &str = "\
WITH given AS MATERIALIZED (
    SELECT DISTINCT ON (id, attempt) *
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[])
    WITH ORDINALITY AS g (id, attempt, due_at, redeliveries, ord)
    ORDER BY id, attempt, ord
), queued AS (
    UPDATE tasks AS t SET state = 2, due_at = g.due_at, retries = t.retries + 1, attempts = t.attempts + g.redeliveries,
           holder = NULL
    FROM given AS g WHERE t.id = g.id AND t.state = 1 AND t.attempts = g.attempt AND t.holder = $5
    RETURNING t.seq, t.id, t.model, t.weight, t.client, g.ord
)
SELECT q.id, q.model, c.url, c.host, c.events, q.seq, q.ord, q.weight, q.client
FROM queued AS q LEFT JOIN callbacks AS c ON c.seq = q.seq ORDER BY q.ord";

const RELEASE: &str = "\
UPDATE tasks AS t SET state = 0, holder = NULL FROM unnest($1::uuid[], $2::bigint[]) AS g (id, attempt)
WHERE t.id = g.id AND t.state = 1 AND t.attempts = g.attempt AND t.holder = $3
RETURNING t.model, t.weight, t.client";

const HISTORY_ADD: &str = "\
INSERT INTO history (seq, attempt, at, reason) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[])
ON CONFLICT (seq, attempt) DO NOTHING";

/// Only the newest are kept.
const HISTORY_TRIM: &str = "\
DELETE FROM history AS h WHERE seq = ANY ($1) AND attempt <= (
    SELECT attempt FROM history AS n WHERE n.seq = h.seq ORDER BY attempt DESC LIMIT 1 OFFSET $2)";

/// What became of each, in their order.
pub(super) async fn finish(
    conn: &Conn,
    endings: &[&Ending],
    tally: &mut Tally,
) -> Result<Vec<Finished>, StoreError> {
    let mut answers = vec![Finished::Stale; endings.len()];
    if endings.is_empty() {
        return Ok(answers);
    }
    let versions: Vec<_> = endings.iter().map(|e| e.version.as_deref().map(text)).collect();
    let rows = conn
        .rows(
            "cannot record outcomes",
            FINISH,
            &[
                &endings.iter().map(|e| uuid(e.id)).collect::<Vec<_>>(),
                &endings.iter().map(|e| number(e.attempt)).collect::<Vec<_>>(),
                &endings.iter().map(|e| short(e.state)).collect::<Vec<_>>(),
                &endings
                    .iter()
                    .map(|e| e.finished_at.as_micros())
                    .collect::<Vec<_>>(),
                &versions.iter().map(Option::as_deref).collect::<Vec<_>>(),
                &endings
                    .iter()
                    .map(|e| i64::from(e.redeliveries))
                    .collect::<Vec<_>>(),
                &endings.iter().map(|e| e.cached).collect::<Vec<_>>(),
                &endings
                    .iter()
                    .map(|e| i16::from(e.outcome.kind))
                    .collect::<Vec<_>>(),
                &endings.iter().map(|e| &e.outcome.bytes[..]).collect::<Vec<_>>(),
                &tally.me,
            ],
        )
        .await?;
    let (mut told, mut histories) = (Vec::new(), Vec::new());
    for row in &rows {
        let (seq, at) = (col::<i64>(row, 5)?, place(col(row, 6)?));
        let (Some(ending), Some(answer)) = (endings.get(at), answers.get_mut(at)) else {
            continue;
        };
        *answer = Finished::Recorded;
        histories.push((seq, &ending.history[..]));
        if let Some(evidence) = &ending.evidence {
            letters::add(conn, seq, evidence).await?;
        }
        let state = state_of(ending.state)?;
        tally.note(ending.id, col(row, 1)?, (state, false))?;
        if let Some(event) = Event::of(state) {
            told.extend(news(row, 0, (event, 0), ending.finished_at)?);
        }
    }
    add_history(conn, &histories).await?;
    tell(conn, &told, tally).await?;
    Ok(answers)
}

/// What became of each, in their order.
pub(super) async fn retry(
    conn: &Conn,
    retries: &[Retry],
    tally: &mut Tally,
) -> Result<Vec<Finished>, StoreError> {
    let mut answers = vec![Finished::Stale; retries.len()];
    if retries.is_empty() {
        return Ok(answers);
    }
    let rows = conn
        .rows(
            "cannot queue tasks again",
            RETRY,
            &[
                &retries.iter().map(|r| uuid(r.id)).collect::<Vec<_>>(),
                &retries.iter().map(|r| number(r.attempt)).collect::<Vec<_>>(),
                &retries.iter().map(|r| r.due_at.as_micros()).collect::<Vec<_>>(),
                &retries
                    .iter()
                    .map(|r| i64::from(r.redeliveries))
                    .collect::<Vec<_>>(),
                &tally.me,
            ],
        )
        .await?;
    let (mut told, mut histories) = (Vec::new(), Vec::new());
    for row in &rows {
        let at = place(col(row, 6)?);
        let (Some(retry), Some(answer)) = (retries.get(at), answers.get_mut(at)) else {
            continue;
        };
        *answer = Finished::Recorded;
        let owner = owner_of(col(row, 1)?, col(row, 8)?)?;
        tally.counts.add(&owner, 1, col(row, 7)?);
        tally.counts.delay(&owner.model, 1);
        tally.note(retry.id, owner.model.as_str(), (State::Retry, false))?;
        histories.push((col(row, 5)?, &retry.history[..]));
        let when = retry.history.last().map_or(retry.due_at, |failure| failure.at);
        told.extend(news(row, 0, (Event::Retried, retry.attempt.0), when)?);
    }
    add_history(conn, &histories).await?;
    tell(conn, &told, tally).await?;
    Ok(answers)
}

/// Gives leases back. Stale ones are ignored.
pub(super) async fn release(conn: &Conn, leases: &[Release], tally: &mut Tally) -> Result<(), StoreError> {
    if leases.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = leases.iter().map(|lease| uuid(lease.id)).collect();
    let attempts: Vec<i64> = leases.iter().map(|lease| number(lease.attempt)).collect();
    for row in conn
        .rows("cannot release tasks", RELEASE, &[&ids, &attempts, &tally.me])
        .await?
    {
        tally
            .counts
            .add(&owner_of(col(&row, 0)?, col(&row, 2)?)?, 1, col(&row, 1)?);
    }
    Ok(())
}

async fn add_history(conn: &Conn, histories: &[(i64, &[Redelivery])]) -> Result<(), StoreError> {
    let (mut seqs, mut attempts, mut ats, mut reasons) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (seq, history) in histories {
        let newest = history.len().saturating_sub(HISTORY_MAX);
        for entry in &history[newest..] {
            seqs.push(*seq);
            attempts.push(number(entry.attempt));
            ats.push(entry.at.as_micros());
            reasons.push(text(&entry.reason));
        }
    }
    if seqs.is_empty() {
        return Ok(());
    }
    let reasons: Vec<&str> = reasons.iter().map(|reason| &**reason).collect();
    conn.run(
        "cannot keep a history",
        HISTORY_ADD,
        &[&seqs, &attempts, &ats, &reasons],
    )
    .await?;
    let most = i64::try_from(HISTORY_MAX).unwrap_or(i64::MAX);
    conn.run("cannot cut a history", HISTORY_TRIM, &[&seqs, &most])
        .await
        .map(drop)
}

pub(super) fn uuid(id: TaskId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

fn number(attempt: Attempt) -> i64 {
    i64::from(attempt.0)
}

pub(super) fn short(number: i64) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

/// The place of a row that is counted from one.
fn place(ord: i64) -> usize {
    usize::try_from(ord - 1).unwrap_or(usize::MAX)
}
