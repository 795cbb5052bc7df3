//! SIGKILL at any instant of a backup and of a restore. The children are this test binary again, as in the tests of processes.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use cresset_queue::conformance::Dice;
use cresset_queue_sql::care;

use crate::seeds;
use crate::world::{House, replacing};

const CHILD: &str = "CRESSET_TEST_CHILD_FOLDER";
/// How long a child is let live, at most: longer than what it does takes.
const LIFE_MAX_US: usize = 120_000;
/// The same from a sign on, after which little is left to do.
const REST_MAX_US: usize = 1_500;

/// The folder of this process, if it is a child.
pub(crate) fn child_folder() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// This binary, running only `test`, as a child.
pub(crate) fn child(
    command: &mut Command,
    test: &str,
    folder: &Path,
) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

pub(crate) fn this_binary() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// Starts a child and kills it a chosen time after it said that it begins, or after `sign` is there. True when it had done
/// its work by then.
fn live_and_die(test: &str, folder: &Path, sign: Option<&Path>, dice: &mut Dice) -> bool {
    let (mut process, mut lines) = child(&mut Command::new(this_binary()), test, folder);
    assert!(
        lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.ends_with("begins"))
    );
    let life = match sign {
        Some(sign) => {
            while !sign.exists() && process.try_wait().unwrap().is_none() {
                std::hint::spin_loop();
            }
            // At once, or a little later.
            dice.below(2) * dice.below(REST_MAX_US)
        }
        None => dice.below(LIFE_MAX_US),
    };
    std::thread::sleep(Duration::from_micros(life as u64));
    process.kill().unwrap();
    let done = lines.map_while(Result::ok).any(|line| line == "done");
    process.wait().unwrap();
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_killed_is_whole_or_not_there_and_the_next_one_works() {
    const NAME: &str = "kills::a_backup_that_was_killed_is_whole_or_not_there_and_the_next_one_works";
    if let Some(folder) = child_folder() {
        println!("begins");
        care::backup(&folder.join("tasks.db"), &folder.join("backup")).unwrap();
        println!("done");
        return;
    }
    let house = House::build(51).await;
    let (dest, mut cut_short) = (house.path("backup"), 0);
    for seed in seeds(25) {
        println!("CRESSET_CARE_SEED={seed}");
        let done = live_and_die(NAME, house.dir.path(), None, &mut Dice::new(seed));
        assert!(dest.exists() || !done);
        if !dest.exists() {
            cut_short += 1;
            house.back_up("backup");
        }
        assert!(!house.path("backup.partial").exists());
        let (database, _) = crate::world::restore(&dest, &house.path("elsewhere"));
        house.assert_is_at(&database).await;
        fs::remove_dir_all(house.path("elsewhere")).unwrap();
        fs::remove_dir_all(&dest).unwrap();
    }
    println!("{cut_short} were cut short");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_killed_left_the_old_store_or_is_finished_by_the_next_one() {
    const NAME: &str = "kills::a_restore_that_was_killed_left_the_old_store_or_is_finished_by_the_next_one";
    if let Some(folder) = child_folder() {
        println!("begins");
        care::restore(
            &folder.join("backup"),
            &folder.join("place/tasks.db"),
            replacing(),
        )
        .unwrap();
        println!("done");
        return;
    }
    let (house, old) = (House::build(52).await, House::build(53).await);
    house.back_up("backup");
    let (place, mut resumed, mut undone) = (house.path("place"), 0, 0);
    for seed in seeds(25) {
        println!("CRESSET_CARE_SEED={seed}");
        fs::create_dir(&place).unwrap();
        fs::copy(old.database(), place.join("tasks.db")).unwrap();
        crate::world::copy(&old.path("tasks.db.payloads"), &place.join("tasks.db.payloads"));
        let (database, mark) = (place.join("tasks.db"), place.join("tasks.db.restoring"));
        // Half of them in the short time in which things move.
        let sign = seed.is_multiple_of(2).then_some(&*mark);
        let done = live_and_die(NAME, house.dir.path(), sign, &mut Dice::new(seed));
        if mark.exists() {
            resumed += 1;
            assert!(!done);
            let restored = care::restore(&house.path("backup"), &database, replacing()).unwrap();
            assert!(restored.resumed);
            old.assert_is_at(&restored.aside.unwrap().join("tasks.db")).await;
            house.assert_is_at(&database).await;
        } else if done
            || fs::read_dir(&place)
                .unwrap()
                .any(|entry| is_aside(&entry.unwrap().path()))
        {
            house.assert_is_at(&database).await;
        } else {
            undone += 1;
            old.assert_is_at(&database).await;
        }
        fs::remove_dir_all(&place).unwrap();
    }
    println!("{resumed} were finished by another, {undone} had not begun to move anything");
    assert!(
        resumed > 0 || crate::number("CRESSET_CARE_SEED").is_some(),
        "none died while things moved"
    );
}

fn is_aside(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().contains(".replaced-"))
}
