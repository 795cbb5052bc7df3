//! The embedded store, opened where the configuration says.

use std::error::Error;
use std::sync::Arc;

use cresset_config::{Durability, ServerConfig};
use cresset_queue::{Backend, QueueError, QueueErrorKind};
use cresset_queue_sql::{SqliteOptions, SqliteStore};

use crate::exit::{Exit, Trouble};

/// The database's name in the data folder.
pub(crate) const DATABASE: &str = "tasks.db";

/// Opens the store; what an earlier server left behind is queued again.
pub(crate) fn open(config: &ServerConfig) -> Result<Arc<dyn Backend>, Trouble> {
    let dir = &config.data_dir;
    std::fs::create_dir_all(dir).map_err(|error| {
        Trouble::new(
            Exit::CANNOT_CREATE,
            format!("cannot make the data folder {}: {error}", dir.display()),
        )
    })?;
    let mut options = SqliteOptions::at(dir.join(DATABASE));
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
        data_dir = %dir.display(),
        queued = opened.queued,
        requeued = opened.requeued,
        durability = config.durability.name(),
        "task store open"
    );
    Ok(Arc::new(store))
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
fn chain(error: &QueueError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        text.push_str(": ");
        text.push_str(&below.to_string());
        cause = below.source();
    }
    text
}
