//! A backup onto a disk that is full, or fails, at any of its pages.

use std::fs;

use cresset_queue::Broker;
use cresset_queue_sql::care::{self, CareErrorKind, Permissions, Thoroughness};

use crate::life::{INLINE_BYTES, open, task};
use crate::vfs::{Calls, Disk, Fault, Of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_a_full_disk_ends_leaves_nothing_behind() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let database = home.path().join("tasks.db");
    let store = open(&database);
    for bytes in [10, INLINE_BYTES - 10, 5 * INLINE_BYTES] {
        store.submit(task(bytes)).await.unwrap();
    }
    // It goes on while the store is open, and so is the log in use.
    let disk = Disk::below(elsewhere.path());
    let dest = elsewhere.path().join("backup");
    for after in 0.. {
        disk.fail(Fault {
            of: Of::Either,
            calls: Calls::Any,
            after,
            times: usize::MAX,
            full: true,
        });
        let made = care::backup(&database, &dest);
        if disk.mend() == 0 {
            assert!(made.unwrap().problems.is_empty());
            assert!(after > 10, "only {after} pages");
            break;
        }
        assert_eq!(made.unwrap_err().kind, CareErrorKind::Io);
        assert_eq!(
            fs::read_dir(elsewhere.path()).unwrap().count(),
            0,
            "something is left"
        );
    }
    store.close().await.unwrap();
    let restored = elsewhere.path().join("tasks.db");
    care::restore(&dest, &restored, Permissions::default()).unwrap();
    assert!(care::check(&restored, Thoroughness::Full).unwrap().is_sound());
    assert_eq!(open(&restored).opened().queued, 3);
}
