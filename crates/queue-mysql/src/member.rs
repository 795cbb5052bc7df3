//! A server's place on the store: its row in `servers`, under which alone it writes, and the lock that goes with its session.

use std::sync::Arc;

use cresset_queue::kit::fleet::{ENDED_KEPT_MICROS, Fate, Tally, own_name};
use cresset_queue::kit::remote::Trouble as _;
use cresset_queue::{About, ENDED_SHOWN_MAX, Member as Shown};
use cresset_task::{ModelName, Timestamp};
use uuid::Uuid;

use crate::apply::end_leases;
use crate::connect::{Conn, Dialer, Role};
use crate::error::{StoreError, col};
use crate::locks::{self, node, now_micros};
use crate::schema;
use crate::sql::sql;
use crate::tx::Tx;

/// What a task's history says of a lease that ended because of that.
const FORGOTTEN: &str = "the database forgot part of what it had confirmed while it ran";

/// What became of a server's row, once nobody changes it.
const ROW: &str =
    "SELECT commits, ended_at IS NOT NULL FROM servers WHERE id = ? AND number = ? LOCK IN SHARE MODE";

/// Whether a number that was given is not known any more, or is somebody else's: the database has forgotten.
const UNGIVEN: &str = "\
SELECT NOT EXISTS (SELECT 1 FROM epochs WHERE newest >= ?) OR EXISTS (SELECT 1 FROM servers WHERE id = ? AND number <> ?)";

const NOTE_SESSION: &str = concat!(
    "UPDATE servers SET session = ?, node = ",
    node!(),
    " WHERE id = ?"
);

/// No number is given again, not by a database that has forgotten the last ones either.
const NEXT: &str = "UPDATE epochs SET newest = GREATEST(newest, ?) + 1";
const NEWEST: &str = "SELECT newest FROM epochs";

const APPEAR: &str = concat!(
    "INSERT INTO servers (id, number, commits, told, session, node, who, about, since, seen_at) VALUES (?, ?, 0, 0, ?, ",
    node!(),
    ", ?, ?, ?, ",
    now_micros!(),
    ")"
);

const ABOUT: &str = "UPDATE servers SET about = ? WHERE id = ? AND about <> ?";

/// Those that were, the newest of them, and those that are.
const MEMBERS: &str = "\
SELECT * FROM (SELECT id, since, seen_at, ended_at, about FROM servers WHERE ended_at IS NOT NULL AND ? ORDER BY id DESC LIMIT ?) AS e
UNION ALL SELECT id, since, seen_at, ended_at, about FROM servers WHERE ended_at IS NULL";

const FORGET: [&str; 2] = [
    "DELETE n FROM servers AS s FORCE INDEX (servers_there) STRAIGHT_JOIN news AS n ON n.server = s.id WHERE s.ended_at < ?",
    "DELETE s FROM servers AS s FORCE INDEX (servers_there) WHERE s.ended_at < ?",
];

/// A group under way has its server's row. Whoever begins one after this sees us, and tells us what it does.
const OTHERS: &str = "SELECT id FROM servers WHERE ended_at IS NULL AND id <> ?";
const AWAIT_GROUP: &str = "SELECT 1 FROM servers WHERE id = ? LOCK IN SHARE MODE";

/// One that takes longer than the database lets us wait is waited for so often.
const AWAITED_MAX: u32 = 3;

/// What no server who lives holds gets numbers that cannot have been given.
const SKIP_ATTEMPTS: &str =
    "UPDATE tasks SET attempts = attempts + ? WHERE finished_at IS NULL AND holder IS NULL";
const SKIP_FENCES: &str = "UPDATE outbox SET fence = fence + ? WHERE settled_at IS NULL AND holder IS NULL";

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

/// A connection with the lock of a server.
pub(crate) struct Held {
    pub(crate) conn: Arc<Conn>,
    pub(crate) member: Member,
    /// Scripts that were applied; all of them made a new store.
    pub(crate) upgraded: usize,
    pub(crate) fate: Fate,
    /// What applications write into the inbox is looked at; not asked for, unless it is to be served.
    pub(crate) is_inbox_guarded: bool,
}

/// Comes onto the store for the first time, and sees that its inbox can be served if it is to be.
pub(crate) async fn join(
    dialer: &Dialer,
    number: Uuid,
    about: &str,
    has_inbox: bool,
) -> Result<Held, StoreError> {
    let (conn, upgraded) = enter(dialer).await?;
    let is_inbox_guarded = has_inbox && schema::guard_inbox(&conn).await?;
    let member = begin(&conn, number, 0, about).await?;
    locks::entered(&conn).await?;
    await_groups(&conn, member.id).await?;
    Ok(Held {
        conn,
        member,
        upgraded,
        fate: Fate::New,
        is_inbox_guarded,
    })
}

