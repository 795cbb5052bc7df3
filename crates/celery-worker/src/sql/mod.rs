//! Results in SQL tables: Celery's own (`db+...`), and those of django-celery-results (`django-db+...`).
//!
//! The tables are the application's: it makes them, and changes them. They are only read for their columns here, and one that is not
//! there is a trouble, which says who makes it. Nothing that is pickled is ever read.

mod address;
mod database;
mod django;
mod mysql;
mod postgres;
mod sqlite;
mod table;
mod tasks;

use std::sync::Arc;

use cresset_config::ServiceUrl;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::address::{Address, Engine, Layout};
use self::database::Database;
use self::django::DjangoResults;
use self::mysql::Mysql;
use self::postgres::Postgres;
use self::sqlite::Sqlite;
use self::tasks::CeleryResults;
use crate::options::StartError;
use crate::results::Results;

/// Whether an address is one of these.
pub(crate) fn is_sql(url: &ServiceUrl) -> bool {
    url.scheme().contains('+')
}

/// The backend at an address. It connects when it is first asked. `house` owns what drives its connections, until `leave`.
pub(crate) fn open(
    url: &ServiceUrl,
    house: &TaskTracker,
    leave: &CancellationToken,
) -> Result<Arc<dyn Results>, StartError> {
    let refused = |why: String| StartError::Url {
        setting: "result_backend",
        // Drivers of Python's take a password as an option, too.
        url: url.to_string().split('?').next().unwrap_or_default().to_owned(),
        why,
    };
    let Address { layout, engine } = Address::parse(url.reveal()).map_err(refused)?;
    let database: Arc<dyn Database> = match engine {
        Engine::Postgres(config, tls) => {
            Arc::new(Postgres::new(*config, tls, house.clone(), leave.clone()).map_err(refused)?)
        }
        Engine::Mysql(target) => Arc::new(Mysql::new(*target, house, leave.clone()).map_err(refused)?),
        Engine::Sqlite(path) => Arc::new(Sqlite::new(path)),
    };
    Ok(match layout {
        Layout::Celery => Arc::new(CeleryResults::new(database)),
        Layout::Django => Arc::new(DjangoResults::new(database)),
    })
}
