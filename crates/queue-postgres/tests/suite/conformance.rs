//! The PostgreSQL store keeps every promise of the ports.

/// As it is run.
mod fsync {
    cresset_queue::conformance_suite!(or_skip crate::common::PostgresHarness::or_skip(
        cresset_queue_postgres::Durability::Fsync
    ));
}

/// In the weaker mode: the same promises, but for what the machine's death may take.
mod os {
    cresset_queue::conformance_suite!(or_skip crate::common::PostgresHarness::or_skip(
        cresset_queue_postgres::Durability::Os
    ));
}

/// When the connection goes.
mod remote {
    use crate::common::{Schema, block};

    cresset_queue::remote_suite!(or_skip block(Schema::or_skip()));
}
