//! Memory of large answers on their way to those who read them.
//!
//! An answer is made whole, and is in memory until its reader has taken it, for which `server.write_timeout` gives a while. So
//! many slow readers of large results hold much, and one more is refused: its result stays where it is.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::Response;

use crate::app::App;
use crate::problem::Answer;
use crate::upload::Held;

/// Smaller ones are not counted: connections bound their number.
const COUNTED_BYTES: u64 = 64 << 10;

/// An answer's part of the memory for answers. It travels with the answer, as an extension, and is kept by the connection
/// until the socket has taken the last byte: hyper lets go of a body as soon as it has copied it.
#[derive(Clone, Debug)]
pub(crate) struct Share(#[expect(dead_code, reason = "held for its drop")] Arc<Held>);

/// The answer, with its share; refused where there is none.
pub(crate) fn counted(app: &App, mut response: Response<Body>) -> Answer {
    let Some(bytes) = HttpBody::size_hint(response.body()).exact() else {
        return Ok(response); // a stream, which makes one piece at a time
    };
    if bytes < COUNTED_BYTES {
        return Ok(response);
    }
    let limit = app.options.max_inflight_answer_bytes;
    let mut share = app.answers.share();
    // One that alone is larger takes all of it.
    share.grow(usize::try_from(bytes).unwrap_or(usize::MAX).min(limit))?;
    response.extensions_mut().insert(Share(Arc::new(share)));
    Ok(response)
}
