//! Payloads that servers leave for each other. Whoever opens them is not on the store: it has no number there, and sees no task.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cresset_queue::kit::remote::{Dial as _, Questions, Trouble as _, ask};
use cresset_queue::{PARCELS_SWEPT_MAX, Parcels, QueueError};
use uuid::Uuid;

use crate::connect::{Conn, Dialer};
use crate::error::{StoreError, col};
use crate::schema;
use crate::target::Target;

/// Connections: what is large goes one after another anyway.
const CONNECTIONS: usize = 2;

const IDENTITY: &str = "SELECT id FROM identity";
const PUT: &str = "\
INSERT INTO parcels (id, kept_at, bytes) VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $2)
ON CONFLICT (id) DO NOTHING";
const GET: &str = "SELECT bytes FROM parcels WHERE id = $1";
const KEEP: &str = "\
UPDATE parcels SET kept_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint WHERE id = ANY ($1)";
const REMOVE: &str = "DELETE FROM parcels WHERE id = ANY ($1)";
/// One that somebody keeps at this moment stays.
const SWEEP: &str = "\
DELETE FROM parcels WHERE id IN (
    SELECT id FROM parcels WHERE kept_at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $1
    ORDER BY kept_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// The parcels of a store in PostgreSQL.
pub struct PostgresParcels {
    store: Uuid,
    questions: Questions<Dialer>,
}

impl fmt::Debug for PostgresParcels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresParcels")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl PostgresParcels {
    /// Opens them; a store that is not there is made, one that is older is upgraded if nobody is on it.
    ///
    /// # Errors
    ///
    /// As of [`PostgresStore::open`](crate::PostgresStore::open).
    pub async fn open(target: Target) -> Result<Self, QueueError> {
        let shown = target.to_string();
        let dialer = Dialer::new(target);
        let found = identity(&dialer).await;
        let store = found
            .map_err(|error| QueueError::new(error.kind(), "open", format!("{shown}: {}", error.whole())));
        match store {
            Ok(store) => Ok(Self {
                store,
                questions: Questions::new(dialer, CONNECTIONS),
            }),
            Err(error) => {
                dialer.end().await;
                Err(error)
            }
        }
    }

    /// For `ask!`.
    fn front(&self) -> &Questions<Dialer> {
        &self.questions
    }
}

async fn identity(dialer: &Dialer) -> Result<Uuid, StoreError> {
    let target = &dialer.target;
    let conn = Conn::open(dialer).await?;
    if !schema::exists(&conn, target).await? || schema::version(&conn).await? < schema::NEWEST {
        schema::make(&conn, target).await?;
        // It is let go of with this session.
        schema::enter(&conn, target).await?;
    }
    let row = conn.row("cannot read which store it is", IDENTITY, &[]).await?;
    let row = row.ok_or_else(|| StoreError::Damaged("the store does not say which one it is".into()))?;
    col(&row, 0)
}

async fn get(conn: &Conn, id: Uuid) -> Result<Option<Bytes>, StoreError> {
    let row = conn.row("cannot read a parcel", GET, &[&id]).await?;
    let bytes = row.as_ref().map(|row| col::<&[u8]>(row, 0)).transpose()?;
    Ok(bytes.map(Bytes::copy_from_slice))
}

#[async_trait]
impl Parcels for PostgresParcels {
    fn store(&self) -> Uuid {
        self.store
    }

    async fn put(&self, id: Uuid, bytes: Bytes) -> Result<(), QueueError> {
        let put = ask!(self, "put", |conn| conn.run(
            "cannot keep a parcel",
            PUT,
            &[&id, &&bytes[..]]
        ));
        put.map(drop)
    }

    async fn get(&self, id: Uuid) -> Result<Option<Bytes>, QueueError> {
        ask!(self, "get", |conn| get(conn, id))
    }

    async fn keep(&self, ids: &[Uuid]) -> Result<(), QueueError> {
        let doing = "cannot say that parcels are needed";
        ask!(self, "keep", |conn| conn.run(doing, KEEP, &[&ids])).map(drop)
    }

    async fn remove(&self, ids: &[Uuid]) -> Result<(), QueueError> {
        let doing = "cannot remove parcels";
        ask!(self, "remove", |conn| conn.run(doing, REMOVE, &[&ids])).map(drop)
    }

    async fn sweep(&self, unkept_for: Duration) -> Result<u64, QueueError> {
        let micros = i64::try_from(unkept_for.as_micros()).unwrap_or(i64::MAX);
        let max = i64::try_from(PARCELS_SWEPT_MAX).unwrap_or(i64::MAX);
        let doing = "cannot sweep parcels";
        ask!(self, "sweep", |conn| conn.run(doing, SWEEP, &[&micros, &max]))
    }

    async fn close(&self) {
        self.questions.close().await;
    }
}
