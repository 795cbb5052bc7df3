//! The store, opened where the configuration says: embedded, in PostgreSQL, or in MySQL or MariaDB.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cresset_config::{Durability, ServerConfig, ServiceUrl};
use cresset_engine::{Parcels, Role};
use cresset_queue::kit::{InboxOptions, Ttl};
use cresset_queue::{Backend, QueueError, QueueErrorKind};
use cresset_queue_mysql::{MysqlOptions, MysqlParcels, MysqlStore, Target as MysqlTarget};
use cresset_queue_postgres::{PostgresOptions, PostgresParcels, PostgresStore, Target};
use cresset_queue_sql::{SqliteOptions, SqliteStore};

use crate::exit::{Exit, Trouble};

/// Where tasks are kept.
#[derive(Debug)]
pub(crate) enum Place {
    /// In this file.
    Sqlite(PathBuf),
    /// In this database of PostgreSQL.
    Postgres(Box<Target>),
    /// In this one of MySQL or MariaDB.
    Mysql(Box<MysqlTarget>),
}

/// Where the settings say that tasks are kept.
pub(crate) fn place(config: &ServerConfig) -> Result<Place, Trouble> {
    if let Some(path) = config.database() {
        return Ok(Place::Sqlite(path));
    }
    let url = config.store.as_ref().map(|url| url.reveal()).unwrap_or_default();
    server_of(url)
}

/// The database that an address leads to.
fn server_of(url: &str) -> Result<Place, Trouble> {
    let unusable =
        |error: &dyn Error| Trouble::new(Exit::USAGE, format!("store.url cannot be used: {error}"));
    if url.starts_with("mysql:") || url.starts_with("mariadb:") {
        let target = MysqlTarget::parse(url).map_err(|error| unusable(&error))?;
        return Ok(Place::Mysql(Box::new(target)));
    }
    let target = Target::parse(url).map_err(|error| unusable(&error))?;
    Ok(Place::Postgres(Box::new(target)))
}

/// Opens the parcels of a store in a database, and nothing else of it.
pub(crate) async fn parcels(url: &ServiceUrl) -> Result<Option<Arc<dyn Parcels>>, Trouble> {
    let opened: Result<Arc<dyn Parcels>, QueueError> = match server_of(url.reveal())? {
        Place::Sqlite(_) => return Ok(None),
        Place::Postgres(target) => PostgresParcels::open(*target)
            .await
            .map(|open| Arc::new(open) as _),
        Place::Mysql(target) => MysqlParcels::open(*target).await.map(|open| Arc::new(open) as _),
    };
    let parcels = opened.map_err(|error| away(&error))?;
    tracing::info!(store = %parcels.store(), "large payloads go by the store between gateways and workers that have it");
    Ok(Some(parcels))
}

/// Opens the store; what an earlier server left behind is queued again.
pub(crate) async fn open(config: &ServerConfig, role: Role) -> Result<Arc<dyn Backend>, Trouble> {
    let dir = &config.data_dir;
    std::fs::create_dir_all(dir).map_err(|error| {
        Trouble::new(
            Exit::CANNOT_CREATE,
            format!("cannot make the data folder {}: {error}", dir.display()),
        )
    })?;
    match place(config)? {
        Place::Sqlite(path) => embedded(config, &path),
        Place::Postgres(target) => postgres(config, *target, role).await,
        Place::Mysql(target) => mysql(config, *target, role).await,
    }
}

fn embedded(config: &ServerConfig, path: &Path) -> Result<Arc<dyn Backend>, Trouble> {
    let mut options = SqliteOptions::at(path);
    options.result_ttl = config.result_ttl;
    options.letter_ttl = config.dead_ttl;
    options.delivery_ttl = config.webhooks.retention;
    options.max_inline_bytes = config.max_inline_bytes;
    options.durability = match config.durability {
        Durability::Fsync => cresset_queue_sql::Durability::Fsync,
        Durability::Os => cresset_queue_sql::Durability::Os,
    };
    let store = SqliteStore::open(options).map_err(|error| refused(config, &error))?;
    let opened = store.opened();
    tracing::info!(
        data_dir = %config.data_dir.display(),
        queued = opened.queued,
        requeued = opened.requeued,
        durability = config.durability.name(),
        "task store open"
    );
    Ok(Arc::new(store))
}

async fn postgres(config: &ServerConfig, target: Target, role: Role) -> Result<Arc<dyn Backend>, Trouble> {
    let shown = target.to_string();
    let defaults = PostgresOptions::at(target);
    let options = PostgresOptions {
        durability: match config.durability {
            Durability::Fsync => cresset_queue_postgres::Durability::Fsync,
            Durability::Os => cresset_queue_postgres::Durability::Os,
        },
        ttl: Ttl {
            results: config.result_ttl,
            letters: config.dead_ttl,
            deliveries: config.webhooks.retention,
            ..defaults.ttl
        },
        inbox: inbox(config, role),
        ..defaults
    };
    let store = PostgresStore::open(options).await.map_err(|error| away(&error))?;
    let opened = store.opened();
    tracing::info!(
        store = shown,
        version = opened.version,
        queued = opened.queued,
        requeued = opened.requeued,
        durability = config.durability.name(),
        "task store open"
    );
    Ok(Arc::new(store))
}

async fn mysql(config: &ServerConfig, target: MysqlTarget, role: Role) -> Result<Arc<dyn Backend>, Trouble> {
    let shown = target.to_string();
    let defaults = MysqlOptions::at(target);
    let options = MysqlOptions {
        ttl: Ttl {
            results: config.result_ttl,
            letters: config.dead_ttl,
            deliveries: config.webhooks.retention,
            ..defaults.ttl
        },
        inbox: inbox(config, role),
        ..defaults
    };
    let store = MysqlStore::open(options).await.map_err(|error| away(&error))?;
    let opened = store.opened();
    tracing::info!(
        store = shown,
        version = opened.version,
        queued = opened.queued,
        requeued = opened.requeued,
        flushes = opened.flushes,
        "task store open"
    );
    Ok(Arc::new(store))
}

/// It is a door, and a worker has none.
fn inbox(config: &ServerConfig, role: Role) -> Option<InboxOptions> {
    (config.inbox && role != Role::Worker).then(|| InboxOptions {
        tenant: config.inbox_tenant.clone(),
    })
}

/// A store in a database that does not open is left as it is.
fn away(error: &QueueError) -> Trouble {
    let exit = match error.kind {
        QueueErrorKind::Unavailable => Exit::UNAVAILABLE,
        _ => Exit::DATA,
    };
    Trouble::new(exit, chain(error))
        .detail("nothing was changed, and no task was given up")
        .hint("`cresset doctor` looks at the database and at everything else that a server needs")
}

/// A store that does not open is left as it is, and its operator is told how to look and how to go on.
fn refused(config: &ServerConfig, error: &QueueError) -> Trouble {
    let trouble = Trouble::new(Exit::IO, chain(error));
    if error.kind != QueueErrorKind::Corrupt {
        return trouble;
    }
    let data_dir = config.data_dir.display();
    trouble
        .detail(format!("`cresset store check --data-dir {data_dir}` says what is damaged"))
        .detail("nothing was changed, and no task was given up")
        .hint(format!(
            "`cresset store restore BACKUP --data-dir {data_dir} --replace` puts a backup in its place and keeps what is there"
        ))
}

/// An error with its causes, as one sentence.
pub(crate) fn chain(error: &QueueError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        text.push_str(": ");
        text.push_str(&below.to_string());
        cause = below.source();
    }
    text
}
