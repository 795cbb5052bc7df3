//! What is to be told of tasks, written in the transaction that makes it true.

use std::collections::HashSet;

use cresset_queue::kit::{Change, DISABLED};
use cresset_task::{Event, Events, TaskId, Timestamp};
use mysql_async::Row;

use crate::connect::Conn;
use crate::error::{StoreError, col, id};
use crate::sql::{Lit, fill, insert, row, sql};
use crate::submission::Submission;

const KNOWN: &str = "SELECT task, event, attempt, seq, host, state FROM outbox WHERE task IN (?)";

const REPLACE: &str = "DELETE FROM outbox WHERE seq IN (?)";

const GONE: &str = "SELECT url FROM gone WHERE url IN (";

const ADD: &str = "\
INSERT INTO outbox (task, event, attempt, model, url, host, at, since, state, tries, fence, due_at, settled_at, note)";

/// Whom to tell of a task.
pub(super) const CALLBACKS: &str = "SELECT task, url, host, events FROM callbacks WHERE task IN (?)";

const WAITING: i64 = 0;
const DISABLED_STATE: i64 = 4;

/// Something of a task that somebody is to be told.
pub(super) struct News {
    task: TaskId,
    model: String,
    url: String,
    host: String,
    event: Event,
    attempt: u32,
    at: Timestamp,
}

/// What a task's callback wants to be told, from the columns `url, host, events`, the first of which is number `first`; `None`
/// when it has none or wants no such event.
pub(super) fn news(
    (task, model): (TaskId, &str),
    (row, first): (&Row, usize),
    (event, attempt): (Event, u32),
    at: Timestamp,
) -> Result<Option<News>, StoreError> {
    let Some(events) = col::<Option<i64>>(row, first + 2)? else {
        return Ok(None);
    };
    let events = u8::try_from(events).ok().and_then(Events::from_code);
    if !events.is_some_and(|events| events.has(event)) {
        return Ok(None);
    }
    Ok(Some(News {
        task,
        model: model.to_owned(),
        url: col(row, first)?,
        host: col(row, first + 1)?,
        event,
        attempt,
        at,
    }))
}

/// What the callback of a task that is born leased wants to be told; `None` likewise.
pub(super) fn begun(task: &Submission, at: Timestamp) -> Option<News> {
    let to = task.callback.as_ref()?;
    to.events.has(Event::Started).then(|| News {
        task: task.id,
        model: task.owner.model.to_string(),
        url: to.url.as_str().to_owned(),
        host: to.url.host().to_string(),
        event: Event::Started,
        attempt: 1,
        at,
    })
}

/// Leaves deliveries; each takes the place of what waits of its task.
pub(super) async fn tell(conn: &Conn, news: &[News], change: &mut Change) -> Result<(), StoreError> {
    if news.is_empty() {
        return Ok(());
    }
    let doing = "cannot note what is to be told";
    let tasks: Vec<TaskId> = news.iter().map(|n| n.task).collect();
    let urls: Vec<Lit<'_>> = news.iter().map(|n| Lit::from(&n.url)).collect();
    let places = vec!["?"; urls.len()].join(",");
    let asked = [sql!(KNOWN, &tasks[..]), fill(&format!("{GONE}{places})"), &urls)];
    let found = conn.all(doing, &asked).await?;
    let rows = |at: usize| found.get(at).map(|answer| &answer.rows[..]).unwrap_or_default();
    let (mut replaced, mut known) = (Vec::<i64>::new(), HashSet::new());
    for row in rows(0) {
        if col::<i64>(row, 5)? == WAITING {
            replaced.push(col(row, 3)?);
            change.outbox.add(&col::<String>(row, 4)?, -1);
        } else {
            known.insert((id(row, 0)?, col::<i64>(row, 1)?, col::<i64>(row, 2)?));
        }
    }
    let gone: HashSet<String> = rows(1).iter().map(|row| col(row, 0)).collect::<Result<_, _>>()?;
    let mut fresh = Vec::new();
    for n in news {
        if !known.insert((n.task, i64::from(n.event.code()), i64::from(n.attempt))) {
            continue;
        }
        let is_gone = gone.contains(&n.url);
        let at = n.at.as_micros();
        fresh.push(row![
            n.task,
            n.event.code(),
            n.attempt,
            &n.model,
            &n.url,
            &n.host,
            at,
            at,
            if is_gone { DISABLED_STATE } else { WAITING },
            0_i64,
            0_i64,
            (!is_gone).then_some(at),
            is_gone.then_some(at),
            is_gone.then_some(DISABLED),
        ]);
        change.outbox.add(&n.host, i64::from(!is_gone));
    }
    let mut statements = vec![sql!(REPLACE, &replaced[..])];
    insert(&mut statements, ADD, fresh, "");
    conn.all(doing, &statements).await.map(drop)
}
