//! Tasks that come in, in one statement for all of them.

use cresset_queue::kit::fleet::Tally;
use std::collections::{HashMap, HashSet};

use cresset_queue::Submitted;
use cresset_task::{ClientKey, State, TaskId, Tenant, Timestamp};
use uuid::Uuid;

use super::tell::{begun, tell};
use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::read::recall;
use crate::submission::Submission;

/// One statement brings this many bytes of inputs at most, or one task.
const STATEMENT_BYTES_MAX: usize = 32 * 1024 * 1024;

const INSERT: &str = "\
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::bigint[], $9::bigint[], $10::smallint[], $11::text[], $12::text[], $13::text[], $14::bytea[],
                         $15::smallint[], $16::bytea[], $17::text[], $18::bigint[])
    WITH ORDINALITY AS g (id, model, priority, turn, weight, created_at, due_at, expires_at, deadline_at, cache, client,
                          tenant, retry, metadata, kind, bytes, trace, started_at, ord)
), made AS (
    INSERT INTO tasks (id, model, state, priority, turn, weight, created_at, due_at, expires_at, deadline_at, cache, client,
                       tenant, retry, metadata, trace, attempts, started_at, holder)
    SELECT id, model, CASE WHEN started_at IS NULL THEN 0 ELSE 1 END, priority, turn, weight, created_at, due_at, expires_at,
           deadline_at, cache, client, tenant, retry, metadata, trace, CASE WHEN started_at IS NULL THEN 0 ELSE 1 END,
           started_at, CASE WHEN started_at IS NOT NULL THEN $19::bigint END
    FROM given AS g WHERE NOT EXISTS (SELECT 1 FROM tombstones AS b WHERE b.id = g.id)
    ORDER BY ord
    ON CONFLICT (id) DO NOTHING
    RETURNING seq, id
), kept AS (
    INSERT INTO inputs (seq, kind, bytes) SELECT made.seq, g.kind, g.bytes FROM made JOIN given AS g ON g.id = made.id
)
SELECT seq, id FROM made";

const CALLBACKS: &str = "\
INSERT INTO callbacks (seq, url, host, events)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::smallint[])";

/// In one order, so that servers which meet at a key do not wait for each other in a circle. Who finds that another has just
/// taken one begins its group again.
const KEYS: &str = "\
INSERT INTO idempotency (model, key, seq, digest)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[]) AS g (model, key, seq, digest)
ORDER BY model, key";

pub(crate) fn taken(id: TaskId) -> StoreError {
    StoreError::Misuse(format!("the id {id} is taken; every task needs a fresh one"))
}

/// The answers in the order of the tasks; `None` where the id is taken. Of two with one id, or one key of one model, the
/// first is looked at first.
pub(crate) async fn submit(
    conn: &Conn,
    tasks: &[&Submission],
    tally: &mut Tally,
) -> Result<Vec<Option<Submitted>>, StoreError> {
    let mut answers = vec![None; tasks.len()];
    let mut left: Vec<usize> = (0..tasks.len()).collect();
    while !left.is_empty() {
        known(conn, tasks, &mut left, &mut answers).await?;
        let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
        let (round, rest): (Vec<usize>, Vec<usize>) = left.iter().partition(|&&at| {
            let task = tasks[at];
            let key = task
                .idempotency
                .as_ref()
                .map(|i| (&task.owner.model, i.key.as_str()));
            ids.insert(task.id) && key.is_none_or(|key| keys.insert(key))
        });
        for chunk in chunks(tasks, &round) {
            insert(conn, tasks, chunk, tally, &mut answers).await?;
        }
        // What has the id of another one and no key is answered by that alone.
        left = rest;
        left.retain(|&at| tasks[at].idempotency.is_some());
    }
    Ok(answers)
}

/// Answers those whose keys are known, and takes them out.
async fn known(
    conn: &Conn,
    tasks: &[&Submission],
    left: &mut Vec<usize>,
    answers: &mut [Option<Submitted>],
) -> Result<(), StoreError> {
    let asked = left.iter().filter_map(|&at| {
        let task = tasks[at];
        task.idempotency.as_ref().map(|i| (at, &task.owner.model, i))
    });
    let asked: Vec<_> = asked.collect();
    if asked.is_empty() {
        return Ok(());
    }
    let questions: Vec<_> = asked
        .iter()
        .map(|(_, model, idempotency)| (*model, *idempotency))
        .collect();
    for ((at, ..), found) in asked.iter().zip(recall(conn, &questions).await?) {
        answers[*at] = found;
    }
    left.retain(|&at| answers[at].is_none());
    Ok(())
}

