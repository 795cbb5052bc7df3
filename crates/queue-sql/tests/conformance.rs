//! The SQLite store keeps every promise of the ports.

mod common;

/// As it is run.
mod fsync {
    cresset_queue::conformance_suite!(crate::common::SqliteHarness::new(
        cresset_queue_sql::Durability::Fsync
    ));
}

/// In the weaker mode: the same promises, but for what the machine's death may take.
mod os {
    cresset_queue::conformance_suite!(crate::common::SqliteHarness::new(
        cresset_queue_sql::Durability::Os
    ));
}
