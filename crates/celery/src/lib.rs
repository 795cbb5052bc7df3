//! What Celery's parties say to each other, as text and bytes: task messages in, results, events, replies to remote control and
//! further task messages out. Pure: no clock, no I/O, no randomness; whoever calls brings the time and new ids.
//!
//! Everything from a broker is foreign: readers are bounded, never panic, and say what is wrong in words for the log and, where
//! the sender can be told, as an exception for it. Pickle is never read.

mod again;
mod bind;
mod body;
mod call;
mod canvas;
mod compress;
mod control;
mod envelope;
mod event;
mod exception;
mod head;
mod joined;
mod message;
mod meta;
mod msgpack;
mod ours;
mod parcel;
mod pickle;
mod python;
mod read;
mod row;
mod signature;
mod text;
mod time;
mod told;

pub use bind::{Parameter, bind};
pub use body::{BODY_BYTES_MAX, BODY_DEPTH_MAX, Body, Embed};
pub use call::Call;
pub use canvas::{CANVAS_MAX, ChordSize, Next, Outgoing, Plan, UNLOCK};
pub use control::{Request, Target, reply, revoke};
pub use envelope::{BadEnvelope, Route, read_envelope, write_envelope};
pub use event::{Event, Identity, TaskEvent};
pub use exception::Exception;
pub use head::Head;
pub use joined::{join, joined_len, read_answers};
pub use message::{JSON, MSGPACK, Message, Properties};
pub use meta::{Meta, Status};
pub use ours::{Cargo, Sending, is_tensors, trace_of, write_tensors};
pub use parcel::{PARCEL_BYTES_MAX, PARCEL_LOST, Parcel};
pub use pickle::pickle;
pub use python::{repr_str, repr_strs};
pub use read::{Task, Unread, read};
pub use row::{Cell, Row, celery_row, django_row};
pub use signature::{BadSignature, Signature};
pub use time::{parse_time, show_sql_time, show_time};
pub use told::{Told, read_published, read_sent, read_stored};
