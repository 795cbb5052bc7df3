//! The data folder and the task store in it.

use std::path::Path;

use cresset_config::{Durability, ServerConfig};
use cresset_queue::Capabilities;
use cresset_queue_sql::SqliteStore;
use cresset_queue_sql::care::{self, CareErrorKind, Severity, Thoroughness};
use rustix::fs::{Access, access, statfs, statvfs};

use super::database;
use super::line::Lines;
use crate::commands::env::size;
use crate::exit::Trouble;
use crate::serve::store::{Place, place};

/// File systems by the number that statfs(2) gives, where there is something to say of them.
const FILE_SYSTEMS: &[(i64, &str, Option<&str>)] = &[
    (0xef53, "ext4", None),
    (0x5846_5342, "xfs", None),
    (0x9123_683e, "btrfs", None),
    (0x2fc1_2fc1, "zfs", None),
    (0xf2f5_2010, "f2fs", None),
    (0x6969, "NFS", Some(NETWORK)),
    (0xff53_4d42, "CIFS", Some(NETWORK)),
    (0xfe53_4d42, "SMB", Some(NETWORK)),
    (0x0102_1997, "9p", Some(NETWORK)),
    (0x0bd0_0bd0, "Lustre", Some(NETWORK)),
    (0x00c3_6400, "CephFS", Some(NETWORK)),
    (
        0x6573_5546,
        "FUSE",
        Some("whether locks and flushes work depends on the program behind it"),
    ),
    (
        0x0102_1994,
        "tmpfs",
        Some("it is memory: accepted tasks are lost with the machine's power"),
    ),
    (
        0x794c_7630,
        "overlayfs",
        Some("it goes with its container: accepted tasks are lost when that is replaced"),
    ),
];
const NETWORK: &str = "SQLite's log needs shared memory and locks that network file systems do not keep";

/// Who has the store, if somebody has.
pub(super) fn look(config: &ServerConfig, lines: &mut Lines) -> Result<Option<String>, Trouble> {
    let place = place(config);
    if matches!(place, Ok(Place::Sqlite(_))) {
        capabilities(config, lines);
    }
    let dir = &config.data_dir;
    // What is not there yet is made in the nearest folder that is.
    let Some(there) = dir.ancestors().map(here).find(|path| path.exists()) else {
        lines.fail(
            "data",
            format!("no folder above {} exists", dir.display()),
            "choose another with --data-dir DIR",
        );
        return Ok(None);
    };
    let shown = there.display();
    if !there.is_dir() {
        let text = format!("{shown} is no folder");
        lines.fail(
            "data",
            text,
            "move it away, or choose another with --data-dir DIR",
        );
        return Ok(None);
    }
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there == here(dir) => lines.ok("data", format!("{shown} can be written to")),
        Ok(()) => lines.ok("data", format!("{} is made by the first start", dir.display())),
        Err(error) => lines.fail(
            "data",
            format!("{shown} cannot be written to: {error}"),
            "give it to the server's user (chown), or choose another with --data-dir DIR",
        ),
    }
    let database = match place {
        Ok(Place::Sqlite(path)) => path,
        Ok(Place::Postgres(target)) => return Ok(database::postgres(config, &target, lines)),
        Ok(Place::Mysql(target)) => return Ok(database::mysql(config, &target, lines)),
        Err(trouble) => {
            lines.fail("store", trouble.to_string(), "mend store.url");
            return Ok(None);
        }
    };
    file_system(there, config, lines);
    match care::check(&database, Thoroughness::Quick) {
        Ok(report) => Ok(tell(report, lines)),
        Err(error) if error.kind == CareErrorKind::NotFound => {
            lines.ok("store", "there is no task store yet; the first start makes one");
            Ok(None)
        }
        Err(error) => {
            lines.fail(
                "store",
                error.whole(),
                "see that this user may read and write the data folder",
            );
            Ok(None)
        }
    }
}

fn here(path: &Path) -> &Path {
    if path == Path::new("") {
        Path::new(".")
    } else {
        path
    }
}

fn capabilities(config: &ServerConfig, lines: &mut Lines) {
    let durability = match config.durability {
        Durability::Fsync => cresset_queue_sql::Durability::Fsync,
        Durability::Os => cresset_queue_sql::Durability::Os,
    };
    let remedy = "store.durability = \"fsync\" makes a 202 wait for the disk";
    tell_capabilities(&SqliteStore::capabilities_with(durability), remedy, lines);
}

/// What a backend can do; where it may lose what it accepted, with what to do about that.
pub(super) fn tell_capabilities(can: &Capabilities, remedy: &str, lines: &mut Lines) {
    let yes = |name: &'static str, can: bool| format!("{name} {}", if can { "yes" } else { "no" });
    let text = [
        yes("one transaction for a task's end", can.one_transaction),
        yes("priorities", can.priorities),
        yes("delays", can.delays),
        yes("several servers", can.shared),
        yes("an inbox", can.inbox),
        yes("survives power loss", can.durable),
    ];
    let text = format!("{}: {}", can.name, text.join(", "));
    if can.durable {
        lines.ok("backend", text);
    } else {
        lines.warn("backend", text, remedy);
    }
}

fn file_system(path: &Path, config: &ServerConfig, lines: &mut Lines) {
    let kind = statfs(path).ok().map(|stat| {
        #[expect(clippy::unnecessary_cast, reason = "its type differs from machine to machine")]
        let number = stat.f_type as i64;
        FILE_SYSTEMS
            .iter()
            .find(|(known, ..)| *known == number & 0xffff_ffff)
    });
    match kind {
        Some(Some((_, name, None))) => lines.ok("file system", *name),
        Some(Some((_, name, Some(why)))) => {
            lines.warn(
                "file system",
                format!("{name}: {why}"),
                "put the data folder on a local disk (--data-dir DIR)",
            );
        }
        Some(None) => lines.ok("file system", "of a kind of which nothing is known here"),
        None => lines.warn(
            "file system",
            "it does not tell its kind",
            "see that it is a local disk",
        ),
    }
    let Ok(stat) = statvfs(path) else { return };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let budget = config.max_spool_bytes;
    let text = format!(
        "{} free; bodies on their way may take {}",
        size(free),
        size(budget)
    );
    if free < FREE_LEAST {
        lines.fail("space", text, "make room: a full disk refuses every submit");
    } else if free < budget {
        lines.warn(
            "space",
            text,
            "make room, or lower server.max_spool_bytes and the models' limits.max_queue_bytes",
        );
    } else {
        lines.ok("space", text);
    }
}

/// Below this a store cannot work for long: its log alone may grow to this.
const FREE_LEAST: u64 = 64 << 20;

fn tell(report: care::Report, lines: &mut Lines) -> Option<String> {
    let sound = report.is_sound();
    for finding in report.findings {
        match finding.severity {
            Severity::Problem => lines.fail("store", finding.text, finding.remedy),
            Severity::Note => lines.ok("store", format!("{}; {}", finding.text, finding.remedy)),
        }
    }
    if let (true, Some(tasks), Some(schema)) = (sound, report.tasks, report.schema) {
        lines.ok(
            "store",
            format!(
                "schema {schema}, {} open tasks, {} ended, {} payload files; a quick check found no problem",
                tasks.open, tasks.ended, report.files
            ),
        );
    }
    match &report.in_use_by {
        Some(who) => lines.ok("lock", who.clone()),
        None => lines.ok("lock", "no server has the store"),
    }
    report.in_use_by
}
