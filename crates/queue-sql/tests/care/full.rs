//! A disk without room for a backup, or for what is restored. The tests of a failing disk have the pages of the database.

use std::fs;
use std::path::Path;
use std::process::Command;

use cresset_queue::Broker;
use cresset_queue_sql::care::{self, CareErrorKind};

use crate::kills::{child, child_folder, this_binary};
use crate::world::{open, replacing, task};
use cresset_task::Payload;

/// A limit on the size of files stands for the full disk, as in the tests of processes.
#[test]
fn a_disk_without_room_for_a_payload_leaves_no_backup_and_the_old_store() {
    if let Some(folder) = child_folder() {
        return without_room(&folder);
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let large = Payload::Json(vec![b'1'; 12 << 20].into());
    let small = dir.path().join("small");
    fs::create_dir(&small).unwrap();
    runtime.block_on(async {
        let store = open(&dir.path().join("tasks.db"));
        store.submit(task(large)).await.unwrap();
        store.close().await.unwrap();
        open(&small.join("tasks.db")).close().await.unwrap();
    });
    care::backup(&dir.path().join("tasks.db"), &dir.path().join("backup")).unwrap();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 16384 && exec \"$0\" \"$@\""])
        .arg(this_binary());
    let name = "full::a_disk_without_room_for_a_payload_leaves_no_backup_and_the_old_store";
    let (mut process, lines) = child(&mut limited, name, dir.path());
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(process.wait().unwrap().success(), "{said:#?}");
    assert!(
        said.iter().any(|line| line.contains("there was no room")),
        "{said:#?}"
    );
}

fn without_room(folder: &Path) {
    let made = care::backup(&folder.join("tasks.db"), &folder.join("second"));
    assert_eq!(made.unwrap_err().kind, CareErrorKind::Io);
    assert!(!folder.join("second").exists() && !folder.join("second.partial").exists());
    let small = folder.join("small");
    let restored = care::restore(&folder.join("backup"), &small.join("tasks.db"), replacing());
    assert_eq!(restored.unwrap_err().kind, CareErrorKind::Io);
    assert!(!small.join("tasks.db.restore").exists());
    assert!(crate::world::check(&small.join("tasks.db")).is_sound());
    println!("there was no room");
}
