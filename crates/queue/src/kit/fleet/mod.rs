//! What stores have in common that several servers share: what a group comes to, how that is told to the others, what is done with
//! what is heard of them, and when one of them is taken for ended.
//!
//! ```text
//!   a group -> Tally -> pieces of text, in its transaction      (how they get to the others is each database's own)
//!   the others' -> Note -> Heard -> take_in: counts first, then Board -> whoever asks for news
//! ```
//!
//! What must not happen here: a query. What is asked of the database is behind the trait [`Fleet`].

mod board;
mod hear;
mod member;
mod notes;
mod silence;
mod tally;

pub use self::board::Board;
pub use self::hear::{Fleet, HEARD_MAX, Heard, hear, take_in};
pub use self::member::{ENDED_KEPT_MICROS, Fate, UNSAID, own_name};
pub use self::notes::{COUNT_ANEW, Note, SAID, pieces};
pub use self::silence::{GRACE, LOOK_EVERY, SILENT_LIMIT, Silences};
pub use self::tally::{Moved, Tally};
