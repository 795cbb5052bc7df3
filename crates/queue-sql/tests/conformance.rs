//! The SQLite store keeps every promise of the ports.

mod common;

/// As a server has it unless told otherwise.
const INLINE_BYTES: usize = 128 * 1024;

/// As it is run.
mod fsync {
    cresset_queue::conformance_suite!(crate::common::SqliteHarness::new(
        cresset_queue_sql::Durability::Fsync,
        crate::INLINE_BYTES
    ));
}

/// In the weaker mode: the same promises, but for what the machine's death may take.
mod os {
    cresset_queue::conformance_suite!(crate::common::SqliteHarness::new(
        cresset_queue_sql::Durability::Os,
        crate::INLINE_BYTES
    ));
}

/// With so little room in a row that most cases have payloads on both sides of it.
mod little_room_in_rows {
    cresset_queue::conformance_suite!(crate::common::SqliteHarness::new(
        cresset_queue_sql::Durability::Fsync,
        10
    ));
}

/// With every payload in a file.
mod no_room_in_rows {
    cresset_queue::conformance_suite!(crate::common::SqliteHarness::new(
        cresset_queue_sql::Durability::Os,
        0
    ));
}
