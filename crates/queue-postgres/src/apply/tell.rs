//! What is to be told of tasks, written in the transaction that makes it true.

use cresset_queue::kit::DISABLED;
use cresset_queue::kit::fleet::Tally;
use cresset_task::{Callback, Event, Events, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::submission::Submission;

const REPLACE: &str = "DELETE FROM outbox WHERE task = ANY ($1) AND state = 0 RETURNING host";

/// Waiting, or disabled at once where the address wants nothing more.
const ADD: &str = "\
INSERT INTO outbox (task, event, attempt, model, url, host, at, since, state, tries, fence, due_at, settled_at, note)
SELECT n.task, n.event, n.attempt, n.model, n.url, n.host, n.at, n.at,
       CASE WHEN g.url IS NULL THEN 0 ELSE 4 END, 0, 0,
       CASE WHEN g.url IS NULL THEN n.at END,
       CASE WHEN g.url IS NOT NULL THEN n.at END,
       CASE WHEN g.url IS NOT NULL THEN $8 END
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[])
     WITH ORDINALITY AS n (task, event, attempt, model, url, host, at, ord)
LEFT JOIN gone AS g ON g.url = n.url
ORDER BY n.ord
ON CONFLICT (task, event, attempt) DO NOTHING
RETURNING host, settled_at IS NULL";

/// Something of a task that somebody is to be told.
pub(super) struct News {
    task: Uuid,
    model: String,
    url: String,
    host: String,
    event: Event,
    attempt: i64,
    at: Timestamp,
}

/// What a task's callback wants to be told, from the columns `id, model, url, host, events`, the first of which is number
/// `first`; `None` when it has none or wants no such event.
pub(super) fn news(
    row: &Row,
    first: usize,
    (event, attempt): (Event, u32),
    at: Timestamp,
) -> Result<Option<News>, StoreError> {
    let Some(events) = col::<Option<i16>>(row, first + 4)? else {
        return Ok(None);
    };
    let events = u8::try_from(events).ok().and_then(Events::from_code);
    if !events.is_some_and(|events| events.has(event)) {
        return Ok(None);
    }
    Ok(Some(News {
        task: col(row, first)?,
        model: col(row, first + 1)?,
        url: col(row, first + 2)?,
        host: col(row, first + 3)?,
        event,
        attempt: i64::from(attempt),
        at,
    }))
}

/// What the callback of a task that is born leased wants to be told; `None` likewise.
pub(super) fn begun(task: &Submission, at: Timestamp) -> Option<News> {
    let Callback { url, events } = task.callback.as_ref()?;
    events.has(Event::Started).then(|| News {
        task: Uuid::from_bytes(*task.id.as_bytes()),
        model: task.owner.model.to_string(),
        url: url.as_str().to_owned(),
        host: url.host().to_string(),
        event: Event::Started,
        attempt: 1,
        at,
    })
}

/// Leaves deliveries; each takes the place of what waits of its task.
pub(super) async fn tell(conn: &Conn, news: &[News], tally: &mut Tally) -> Result<(), StoreError> {
    if news.is_empty() {
        return Ok(());
    }
    let tasks: Vec<Uuid> = news.iter().map(|n| n.task).collect();
    for row in conn.rows("cannot replace deliveries", REPLACE, &[&tasks]).await? {
        tally.counts.outbox.add(col(&row, 0)?, -1);
    }
    let events: Vec<i16> = news.iter().map(|n| i16::from(n.event.code())).collect();
    let attempts: Vec<i64> = news.iter().map(|n| n.attempt).collect();
    let models: Vec<&str> = news.iter().map(|n| &*n.model).collect();
    let urls: Vec<&str> = news.iter().map(|n| &*n.url).collect();
    let hosts: Vec<&str> = news.iter().map(|n| &*n.host).collect();
    let ats: Vec<i64> = news.iter().map(|n| n.at.as_micros()).collect();
    let added = conn
        .rows(
            "cannot note what is to be told",
            ADD,
            &[
                &tasks, &events, &attempts, &models, &urls, &hosts, &ats, &DISABLED,
            ],
        )
        .await?;
    for row in added {
        tally
            .counts
            .outbox
            .add(col(&row, 0)?, i64::from(col::<bool>(&row, 1)?));
    }
    Ok(())
}
