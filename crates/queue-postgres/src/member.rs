//! A server's place on the store: its row in `servers`, under which alone it writes, and the lock that goes with its session.

use std::sync::Arc;

use cresset_queue::kit::fleet::{ENDED_KEPT_MICROS, Fate, Tally, own_name};
use cresset_queue::kit::model_of;
use cresset_queue::{About, ENDED_SHOWN_MAX, Member as Shown};
use cresset_task::{ModelName, Timestamp};
use uuid::Uuid;

use crate::apply::end_leases;
use crate::connect::{Conn, Dialer, Params};
use crate::error::{StoreError, col};
use crate::locks;
use crate::schema;

/// What a task's history says of a lease that ended because of that.
const FORGOTTEN: &str = "the database forgot part of what it had confirmed while it ran";

/// What became of a server's row.
const ROW: &str = "SELECT commits, ended_at IS NOT NULL FROM servers WHERE id = $1 AND number = $2";

/// Whether a number that was given is not known any more, or is somebody else's: the database has forgotten.
const UNGIVEN: &str = "\
SELECT NOT EXISTS (SELECT 1 FROM epochs WHERE newest >= $1) OR EXISTS (SELECT 1 FROM servers WHERE id = $1 AND number <> $2)";

const NOTE_PROCESS: &str = "UPDATE servers SET pid = pg_backend_pid() WHERE id = $1";

/// No number is given again, not by a database that has forgotten the last ones either.
const NEXT: &str = "UPDATE epochs SET newest = greatest(newest, $1) + 1 RETURNING newest";

const APPEAR: &str = "\
INSERT INTO servers (id, number, commits, pid, who, about, since, seen_at)
VALUES ($1, $2, 0, pg_backend_pid(), $3, $4, $5, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";

const ABOUT: &str = "UPDATE servers SET about = $2 WHERE id = $1 AND about <> $2";

const SERVED: &str = "\
SELECT DISTINCT m.model FROM servers AS s CROSS JOIN unnest($1::text[]) AS m (model)
WHERE s.ended_at IS NULL AND s.about::jsonb -> 'models' ? m.model";

/// Those that were, the newest of them, and those that are.
const MEMBERS: &str = "\
SELECT * FROM (SELECT id, since, seen_at, ended_at, about FROM servers WHERE ended_at IS NOT NULL AND $1 ORDER BY id DESC LIMIT $2) AS e
UNION ALL SELECT id, since, seen_at, ended_at, about FROM servers WHERE ended_at IS NULL ORDER BY 4 NULLS LAST, 1";

const FORGET: &str = "DELETE FROM servers WHERE ended_at < $1";

/// A group under way has its server's row. Whoever begins one after this sees us, and tells us what it does.
const AWAIT_GROUPS: &str = "SELECT id FROM servers WHERE ended_at IS NULL AND id <> $1 ORDER BY id FOR SHARE";

/// What no server who lives holds gets numbers that cannot have been given.
const SKIP_ATTEMPTS: &str = "\
UPDATE tasks SET attempts = attempts + $1 WHERE finished_at IS NULL AND holder IS NULL";
const SKIP_FENCES: &str = "\
UPDATE outbox SET fence = fence + $1 WHERE settled_at IS NULL AND holder IS NULL";

/// A server, as it is on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its process's number, by chance.
    pub(crate) number: Uuid,
    /// What it writes under.
    pub(crate) id: i64,
    /// Groups that were committed under it, as far as is known.
    pub(crate) commits: i64,
}

/// A connection with the locks of a server.
pub(crate) struct Held {
    pub(crate) conn: Arc<Conn>,
    pub(crate) member: Member,
    /// Scripts that were applied; all of them made a new store.
    pub(crate) upgraded: usize,
    pub(crate) fate: Fate,
}

/// Comes onto the store, as what it was before if that is still so; what is said of it is there with its row.
pub(crate) async fn join(
    dialer: &Dialer,
    number: Uuid,
    before: Option<Member>,
    about: &str,
) -> Result<Held, StoreError> {
    let target = &dialer.target;
    let conn = Conn::open(dialer).await?;
    schema::make(&conn, target).await?;
    let upgraded = schema::enter(&conn, target).await?;
    let (fate, member) = match before {
        None => (Fate::New, begin(&conn, number, 0, about).await?),
        Some(before) => match fate_of(&conn, before).await? {
            (Fate::Same, member) => {
                conn.run("cannot note the connection", NOTE_PROCESS, &[&member.id])
                    .await?;
                (Fate::Same, member)
            }
            (fate, _) => (fate, begin(&conn, number, before.id, about).await?),
        },
    };
    Ok(Held {
        conn,
        member,
        upgraded,
        fate,
    })
}