/// Comes onto it again, as what it was before if that is still so; what is said of it is there with its row.
pub(crate) async fn rejoin(dialer: &Dialer, before: Member, about: &str) -> Result<Held, StoreError> {
    let (conn, upgraded) = enter(dialer).await?;
    let (fate, member) = match fate_of(&conn, before).await? {
        (Fate::Same, member) => {
            let note = sql!(NOTE_SESSION, conn.session, member.id);
            conn.run("cannot note the connection", note).await?;
            (Fate::Same, member)
        }
        (fate, _) => (fate, begin(&conn, before.number, before.id, about).await?),
    };
    locks::entered(&conn).await?;
    if fate != Fate::Same {
        await_groups(&conn, member.id).await?;
    }
    Ok(Held {
        conn,
        member,
        upgraded,
        fate,
        is_inbox_guarded: false,
    })
}

async fn enter(dialer: &Dialer) -> Result<(Arc<Conn>, usize), StoreError> {
    let conn = Conn::open(dialer, Role::Writer).await?;
    let upgraded = schema::enter(&conn, &dialer.target).await?;
    Ok((conn, upgraded))
}

async fn fate_of(conn: &Conn, before: Member) -> Result<(Fate, Member), StoreError> {
    let is_locked = locks::take_back(conn, before.id, before.number).await?;
    let doing = "cannot look for the server's own row";
    let row = conn.row(doing, sql!(ROW, before.id, before.number)).await?;
    let Some(row) = row else {
        let asked = sql!(UNGIVEN, before.id, before.id, before.number);
        let row = conn.row(doing, asked).await?;
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
    let next = [
        "START TRANSACTION".to_owned(),
        sql!(NEXT, above),
        NEWEST.to_owned(),
    ];
    let answers = conn.all(doing, &next).await?;
    let row = answers.last().and_then(|answer| answer.rows.first());
    let row = row.ok_or_else(|| StoreError::Damaged("the store has no count of its servers".into()))?;
    let id: i64 = col(row, 0)?;
    // Before anybody can see the row.
    locks::take_own(conn, id).await?;
    let mut appear = vec![sql!(APPEAR, id, number, conn.session, own_name(), about, now)];
    appear.extend(FORGET.iter().map(|text| sql!(text, now - ENDED_KEPT_MICROS)));
    appear.push("COMMIT".to_owned());
    conn.all(doing, &appear).await?;
    Ok(Member {
        number,
        id,
        commits: 0,
    })
}

/// Waits for the groups that were under way when this server appeared, each by itself: who has them all waits for nobody's.
async fn await_groups(conn: &Conn, me: i64) -> Result<(), StoreError> {
    let doing = "cannot wait for the other servers";
    for row in conn.rows(doing, sql!(OTHERS, me)).await? {
        let id: i64 = col(&row, 0)?;
        let mut waited = 1;
        while let Err(error) = conn.rows(doing, sql!(AWAIT_GROUP, id)).await {
            if waited == AWAITED_MAX || !error.met_another() {
                return Err(error);
            }
            waited += 1;
        }
    }
    Ok(())
}

/// False when it was so already.
pub(crate) async fn introduce(tx: &mut Tx<'_>, me: i64, about: &str) -> Result<bool, StoreError> {
    let changed = tx
        .run("cannot say what is served here", sql!(ABOUT, about, me, about))
        .await?;
    Ok(changed > 0)
}

/// The servers that are there, and before them those that were if that is wanted. What cannot be read says nothing.
pub(crate) async fn members(conn: &Conn, with_ended: bool) -> Result<Vec<Shown>, StoreError> {
    let asked = sql!(MEMBERS, with_ended, ENDED_SHOWN_MAX);
    let mut members = Vec::new();
    for row in conn.rows("cannot look for the other servers", asked).await? {
        let about: String = col(&row, 4)?;
        members.push(Shown {
            id: col(&row, 0)?,
            since: Timestamp::from_micros(col(&row, 1)?),
            seen_at: Timestamp::from_micros(col(&row, 2)?),
            ended_at: col::<Option<i64>>(&row, 3)?.map(Timestamp::from_micros),
            about: serde_json::from_str::<About>(&about).unwrap_or_default(),
        });
    }
    members.sort_unstable_by_key(|member| (member.ended_at.is_none(), member.id));
    Ok(members)
}

/// Which of these models a server serves that is there.
pub(crate) async fn served(conn: &Conn, models: &[ModelName]) -> Result<Vec<ModelName>, StoreError> {
    let members = members(conn, false).await?;
    let is_served = |model: &&ModelName| {
        members
            .iter()
            .any(|member| member.about.models.contains_key(*model))
    };
    Ok(models.iter().filter(is_served).cloned().collect())
}

/// The database has forgotten groups of a server that it had confirmed: it was told not to flush, or another one took its
/// place that had not got them yet. Leases may be among them, so no number that was given may be given again; and so may the
/// news that one was given back, so what it takes to be leased by that server is queued again.
pub(crate) async fn skip_fences(conn: &Conn, ids: &[i64], lost: i64) -> Result<(), StoreError> {
    let doing = "cannot skip the numbers of leases that the database has forgotten";
    let mut tx = Tx::on(conn);
    let now = Timestamp::now();
    end_leases(&mut tx, ids, (now, FORGOTTEN), &mut Tally::default()).await?;
    tx.later(doing, [sql!(SKIP_ATTEMPTS, lost), sql!(SKIP_FENCES, lost)]);
    tx.commit().await
}
