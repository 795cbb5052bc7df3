//! A bounded queue from async callers to plain threads.
//!
//! `tokio`'s channel has no receive with a time limit outside a runtime, and the writer needs one to notice that it is
//! idle; `std`'s has no async send. So: `std`'s channel, and a semaphore that counts its free places.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

/// The inbox takes nothing any more: closed, or its thread has ended.
#[derive(Debug)]
pub(crate) struct Closed;

/// The callers' side.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    places: Arc<Semaphore>,
    // None once closed, so that the thread sees the end after it has emptied the queue.
    sender: Mutex<Option<Sender<Item<T>>>>,
}

/// The thread's side.
#[derive(Debug)]
pub(crate) struct Outlet<T> {
    places: Arc<Semaphore>,
    receiver: Receiver<Item<T>>,
}

/// What the thread finds.
#[derive(Debug)]
pub(crate) enum Received<T> {
    /// Work.
    Work(T),
    /// Somebody left something elsewhere and asks to look.
    Nudge,
    /// Nothing now, or nothing within the time limit.
    Nothing,
    /// Closed and empty.
    End,
}

#[derive(Debug)]
enum Item<T> {
    Work(T),
    Nudge,
}

/// A pair with so many places.
pub(crate) fn inbox<T>(places: usize) -> (Inbox<T>, Outlet<T>) {
    let places = Arc::new(Semaphore::new(places));
    let (sender, receiver) = mpsc::channel();
    (
        Inbox {
            places: Arc::clone(&places),
            sender: Mutex::new(Some(sender)),
        },
        Outlet { places, receiver },
    )
}

impl<T> Inbox<T> {
    /// Waits for a place, then sends. Cancel-safe: a send that was dropped has sent nothing.
    pub(crate) async fn send(&self, work: T) -> Result<(), Closed> {
        // The place is given back by the thread, when it takes the work out.
        self.places.acquire().await.map_err(|_| Closed)?.forget();
        self.push(Item::Work(work))
    }

    /// Wakes the thread. Takes no place: the caller sees to it that few are under way.
    pub(crate) fn nudge(&self) -> Result<(), Closed> {
        self.push(Item::Nudge)
    }

    fn push(&self, item: Item<T>) -> Result<(), Closed> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().ok_or(Closed)?.send(item).map_err(|_| Closed)
    }

    /// Takes no more; what is queued is still worked off. Closed first, and then those are woken who wait for a place: they
    /// ask at once whether it was closed, or its thread died.
    pub(crate) fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.places.close();
    }

    /// True after [`Self::close`]; a thread that ended by itself does not make it so.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }
}

impl<T> Outlet<T> {
    /// Waits as long as it takes.
    pub(crate) fn recv(&self) -> Received<T> {
        self.receiver.recv().map_or(Received::End, |item| self.took(item))
    }

    /// Does not wait.
    pub(crate) fn try_recv(&self) -> Received<T> {
        match self.receiver.try_recv() {
            Ok(item) => self.took(item),
            Err(TryRecvError::Empty) => Received::Nothing,
            Err(TryRecvError::Disconnected) => Received::End,
        }
    }

    /// Waits so long.
    pub(crate) fn recv_timeout(&self, limit: Duration) -> Received<T> {
        match self.receiver.recv_timeout(limit) {
            Ok(item) => self.took(item),
            Err(RecvTimeoutError::Timeout) => Received::Nothing,
            Err(RecvTimeoutError::Disconnected) => Received::End,
        }
    }

    fn took(&self, item: Item<T>) -> Received<T> {
        match item {
            Item::Work(work) => {
                self.places.add_permits(1);
                Received::Work(work)
            }
            Item::Nudge => Received::Nudge,
        }
    }
}

impl<T> Drop for Outlet<T> {
    /// A thread that ended, even by a panic, must not leave callers waiting for places.
    fn drop(&mut self) {
        self.places.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_inbox_makes_senders_wait_for_a_place() {
        let (inbox, outlet) = inbox(1);
        inbox.send(1).await.unwrap();
        let mut second = Box::pin(inbox.send(2));
        assert!(tokio::time::timeout(Duration::ZERO, &mut second).await.is_err());
        assert!(matches!(outlet.recv(), Received::Work(1)));
        second.await.unwrap();
        inbox.nudge().unwrap();
        inbox.close();
        assert!(matches!(outlet.recv(), Received::Work(2)));
        assert!(matches!(outlet.recv(), Received::Nudge));
        assert!(matches!(outlet.recv(), Received::End));
        assert!(inbox.send(3).await.is_err());
    }

    /// Looks, when it is woken, at what whoever is woken would see.
    struct Looks {
        inbox: Arc<Inbox<i32>>,
        saw: Mutex<Vec<bool>>,
    }

    impl std::task::Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.saw.lock().unwrap().push(self.inbox.is_closed());
        }
    }

    #[test]
    fn who_waited_for_a_place_finds_it_closed() {
        let (inbox, _outlet) = inbox(0);
        let looks = Arc::new(Looks {
            inbox: Arc::new(inbox),
            saw: Mutex::default(),
        });
        let waker = std::task::Waker::from(Arc::clone(&looks));
        let mut waiting = Box::pin(looks.inbox.send(1));
        let mut poll = || waiting.as_mut().poll(&mut std::task::Context::from_waker(&waker));
        assert!(poll().is_pending());
        looks.inbox.close();
        assert_eq!(*looks.saw.lock().unwrap(), [true]);
        assert!(matches!(poll(), std::task::Poll::Ready(Err(Closed))));
    }

    #[tokio::test]
    async fn a_thread_that_ended_leaves_no_sender_waiting() {
        let (inbox, outlet) = inbox(1);
        inbox.send(1).await.unwrap();
        drop(outlet);
        assert!(inbox.send(2).await.is_err());
    }
}
