//! Bytes that change, files that go or end early: a check says so, and no backup with them is put back.

use std::fs;
use std::path::{Path, PathBuf};

use cresset_queue::conformance::Dice;
use cresset_queue::{Broker, Lookup, ResultStore};
use cresset_queue_sql::care::{self, CareErrorKind, Thoroughness};
use cresset_task::Outcome;

use crate::seeds;
use crate::world::{House, check, copy, files_below, open, replacing};

const ROUNDS: u64 = 60;

/// Something happens to one file; what.
fn damage(file: &Path, dice: &mut Dice) -> String {
    let mut bytes = fs::read(file).unwrap();
    let at = dice.below(bytes.len());
    let what = match dice.below(6) {
        0 | 1 => {
            bytes[at] ^= 1 << dice.below(8);
            format!("a bit of byte {at} flipped")
        }
        2 => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
        3 => {
            let end = bytes.len().min(at + 1 + dice.below(4_096));
            let new = dice.bytes(end - at);
            bytes[at..end].copy_from_slice(&new);
            format!("bytes {at} to {end} written over")
        }
        4 => {
            bytes.extend(dice.bytes(100));
            "longer by 100 bytes".into()
        }
        _ => {
            fs::remove_file(file).unwrap();
            return format!("{} removed", file.display());
        }
    };
    fs::write(file, bytes).unwrap();
    format!("{}: {what}", file.display())
}

fn pick(files: &[PathBuf], dice: &mut Dice) -> PathBuf {
    files[dice.below(files.len())].clone()
}

/// A check never fails or panics for what is in a store, and what it calls sound can be used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_damage_or_there_is_none_that_it_promises_to_find() {
    let house = House::build(11).await;
    let original = house.path("original");
    fs::create_dir(&original).unwrap();
    fs::copy(house.database(), original.join("tasks.db")).unwrap();
    copy(
        &house.path("tasks.db.payloads"),
        &original.join("tasks.db.payloads"),
    );
    let mut found = 0;
    for seed in seeds(ROUNDS) {
        println!("CRESSET_CARE_SEED={seed}");
        let mut dice = Dice::new(seed);
        let place = house.path("place");
        copy(&original, &place);
        let database = place.join("tasks.db");
        // The database is one file among many, and the one with the most to go wrong.
        let target = match dice.chance(60) {
            true => database.clone(),
            false => pick(&files_below(&place.join("tasks.db.payloads")), &mut dice),
        };
        let what = damage(&target, &mut dice);
        let report = care::check(&database, Thoroughness::Full);
        let report = report.unwrap_or_else(|error| panic!("{what}: {}", error.whole()));
        println!("{what}: {} problems", report.problems());
        for finding in &report.findings {
            assert!(
                !finding.remedy.is_empty() && finding.to_string().lines().count() == 1,
                "{finding:?}"
            );
        }
        assert!(target == database || !report.is_sound(), "{what}");
        if report.is_sound() {
            assert_usable(&house, &database, &what).await;
        } else {
            found += 1;
        }
        fs::remove_dir_all(&place).unwrap();
    }
    assert!(found > 0, "nothing was damaged");
}

/// All is as it was but, perhaps, for text within a row that is still text of its kind.
async fn assert_usable(house: &House, database: &Path, what: &str) {
    let store = open(database);
    let told = crate::world::told(&store, &house.ids).await;
    for (id, was) in &house.told {
        let (is, was) = (told[id].as_ref(), was.as_ref());
        assert_eq!(is.map(|r| r.state), was.map(|r| r.state), "{what}: {id}");
        let large = |record: &cresset_task::TaskRecord| match &record.outcome {
            Some(Outcome::Success(payload)) if payload.weight() > crate::world::INLINE_BYTES => {
                Some(payload.clone())
            }
            _ => None,
        };
        assert_eq!(is.map(large), was.map(large), "{what}: {id}");
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_what_was_written_is_never_put_in_a_store_s_place() {
    let (house, there) = (House::build(12).await, House::build(13).await);
    let backup = house.back_up("backup");
    let mut refused = 0;
    for seed in seeds(ROUNDS) {
        println!("CRESSET_CARE_SEED={seed}");
        let mut dice = Dice::new(seed);
        let (bad, place) = (house.path("bad"), house.path("place"));
        copy(&backup, &bad);
        let what = damage(&pick(&files_below(&bad), &mut dice), &mut dice);
        fs::create_dir(&place).unwrap();
        fs::copy(there.database(), place.join("tasks.db")).unwrap();
        copy(&there.path("tasks.db.payloads"), &place.join("tasks.db.payloads"));
        let database = place.join("tasks.db");
        match care::restore(&bad, &database, replacing()) {
            // A letter of the manifest that says nothing about the rest.
            Ok(_) => {
                assert!(what.contains("manifest.json"), "{what}");
                house.assert_is_at(&database).await;
            }
            Err(error) => {
                println!("{what}: {}", error.whole());
                refused += 1;
                assert!(
                    matches!(error.kind, CareErrorKind::Damaged | CareErrorKind::NotFound),
                    "{what}: {}",
                    error.whole()
                );
                there.assert_is_at(&database).await;
                assert!(
                    !place.join("tasks.db.restore").exists(),
                    "{what}: a draft is left"
                );
            }
        }
        fs::remove_dir_all(&place).unwrap();
        fs::remove_dir_all(&bad).unwrap();
    }
    assert!(refused > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_a_payload_is_backed_up_with_the_loss_told() {
    let house = House::build(14).await;
    let files = files_below(&house.path("tasks.db.payloads"));
    fs::remove_file(&files[0]).unwrap();
    fs::write(&files[1], "short").unwrap();
    let report = check(&house.database());
    assert_eq!(report.problems(), 2, "{report:?}");
    let dest = house.path("backup");
    let made = care::backup(&house.database(), &dest).unwrap();
    assert_eq!((made.problems.len(), made.manifest.lacking.len()), (2, 2));
    let database = house.path("elsewhere").join("tasks.db");
    fs::create_dir(house.path("elsewhere")).unwrap();
    let refused = care::restore(&dest, &database, replacing()).unwrap_err();
    assert_eq!(refused.kind, CareErrorKind::Damaged);
    assert!(
        refused.whole().contains("--accept-problems"),
        "{}",
        refused.whole()
    );
    let may = care::Permissions {
        accept_problems: true,
        ..replacing()
    };
    let restored = care::restore(&dest, &database, may).unwrap();
    assert_eq!(restored.problems.len(), 2);
    let store = open(&database);
    let mut whole = 0;
    for id in &house.ids {
        whole += usize::from(matches!(store.fetch(*id).await, Ok(Lookup::Found(_))));
    }
    assert!(whole >= house.ids.len() - 3, "{whole}");
    store.close().await.unwrap();
}
