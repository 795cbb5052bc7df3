//! A disk that fails when told to: SQLite's own file system layer, with writes and flushes that can be made to fail.
//!
//! It is made the process's default, so the store under test knows nothing of it. Only what happens to a database and its
//! log is counted and failed; other files, and databases outside the chosen folder, are left alone.
#![expect(
    unsafe_code,
    reason = "SQLite's file system layer is a table of C functions; there is no other way in"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, MutexGuard, Once, OnceLock};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

/// Which calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// Writes and truncations.
    Writes,
    /// Flushes.
    Syncs,
    /// Both.
    Any,
}

/// Which files' calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Log,
    Database,
    Either,
}

/// What is to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) of: Of,
    pub(crate) calls: Calls,
    /// So many such calls succeed first.
    pub(crate) after: usize,
    /// Then so many fail.
    pub(crate) times: usize,
    /// A write fails with this; a flush always with an I/O error.
    pub(crate) full: bool,
}

#[derive(Default)]
struct Plan {
    folder: Option<PathBuf>,
    fault: Option<Fault>,
    seen: usize,
    fired: usize,
}

static PLAN: Mutex<Plan> = Mutex::new(Plan {
    folder: None,
    fault: None,
    seen: 0,
    fired: 0,
});
static ONE_TEST: Mutex<()> = Mutex::new(());
// Logs and databases have different tables: only a database is locked.
static LOGS: OnceLock<&'static sqlite3_io_methods> = OnceLock::new();
static DATABASES: OnceLock<&'static sqlite3_io_methods> = OnceLock::new();
static OF_LOGS: OnceLock<sqlite3_io_methods> = OnceLock::new();
static OF_DATABASES: OnceLock<sqlite3_io_methods> = OnceLock::new();
static PARENT: OnceLock<Parent> = OnceLock::new();

struct Parent(*mut sqlite3_vfs);
// SAFETY: SQLite's own layers live as long as the process and may be called from any thread.
unsafe impl Send for Parent {}
// SAFETY: as above; nothing is written through the pointer.
unsafe impl Sync for Parent {}

/// The disk below one folder, for one test at a time.
pub(crate) struct Disk {
    _alone: MutexGuard<'static, ()>,
}

impl Disk {
    /// Databases opened below this folder from now on are on a disk that can fail.
    pub(crate) fn below(folder: &Path) -> Self {
        let alone = ONE_TEST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        register();
        *plan() = Plan {
            folder: Some(folder.canonicalize().unwrap()),
            ..Plan::default()
        };
        Self { _alone: alone }
    }

    /// From now on this fails.
    pub(crate) fn fail(&self, fault: Fault) {
        let mut plan = plan();
        (plan.fault, plan.seen, plan.fired) = (Some(fault), 0, 0);
    }

    /// The disk is well again; how many calls have failed.
    pub(crate) fn mend(&self) -> usize {
        let mut plan = plan();
        plan.fault = None;
        plan.fired
    }

    /// How many calls have failed since [`fail`](Self::fail).
    pub(crate) fn failed(&self) -> usize {
        plan().fired
    }
}

fn plan() -> MutexGuard<'static, Plan> {
    PLAN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What this call is to answer instead of being made.
fn verdict(is_log: bool, is_sync: bool) -> Option<c_int> {
    let mut plan = plan();
    let fault = plan.fault?;
    let meant = match fault.of {
        Of::Log => is_log,
        Of::Database => !is_log,
        Of::Either => true,
    } && match fault.calls {
        Calls::Writes => !is_sync,
        Calls::Syncs => is_sync,
        Calls::Any => true,
    };
    if !meant {
        return None;
    }
    plan.seen += 1;
    if plan.seen <= fault.after || plan.fired >= fault.times {
        return None;
    }
    plan.fired += 1;
    Some(match (is_sync, fault.full) {
        (true, _) => ffi::SQLITE_IOERR_FSYNC,
        (false, true) => ffi::SQLITE_FULL,
        (false, false) => ffi::SQLITE_IOERR_WRITE,
    })
}

fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default layer is a valid table that lives as long as the process; the copy differs in its name and its
        // way to open, is never freed, and so may be registered.
        unsafe {
            let parent = ffi::sqlite3_vfs_find(ptr::null());
            assert!(!parent.is_null());
            assert!(PARENT.set(Parent(parent)).is_ok());
            let mut own = *parent;
            own.zName = CString::new("failing").unwrap().into_raw();
            own.pNext = ptr::null_mut();
            own.xOpen = Some(open);
            let own = Box::leak(Box::new(own));
            assert_eq!(ffi::sqlite3_vfs_register(own, 1), ffi::SQLITE_OK);
        }
    });
}

unsafe extern "C" fn open(
    _own: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let parent = PARENT.get().unwrap().0;
    // SAFETY: the arguments are SQLite's, handed on as they came; `file` has the room that the parent asked for, as our table
    // has its size.
    unsafe {
        let code = ((*parent).xOpen.unwrap())(parent, name, file, flags, flags_out);
        if code != ffi::SQLITE_OK || name.is_null() || (*file).pMethods.is_null() {
            return code;
        }
        let ours = plan()
            .folder
            .as_ref()
            .is_some_and(|folder| Path::new(&*CStr::from_ptr(name).to_string_lossy()).starts_with(folder));
        let is_log = flags & ffi::SQLITE_OPEN_WAL != 0;
        if ours && (is_log || flags & ffi::SQLITE_OPEN_MAIN_DB != 0) {
            let (original, table) = if is_log {
                (&LOGS, &OF_LOGS)
            } else {
                (&DATABASES, &OF_DATABASES)
            };
            let original = *original.get_or_init(|| &*(*file).pMethods);
            assert!(
                ptr::eq(original, (*file).pMethods),
                "files of a kind have one table"
            );
            (*file).pMethods = table.get_or_init(|| sqlite3_io_methods {
                xWrite: Some(if is_log { write_log } else { write_database }),
                xTruncate: Some(if is_log { truncate_log } else { truncate_database }),
                xSync: Some(if is_log { sync_log } else { sync_database }),
                ..*original
            });
        }
        code
    }
}

macro_rules! calls {
    ($original:ident, $is_log:literal, $write:ident, $truncate:ident, $sync:ident) => {
        unsafe extern "C" fn $write(
            file: *mut sqlite3_file,
            from: *const c_void,
            length: c_int,
            at: i64,
        ) -> c_int {
            verdict($is_log, false).unwrap_or_else(|| {
                // SAFETY: the file was opened by the layer whose function this is.
                unsafe { ($original.get().unwrap().xWrite.unwrap())(file, from, length, at) }
            })
        }

        unsafe extern "C" fn $truncate(file: *mut sqlite3_file, size: i64) -> c_int {
            verdict($is_log, false).unwrap_or_else(|| {
                // SAFETY: as above.
                unsafe { ($original.get().unwrap().xTruncate.unwrap())(file, size) }
            })
        }

        unsafe extern "C" fn $sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
            verdict($is_log, true).unwrap_or_else(|| {
                // SAFETY: as above.
                unsafe { ($original.get().unwrap().xSync.unwrap())(file, flags) }
            })
        }
    };
}

calls!(LOGS, true, write_log, truncate_log, sync_log);
calls!(DATABASES, false, write_database, truncate_database, sync_database);
