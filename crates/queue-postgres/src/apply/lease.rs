//! Leases: the head of a model's queue, in one statement.

use bytes::Bytes;
use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{PROMOTED_MAX, Stored, as_number, client_of, retry_of, trace_of};
use cresset_queue::{Lease, LeaseRequest, Turn, Unreadable};
use cresset_task::{Attempt, CacheUse, Event, Payload, State, TaskId, Timestamp};
use futures_util::future::join;
use tokio_postgres::Row;
use uuid::Uuid;

use super::tell::{news, tell};
use crate::connect::{Conn, Params};
use crate::error::{StoreError, col, small, tiny};

/// Delayed tasks that are due take their places in the queue.
const PROMOTE: &str = "\
UPDATE tasks SET due_at = NULL
WHERE seq IN (SELECT seq FROM tasks WHERE model = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)";

/// What another server has just in its hands is not waited for.
const LEASE: &str = "\
WITH head AS MATERIALIZED (
    SELECT seq, weight, row_number() OVER w AS ord, sum(weight) OVER w AS upto
    FROM (
        SELECT seq, weight, turn FROM tasks
        WHERE state IN (0, 2) AND due_at IS NULL AND model = $1 AND (expires_at IS NULL OR expires_at > $2)
        ORDER BY turn, seq LIMIT $3 FOR UPDATE SKIP LOCKED
    ) AS q
    WINDOW w AS (ORDER BY turn, seq)
), taken AS (
    UPDATE tasks AS t SET state = 1, attempts = t.attempts + 1, started_at = $2, holder = $5
    FROM head AS h WHERE h.seq = t.seq AND (h.ord = 1 OR h.upto <= $4::bigint)
    RETURNING t.seq, t.id, t.model, t.attempts, t.priority, t.created_at, t.turn, t.retries, t.client, t.weight, t.cache,
              t.retry, t.trace, h.ord
)
SELECT t.id, t.model, c.url, c.host, c.events, t.attempts, t.priority, t.created_at, t.turn, t.retries, t.client, t.weight,
       t.cache, t.retry, i.kind, i.bytes, t.trace
FROM taken AS t LEFT JOIN inputs AS i ON i.seq = t.seq LEFT JOIN callbacks AS c ON c.seq = t.seq
ORDER BY t.ord";

pub(super) async fn lease(
    conn: &Conn,
    request: &LeaseRequest,
    tally: &mut Tally,
) -> Result<Vec<Lease>, StoreError> {
    let model = request.model.as_str();
    let (now, most) = (request.now.as_micros(), as_number(request.max_tasks));
    let bytes_max = as_number(request.max_bytes);
    let values: Params<'_> = &[&model, &now, &PROMOTED_MAX];
    let promote = conn.run("cannot queue what is due", PROMOTE, values);
    let values: Params<'_> = &[&model, &now, &most, &bytes_max, &tally.me];
    let head = conn.rows("cannot lease tasks", LEASE, values);
    // Sent together, and carried out in this order, once both are prepared.
    conn.prepare(&[PROMOTE, LEASE]).await?;
    let (promoted, head) = join(promote, head).await;
    let (promoted, head) = (promoted?, head?);
    if promoted > 0 {
        tally.counts.delay(&request.model, -(promoted.cast_signed()));
    }
    let (mut leases, mut told) = (Vec::with_capacity(head.len()), Vec::new());
    for row in &head {
        let (mut lease, weight, client) = read(row)?;
        tally.counts.add_to_model(&request.model, -1, -weight);
        if let Some(client) = client_of(client)? {
            tally.counts.add_to_client(&client, -1, -weight);
        }
        tally.note(lease.id, model, (State::Started, false))?;
        told.extend(news(row, 0, (Event::Started, lease.attempt.0), request.now)?);
        lease.payload = decode(row, &mut lease).map_err(|damage| Unreadable(damage.to_string()));
        leases.push(lease);
    }
    tell(conn, &told, tally).await?;
    Ok(leases)
}

/// All of a lease that cannot be damaged, and what its task counts for.
fn read(row: &Row) -> Result<(Lease, i64, Option<&str>), StoreError> {
    let lease = Lease {
        id: TaskId::from_bytes(*col::<Uuid>(row, 0)?.as_bytes()),
        attempt: Attempt(small(row, 5)?),
        payload: Err(Unreadable(String::new())),
        priority: tiny(row, 6)?,
        created_at: Timestamp::from_micros(col(row, 7)?),
        turn: Turn::from_micros(col(row, 8)?),
        retries: small(row, 9)?,
        cache: CacheUse::from_code(tiny(row, 12)?).unwrap_or(CacheUse::NoStore),
        retry: None,
        trace: None,
    };
    let trace = trace_of(lease.id, col(row, 16)?);
    let lease = Lease { trace, ..lease };
    Ok((lease, col(row, 11)?, col(row, 10)?))
}

/// Its input, and in the lease how it is tried again; or why one of them cannot be read.
fn decode(row: &Row, lease: &mut Lease) -> Result<Payload, StoreError> {
    lease.retry = retry_of(col(row, 13)?)?;
    let Some(bytes) = col::<Option<&[u8]>>(row, 15)? else {
        return Err(StoreError::Damaged("it is missing".into()));
    };
    let stored = Stored {
        kind: tiny(row, 14)?,
        bytes: Bytes::copy_from_slice(bytes),
    };
    Ok(stored.as_payload()?)
}