async fn fate_of(conn: &Conn, before: Member) -> Result<(Fate, Member), StoreError> {
    let is_locked = locks::take_back(conn, before.id, before.number).await?;
    let doing = "cannot look for the server's own row";
    let row = conn.row(doing, ROW, &[&before.id, &before.number]).await?;
    let Some(row) = row else {
        let row = conn.row(doing, UNGIVEN, &[&before.id, &before.number]).await?;
        let is_ungiven = row.as_ref().map_or(Ok(false), |row| col(row, 0))?;
        let fate = if is_ungiven { Fate::Forgotten } else { Fate::New };
        if is_locked {
            locks::let_go(conn, before.id).await?;
        }
        return Ok((fate, before));
    };
    let (commits, has_ended) = (col(&row, 0)?, col(&row, 1)?);
    if has_ended {
        if is_locked {
            locks::let_go(conn, before.id).await?;
        }
        return Ok((Fate::Ended(commits), before));
    }
    if !is_locked {
        return Err(StoreError::Fenced(
            "another session of this server is still on the store".into(),
        ));
    }
    Ok((Fate::Same, Member { commits, ..before }))
}

/// Appears as a new server, above this number.
async fn begin(conn: &Conn, number: Uuid, above: i64, about: &str) -> Result<Member, StoreError> {
    let doing = "cannot come onto the store";
    let now = Timestamp::now().as_micros();
    conn.batch(doing, "BEGIN").await?;
    let row = conn.row(doing, NEXT, &[&above]).await?;
    let row = row.ok_or_else(|| StoreError::Damaged("the store has no count of its servers".into()))?;
    let id: i64 = col(&row, 0)?;
    // Before anybody can see the row.
    locks::take_own(conn, id).await?;
    conn.run(doing, APPEAR, &[&id, &number, &own_name(), &about, &now])
        .await?;
    conn.run(doing, FORGET, &[&(now - ENDED_KEPT_MICROS)]).await?;
    conn.batch(doing, "COMMIT").await?;
    conn.rows(doing, AWAIT_GROUPS, &[&id]).await?;
    Ok(Member {
        number,
        id,
        commits: 0,
    })
}

/// False when it was so already.
pub(crate) async fn introduce(conn: &Conn, me: i64, about: &str) -> Result<bool, StoreError> {
    let changed = conn
        .run("cannot say what is served here", ABOUT, &[&me, &about])
        .await?;
    Ok(changed > 0)
}

/// The servers that are there, and before them those that were if that is wanted. What cannot be read says nothing.
pub(crate) async fn members(conn: &Conn, with_ended: bool) -> Result<Vec<Shown>, StoreError> {
    let doing = "cannot look for the other servers";
    let mut members = Vec::new();
    for row in conn
        .rows(doing, MEMBERS, &[&with_ended, &ENDED_SHOWN_MAX])
        .await?
    {
        let about: &str = col(&row, 4)?;
        members.push(Shown {
            id: col(&row, 0)?,
            since: Timestamp::from_micros(col(&row, 1)?),
            seen_at: Timestamp::from_micros(col(&row, 2)?),
            ended_at: col::<Option<i64>>(&row, 3)?.map(Timestamp::from_micros),
            about: serde_json::from_str::<About>(about).unwrap_or_default(),
        });
    }
    Ok(members)
}

/// Which of these models a server serves that is there.
pub(crate) async fn served(conn: &Conn, models: &[ModelName]) -> Result<Vec<ModelName>, StoreError> {
    let names: Vec<&str> = models.iter().map(ModelName::as_str).collect();
    let doing = "cannot look for what others serve";
    let mut served = Vec::new();
    for row in conn.rows(doing, SERVED, &[&names]).await? {
        served.push(model_of(col(&row, 0)?)?);
    }
    Ok(served)
}

/// The database has forgotten groups of a server that it had confirmed: it was told not to flush, or another one took its
/// place that had not got them yet. Leases may be among them, so no number that was given may be given again; and so may the
/// news that one was given back, so what it takes to be leased by that server is queued again.
pub(crate) async fn skip_fences(conn: &Conn, ids: &[i64], lost: i64) -> Result<(), StoreError> {
    let doing = "cannot skip the numbers of leases that the database has forgotten";
    conn.batch(doing, "BEGIN").await?;
    let now = Timestamp::now();
    end_leases(conn, ids, (now, FORGOTTEN), &mut Tally::default()).await?;
    let values: Params<'_> = &[&lost];
    conn.run(doing, SKIP_ATTEMPTS, values).await?;
    conn.run(doing, SKIP_FENCES, values).await?;
    conn.batch(doing, "COMMIT").await
}
