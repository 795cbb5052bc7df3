//! The store in MariaDB keeps every promise of the ports.

cresset_queue::conformance_suite!(or_skip crate::common::MysqlHarness::or_skip());
