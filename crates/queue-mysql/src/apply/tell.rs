//! What is to be told of tasks, written in the transaction that makes it true.

use std::collections::{HashMap, HashSet};

use cresset_queue::kit::DISABLED;
use cresset_queue::kit::fleet::Tally;
use cresset_task::{Event, Events, TaskId, Timestamp};
use mysql_async::Row;

use crate::connect::Answer;
use crate::error::{StoreError, col, id, small};
use crate::sql::{Lit, fill, insert, row, sql};
use crate::submission::Submission;
use crate::tx::Tx;

/// What another server has just in its hands is waited for.
const KNOWN: &str = "\
SELECT task, event, attempt, seq, host, state FROM outbox FORCE INDEX (outbox_by_name) WHERE task IN (?) FOR UPDATE";

const REPLACE: &str = "DELETE o FROM outbox AS o FORCE INDEX (PRIMARY) WHERE o.seq IN (?)";

const GONE: &str = "SELECT url FROM gone WHERE url IN (";

const ADD: &str = "\
INSERT INTO outbox (task, event, attempt, model, url, host, at, since, state, tries, fence, due_at, settled_at, note)";

const CALLBACKS: &str = "SELECT task, url, host, events FROM callbacks WHERE task IN (?)";

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

/// Whom to tell of which task.
pub(super) struct Callbacks(HashMap<TaskId, Row>);

impl Callbacks {
    /// The statement that asks for them.
    pub(super) fn asked(tasks: &[TaskId]) -> String {
        sql!(CALLBACKS, tasks)
    }

    /// What it gave.
    pub(super) fn read(answer: Option<Answer>) -> Result<Self, StoreError> {
        let mut callbacks = HashMap::new();
        for row in answer.map(|answer| answer.rows).unwrap_or_default() {
            callbacks.insert(id(&row, 0)?, row);
        }
        Ok(Self(callbacks))
    }

    /// What a task's callback wants to be told; `None` when it has none or wants no such event.
    pub(super) fn news(
        &self,
        (task, model): (TaskId, &str),
        (event, attempt): (Event, u32),
        at: Timestamp,
    ) -> Result<Option<News>, StoreError> {
        let Some(row) = self.0.get(&task) else {
            return Ok(None);
        };
        let events = Events::from_code(small(row, 3)?);
        if !events.is_some_and(|events| events.has(event)) {
            return Ok(None);
        }
        Ok(Some(News {
            task,
            model: model.to_owned(),
            url: col(row, 1)?,
            host: col(row, 2)?,
            event,
            attempt,
            at,
        }))
    }
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
pub(super) async fn tell(tx: &mut Tx<'_>, news: &[News], tally: &mut Tally) -> Result<(), StoreError> {
    if news.is_empty() {
        return Ok(());
    }
    let doing = "cannot note what is to be told";
    let tasks: Vec<TaskId> = news.iter().map(|n| n.task).collect();
    let urls: Vec<Lit<'_>> = news.iter().map(|n| Lit::from(&n.url)).collect();
    let places = vec!["?"; urls.len()].join(",");
    let asked = [sql!(KNOWN, &tasks[..]), fill(&format!("{GONE}{places})"), &urls)];
    let found = tx.all(doing, &asked).await?;
    let rows = |at: usize| found.get(at).map(|answer| &answer.rows[..]).unwrap_or_default();
    let (mut replaced, mut known) = (Vec::<i64>::new(), HashSet::new());
    for row in rows(0) {
        if col::<i64>(row, 5)? == WAITING {
            replaced.push(col(row, 3)?);
            tally.counts.outbox.add(&col::<String>(row, 4)?, -1);
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
        tally.counts.outbox.add(&n.host, i64::from(!is_gone));
    }
    let mut statements = vec![sql!(REPLACE, &replaced[..])];
    insert(&mut statements, ADD, fresh, "");
    tx.later(doing, statements);
    Ok(())
}