fn chunks<'a>(tasks: &[&Submission], round: &'a [usize]) -> Vec<&'a [usize]> {
    let (mut chunks, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (place, &at) in round.iter().enumerate() {
        let weight = tasks[at].input.bytes.len();
        if place > from && bytes + weight > STATEMENT_BYTES_MAX {
            chunks.push(&round[from..place]);
            (from, bytes) = (place, 0);
        }
        bytes += weight;
    }
    chunks.extend((from < round.len()).then(|| &round[from..]));
    chunks
}

async fn insert(
    conn: &Conn,
    tasks: &[&Submission],
    chunk: &[usize],
    tally: &mut Tally,
    answers: &mut [Option<Submitted>],
) -> Result<(), StoreError> {
    let each = || chunk.iter().map(|&at| tasks[at]);
    macro_rules! column {
        (|$task:ident| $value:expr) => {
            each().map(|$task| $value).collect::<Vec<_>>()
        };
    }
    let rows = conn
        .rows(
            "cannot insert tasks",
            INSERT,
            &[
                &column!(|t| Uuid::from_bytes(*t.id.as_bytes())),
                &column!(|t| t.owner.model.as_str()),
                &column!(|t| i16::from(t.priority)),
                &column!(|t| t.turn.as_micros()),
                &column!(|t| t.weight),
                &column!(|t| t.created_at.as_micros()),
                &column!(|t| t.due_at.map(Timestamp::as_micros)),
                &column!(|t| t.expires_at.map(Timestamp::as_micros)),
                &column!(|t| t.deadline_at.map(Timestamp::as_micros)),
                &column!(|t| i16::from(t.cache.code())),
                &column!(|t| t.owner.client.as_ref().map(ClientKey::as_str)),
                &column!(|t| t.tenant.as_ref().map(Tenant::as_str)),
                &column!(|t| t.retry.as_deref()),
                &column!(|t| t.metadata.as_deref()),
                &column!(|t| i16::from(t.input.kind)),
                &column!(|t| &t.input.bytes[..]),
                &column!(|t| t.trace.as_deref()),
                &column!(|t| t.started_at.map(Timestamp::as_micros)),
                &tally.me,
            ],
        )
        .await?;
    let mut made = HashMap::new();
    for row in &rows {
        made.insert(
            TaskId::from_bytes(*col::<Uuid>(row, 1)?.as_bytes()),
            col::<i64>(row, 0)?,
        );
    }
    let (mut fresh, mut told) = (Vec::new(), Vec::new());
    for &at in chunk {
        let task = tasks[at];
        let Some(seq) = made.get(&task.id) else {
            continue;
        };
        answers[at] = Some(Submitted::New);
        fresh.push((*seq, task));
        if let Some(started) = task.started_at {
            // Born leased: it is not queued.
            tally.note(task.id, task.owner.model.as_str(), (State::Started, false))?;
            told.extend(begun(task, started));
            continue;
        }
        tally.counts.add(&task.owner, 1, task.weight);
        if task.due_at.is_some() {
            tally.counts.delay(&task.owner.model, 1);
        }
    }
    callbacks(conn, &fresh).await?;
    keys(conn, &fresh).await?;
    tell(conn, &told, tally).await
}

async fn callbacks(conn: &Conn, fresh: &[(i64, &Submission)]) -> Result<(), StoreError> {
    let with = fresh
        .iter()
        .filter_map(|(seq, task)| Some((*seq, task.callback.as_ref()?)));
    let with: Vec<_> = with.collect();
    if with.is_empty() {
        return Ok(());
    }
    let seqs: Vec<i64> = with.iter().map(|(seq, _)| *seq).collect();
    let urls: Vec<&str> = with.iter().map(|(_, to)| to.url.as_str()).collect();
    let hosts: Vec<String> = with.iter().map(|(_, to)| to.url.host().to_string()).collect();
    let events: Vec<i16> = with.iter().map(|(_, to)| i16::from(to.events.code())).collect();
    conn.run(
        "cannot note callbacks",
        CALLBACKS,
        &[&seqs, &urls, &hosts, &events],
    )
    .await
    .map(drop)
}

async fn keys(conn: &Conn, fresh: &[(i64, &Submission)]) -> Result<(), StoreError> {
    let with = fresh
        .iter()
        .filter_map(|(seq, task)| Some((*seq, task, task.idempotency.as_ref()?)));
    let with: Vec<_> = with.collect();
    if with.is_empty() {
        return Ok(());
    }
    let models: Vec<&str> = with
        .iter()
        .map(|(_, task, _)| task.owner.model.as_str())
        .collect();
    let names: Vec<&str> = with.iter().map(|(.., i)| i.key.as_str()).collect();
    let seqs: Vec<i64> = with.iter().map(|(seq, ..)| *seq).collect();
    let digests: Vec<&[u8]> = with.iter().map(|(.., i)| &i.digest[..]).collect();
    conn.run(
        "cannot note idempotency keys",
        KEYS,
        &[&models, &names, &seqs, &digests],
    )
    .await
    .map(drop)
}
