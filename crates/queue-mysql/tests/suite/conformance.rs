//! The store in MariaDB keeps every promise of the ports.

use crate::common::{Database, block};

cresset_queue::conformance_suite!(or_skip crate::common::MysqlHarness::or_skip());

/// Also when the connection goes.
mod remote {
    use super::*;

    cresset_queue::remote_suite!(or_skip block(Database::or_skip()));
}
