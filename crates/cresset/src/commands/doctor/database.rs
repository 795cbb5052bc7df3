//! A store in a database that others look after.

use cresset_config::{Durability, ServerConfig};
use cresset_queue_mysql::{MysqlStore, Target as MysqlTarget};
use cresset_queue_postgres::{PostgresStore, Target};
use cresset_task::Timestamp;

use super::line::Lines;
use super::store::tell_capabilities;
use crate::commands::store::check::waiting;
use crate::serve::store::chain;

/// A store in PostgreSQL: can it be reached, what is it, who has it.
pub(super) fn postgres(config: &ServerConfig, target: &Target, lines: &mut Lines) -> Option<String> {
    let looked = match waiting(cresset_queue_postgres::look(target, false)) {
        Ok(looked) => looked,
        Err(error) => {
            lines.fail(
                "store",
                chain(&error),
                "see that PostgreSQL 15 or newer runs there, and that store.url has its user, password and database",
            );
            return None;
        }
    };
    let durability = match config.durability {
        Durability::Fsync if looked.flushes => cresset_queue_postgres::Durability::Fsync,
        _ => cresset_queue_postgres::Durability::Os,
    };
    let remedy = match looked.flushes {
        true => "store.durability = \"fsync\" makes a 202 wait for the disk",
        false => "the database runs with fsync = off: turn it on",
    };
    tell_capabilities(&PostgresStore::capabilities_with(durability), remedy, lines);
    let version = (looked.server_version / 10_000, looked.server_version % 10_000);
    let server = format!("PostgreSQL {}.{} at {target}", version.0, version.1);
    tell_store(&server, looked.schema, (looked.open, looked.ended), lines);
    if let Some(load) = looked.inbox.filter(|_| config.inbox) {
        super::inbox::tell(&load, looked.in_use_by.is_some(), Timestamp::now(), lines);
    }
    tell_lock(looked.in_use_by, lines)
}

/// A store in MySQL or MariaDB: the same.
pub(super) fn mysql(config: &ServerConfig, target: &MysqlTarget, lines: &mut Lines) -> Option<String> {
    let looked = match waiting(cresset_queue_mysql::look(target, false)) {
        Ok(looked) => looked,
        Err(error) => {
            lines.fail(
                "store",
                chain(&error),
                "see that MySQL 8.0 or MariaDB 10.6 or newer runs there, and that store.url has its user, password and database",
            );
            return None;
        }
    };
    let remedy = "set innodb_flush_log_at_trx_commit to 1: a 202 waits for the disk then";
    tell_capabilities(&MysqlStore::capabilities_with(looked.flushes), remedy, lines);
    let name = if looked.version.contains("MariaDB") {
        "MariaDB"
    } else {
        "MySQL"
    };
    let server = format!("{name} {} at {target}", looked.version);
    tell_store(&server, looked.schema, (looked.open, looked.ended), lines);
    if let Some(load) = looked.inbox.filter(|_| config.inbox) {
        if let Some(remedy) = looked.inbox_refused {
            lines.warn(
                "inbox",
                "it lacks the triggers that look at what comes in: nothing is taken out of it",
                remedy,
            );
        }
        super::inbox::tell(&load, looked.in_use_by.is_some(), Timestamp::now(), lines);
    }
    tell_lock(looked.in_use_by, lines)
}

fn tell_store(server: &str, schema: Option<usize>, (open, ended): (u64, u64), lines: &mut Lines) {
    let text = match schema {
        None => format!("{server}: there is no task store yet; the first start makes one"),
        Some(schema) => format!("{server}: schema {schema}, {open} open tasks, {ended} ended"),
    };
    lines.ok("store", text);
}

fn tell_lock(in_use_by: Option<String>, lines: &mut Lines) -> Option<String> {
    match &in_use_by {
        Some(who) => lines.ok("lock", who.clone()),
        None => lines.ok("lock", "no server has the store"),
    }
    in_use_by
}
