//! Work that is done to its end even when whoever asked for it goes away.
//!
//! What the store has begun it finishes, and then somebody must know of it: a task that has been accepted has to be run, also
//! when its caller hung up a moment before the answer. So a future that is dropped in the middle is handed to the engine.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Such work.
pub(crate) struct Errand<T: Send + 'static> {
    /// Until it is done.
    work: Option<Work<T>>,
    tracker: TaskTracker,
}

impl<T: Send + 'static> Errand<T> {
    pub(crate) fn new(tracker: &TaskTracker, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            work: Some(Box::pin(work)),
            tracker: tracker.clone(),
        }
    }
}

impl<T: Send + 'static> Future for Errand<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else {
            return Poll::Pending; // polled again after its end
        };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Errand<T> {
    fn drop(&mut self) {
        // Without a runtime the process is at its end, and the store is all that is left.
        if let Some(work) = self.work.take()
            && Handle::try_current().is_ok()
        {
            self.tracker.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_is_done_and_what_was_not_is_done_too() {
        for polls in 0..2 {
            let tracker = TaskTracker::new();
            let (go, gone) = oneshot::channel::<()>();
            let (tell, told) = oneshot::channel();
            let mut errand = Box::pin(Errand::new(&tracker, async move {
                gone.await.unwrap();
                tell.send(7).unwrap();
            }));
            for _ in 0..polls {
                let polled = std::future::poll_fn(|cx| Poll::Ready(errand.as_mut().poll(cx))).await;
                assert!(polled.is_pending());
            }
            drop(errand);
            go.send(()).unwrap();
            assert_eq!(told.await, Ok(7));
            tracker.close();
            tracker.wait().await;
        }
    }

    #[tokio::test]
    async fn who_stays_gets_the_answer() {
        let tracker = TaskTracker::new();
        assert_eq!(Errand::new(&tracker, async { 7 }).await, 7);
        assert!(tracker.is_empty());
    }
}
