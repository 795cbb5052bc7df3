//! Doing what must be done although a service is away for the moment: again and again, ever more slowly, until it is done or
//! the door closes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::transport::Trouble;

/// Between the first two tries; the wait doubles.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait: a service that is back is used soon.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// The door has closed before it was done.
pub(crate) struct Abandoned;

/// Waits that grow.
pub(crate) struct Waits(Duration);

impl Waits {
    pub(crate) fn new() -> Self {
        Self(FIRST_WAIT)
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST_WAIT);
        wait
    }
}

/// Does it until it succeeds. `abandon` ends the tries.
pub(crate) async fn insist<T, F>(
    abandon: &CancellationToken,
    what: &'static str,
    mut act: impl FnMut() -> F,
) -> Result<T, Abandoned>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let mut waits = Waits::new();
    let mut said = false;
    loop {
        // What is under way may take as long as a broker likes.
        let tried = tokio::select! {
            biased;
            tried = act() => tried,
            () = abandon.cancelled() => return Err(Abandoned),
        };
        match tried {
            Ok(done) => return Ok(done),
            Err(error) if !said => {
                tracing::warn!(error = %error, what, "service cannot be used; it is tried again");
                said = true;
            }
            Err(error) => tracing::debug!(error = %error, what, "service still cannot be used"),
        }
        tokio::select! {
            () = tokio::time::sleep(waits.next()) => {}
            () = abandon.cancelled() => return Err(Abandoned),
        }
    }
}
