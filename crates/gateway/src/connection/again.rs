//! A future that wakes itself while it is polled is polled again at once.
//!
//! hyper's connection does so for every request with a body: the handler asks for the body while the connection is being
//! polled, and the connection is woken to read it. To the runtime a task that wakes itself gives way to others: it goes to the
//! end of the queue, and another thread is woken for it. Here it stays where it is, a bounded number of times.
//!
//! What must not happen here: anything that knows of HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// So often in all before it gives way after all.
const POLLS_MAX: usize = 3;

/// Nobody polls, and nobody has woken it since.
const IDLE: u8 = 0;
/// It is being polled, and has not been woken since that began.
const POLLED: u8 = 1;
/// It has been woken since it was last polled, or since that began.
const WOKEN: u8 = 2;

/// Goes with one future, from its first poll to its end.
pub(super) struct Again {
    state: Arc<State>,
    waker: Waker,
}

impl Default for Again {
    fn default() -> Self {
        let state = Arc::<State>::default();
        let waker = Waker::from(Arc::clone(&state));
        Self { state, waker }
    }
}

#[derive(Default)]
struct State {
    stand: AtomicU8,
    /// Of the task that polls.
    task: AtomicWaker,
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Whoever polls now looks at this afterwards; a task that has been woken already will come.
        if self.stand.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

impl Again {
    /// Polls, and polls again when that has woken itself.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let State { stand, task } = &*self.state;
        task.register(cx.waker());
        let mut inner = Context::from_waker(&self.waker);
        for _ in 0..POLLS_MAX {
            stand.swap(POLLED, Ordering::AcqRel);
            if let Poll::Ready(done) = poll(&mut inner) {
                return Poll::Ready(done);
            }
            let rests = stand.compare_exchange(POLLED, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if rests.is_ok() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::task::JoinSet;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls once a future that wakes itself so many times and then waits; gives how often it was polled, how often its task was
    /// woken, and its waker.
    fn waking_itself(times: usize) -> (usize, usize, Waker) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut again = Again::default();
        let (mut polls, mut kept) = (0, None);
        let polled = again.poll(&mut Context::from_waker(&waker), |cx| {
            polls += 1;
            if polls <= times {
                cx.waker().wake_by_ref();
            }
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        let told = woken.0.load(Ordering::Relaxed);
        let kept = kept.unwrap();
        kept.wake_by_ref();
        kept.wake_by_ref();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "woken once, however often");
        (polls, told, kept)
    }

    #[test]
    fn who_wakes_itself_is_polled_again_and_its_task_hears_nothing_of_it() {
        let (polls, told, _) = waking_itself(0);
        assert_eq!((polls, told), (1, 0));
        let (polls, told, _) = waking_itself(1);
        assert_eq!((polls, told), (2, 0));
        let (polls, told, _) = waking_itself(POLLS_MAX - 1);
        assert_eq!((polls, told), (POLLS_MAX, 0));
    }

    #[test]
    fn who_goes_on_waking_itself_gives_way() {
        for times in [POLLS_MAX, 100] {
            let (polls, told, _) = waking_itself(times);
            assert_eq!((polls, told), (POLLS_MAX, 1));
        }
    }

    #[test]
    fn the_task_that_polls_now_is_the_one_that_is_woken() {
        let tasks = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let mut again = Again::default();
        let mut kept = None;
        for task in &tasks {
            let waker = Waker::from(Arc::clone(task));
            let polled = again.poll(&mut Context::from_waker(&waker), |cx| {
                kept = Some(cx.waker().clone());
                Poll::<()>::Pending
            });
            assert!(polled.is_pending());
        }
        kept.unwrap().wake();
        assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [0, 1]);
    }

    /// Were one wake lost the two would stand still.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_of_another_thread_is_lost() {
        const TURNS: usize = 100_000;
        let turn = Arc::new((AtomicUsize::new(0), AtomicWaker::new(), AtomicWaker::new()));
        let mut sides = JoinSet::new();
        for mine in [0, 1] {
            let turn = Arc::clone(&turn);
            let mut again = Again::default();
            let mut play = move |cx: &mut Context<'_>| {
                let (count, even, odd) = &*turn;
                let (here, there) = if mine == 0 { (even, odd) } else { (odd, even) };
                here.register(cx.waker());
                let now = count.load(Ordering::Acquire);
                if now >= TURNS {
                    there.wake();
                    return Poll::Ready(());
                }
                if now % 2 == mine {
                    count.store(now + 1, Ordering::Release);
                    there.wake();
                }
                Poll::Pending
            };
            sides.spawn(poll_fn(move |cx| again.poll(cx, &mut play)));
        }
        sides.join_all().await;
    }
}
