//! Payloads that servers leave for each other, in parts. Whoever opens them is not on the store: it has no number there, and sees no task.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cresset_queue::kit::as_number;
use cresset_queue::kit::remote::{Questions, Trouble as _, ask};
use cresset_queue::{PARCELS_SWEPT_MAX, Parcels, QueueError};
use mysql_async::{Params, Value};
use uuid::Uuid;

use crate::connect::{Conn, Dialer, Role};
use crate::error::{StoreError, id, small, take};
use crate::locks::{self, now_micros};
use crate::payload::PART_MAX;
use crate::schema;
use crate::sql::{Lit, sql};
use crate::target::Target;
use crate::tx::Tx;

/// Connections: what is large goes one after another anyway.
const CONNECTIONS: usize = 2;

const IDENTITY: &str = "SELECT id FROM identity";
const IS_THERE: &str = "SELECT 1 FROM parcels WHERE id = ? AND part = 0";
const PUT: &str = concat!(
    "INSERT INTO parcels (id, part, parts, kept_at, bytes) VALUES (?, ?, ?, ",
    now_micros!(),
    ", ?)"
);
const GET: &str = "SELECT part, parts, bytes FROM parcels WHERE id = ? ORDER BY part";
const KEEP: &str = concat!(
    "UPDATE parcels SET kept_at = ",
    now_micros!(),
    " WHERE part = 0 AND id IN (?)"
);
const REMOVE: &str = "DELETE p FROM parcels AS p FORCE INDEX (PRIMARY) WHERE p.id IN (?)";
/// How old one is its first part says.
const OLD: &str = concat!(
    "SELECT id FROM parcels FORCE INDEX (parcels_by_age) WHERE part = 0 AND kept_at < ",
    now_micros!(),
    " - ? ORDER BY kept_at LIMIT ?"
);

/// The parcels of a store in MySQL or MariaDB.
pub struct MysqlParcels {
    store: Uuid,
    questions: Questions<Dialer>,
}

impl fmt::Debug for MysqlParcels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlParcels")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl MysqlParcels {
    /// Opens them; a store that is not there is made, one that is older is upgraded if nobody is on it.
    ///
    /// # Errors
    ///
    /// As of [`MysqlStore::open`](crate::MysqlStore::open).
    pub async fn open(target: Target) -> Result<Self, QueueError> {
        let shown = target.to_string();
        let dialer = Dialer { target };
        let store = identity(&dialer)
            .await
            .map_err(|error| QueueError::new(error.kind(), "open", format!("{shown}: {}", error.whole())))?;
        Ok(Self {
            store,
            questions: Questions::new(dialer, CONNECTIONS),
        })
    }

    /// For `ask!`.
    fn front(&self) -> &Questions<Dialer> {
        &self.questions
    }
}

async fn identity(dialer: &Dialer) -> Result<Uuid, StoreError> {
    let conn = Conn::open(dialer, Role::Writer).await?;
    if !schema::exists(&conn).await? || schema::version(&conn).await? < schema::NEWEST {
        schema::enter(&conn, &dialer.target).await?;
        locks::entered(&conn).await?;
    }
    let row = conn.row("cannot read which store it is", IDENTITY.into()).await?;
    let row = row.ok_or_else(|| StoreError::Damaged("the store does not say which one it is".into()))?;
    Ok(Uuid::from_bytes(*id(&row, 0)?.as_bytes()))
}

async fn put(conn: &Conn, id: Uuid, bytes: &Bytes) -> Result<(), StoreError> {
    let doing = "cannot keep a parcel";
    let mut tx = Tx::on(conn);
    if tx.row(doing, sql!(IS_THERE, id)).await?.is_some() {
        return tx.commit().await;
    }
    let parts = bytes.len().div_ceil(PART_MAX).max(1);
    for part in 0..parts {
        let from = part * PART_MAX;
        let some = bytes.slice(from..bytes.len().min(from + PART_MAX));
        let values = vec![
            Value::from(id.as_bytes()),
            as_number(part).into(),
            as_number(parts).into(),
            some[..].into(),
        ];
        tx.put(doing, PUT, Params::Positional(values)).await?;
    }
    tx.commit().await
}

/// Nothing of one that lacks a part.
async fn get(conn: &Conn, id: Uuid) -> Result<Option<Bytes>, StoreError> {
    let mut rows = conn.rows("cannot read a parcel", sql!(GET, id)).await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let parts: usize = small(first, 1)?;
    for (row, at) in rows.iter().zip(0_i64..) {
        if small::<i64>(row, 0)? != at {
            return Ok(None);
        }
    }
    if rows.len() != parts {
        return Ok(None);
    }
    let mut all = rows.iter_mut().map(|row| take(row, 2).unwrap_or_default());
    if parts == 1 {
        return Ok(all.next());
    }
    let joined = all.fold(BytesMut::new(), |mut all, part| {
        all.extend_from_slice(&part);
        all
    });
    Ok(Some(joined.freeze()))
}

async fn sweep(conn: &Conn, micros: i64) -> Result<u64, StoreError> {
    let doing = "cannot sweep parcels";
    let max = i64::try_from(PARCELS_SWEPT_MAX).unwrap_or(i64::MAX);
    let old = conn.rows(doing, sql!(OLD, micros, max)).await?;
    let ids = old
        .iter()
        .map(|row| Ok(Uuid::from_bytes(*id(row, 0)?.as_bytes())))
        .collect::<Result<Vec<_>, StoreError>>()?;
    remove(conn, doing, &ids).await?;
    Ok(ids.len() as u64)
}

async fn remove(conn: &Conn, doing: &'static str, ids: &[Uuid]) -> Result<(), StoreError> {
    conn.run(doing, sql!(REMOVE, Lit::Uuids(ids))).await.map(drop)
}

#[async_trait]
impl Parcels for MysqlParcels {
    fn store(&self) -> Uuid {
        self.store
    }

    async fn put(&self, id: Uuid, bytes: Bytes) -> Result<(), QueueError> {
        ask!(self, "put", |conn| put(conn, id, &bytes))
    }

    async fn get(&self, id: Uuid) -> Result<Option<Bytes>, QueueError> {
        ask!(self, "get", |conn| get(conn, id))
    }

    async fn keep(&self, ids: &[Uuid]) -> Result<(), QueueError> {
        let doing = "cannot say that parcels are needed";
        ask!(self, "keep", |conn| conn.run(doing, sql!(KEEP, Lit::Uuids(ids)))).map(drop)
    }

    async fn remove(&self, ids: &[Uuid]) -> Result<(), QueueError> {
        ask!(self, "remove", |conn| remove(conn, "cannot remove parcels", ids))
    }

    async fn sweep(&self, unkept_for: Duration) -> Result<u64, QueueError> {
        let micros = i64::try_from(unkept_for.as_micros()).unwrap_or(i64::MAX);
        ask!(self, "sweep", |conn| sweep(conn, micros))
    }

    async fn close(&self) {
        self.questions.close().await;
    }
}
