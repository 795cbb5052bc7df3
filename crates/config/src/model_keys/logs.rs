//! Who may read what it writes about its tasks.

use super::{Draft, key};
use crate::field::{Field, Key};

/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[key(
    "logs.callers",
    flag!(logs.callers),
    "Whoever may read a task may follow the lines too that the model writes about it (`cresset.current().log`, \
     `cresset.TaskLogHandler`). Without it only keys with the scope `admin` may, or everyone where no keys are needed.",
)];
