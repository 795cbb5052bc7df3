//! A wire between a store and its database that can be cut at the worst moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// What is read at a time.
const READ_BYTES: usize = 1 << 16;

/// Whether these bytes are all that is answered to a commit, and to what it came with.
pub type IsAnswer = fn(&[u8]) -> bool;

struct State {
    /// How a commit looks on the wire.
    commit: &'static [u8],
    is_answer: IsAnswer,
    cut_after_commit: AtomicBool,
    is_closed: AtomicBool,
    /// Wires on which this is said are cut before it is heard: so many.
    cut_at: Mutex<Option<(&'static [u8], usize)>>,
    /// The database's ends of those: it has not noticed.
    unnoticed: Mutex<Vec<TcpStream>>,
}

impl State {
    fn is_cut_at(&self, bytes: &[u8]) -> bool {
        let mut at = self.cut_at.lock().unwrap();
        let Some((words, left)) = at.as_mut().filter(|(_, left)| *left > 0) else {
            return false;
        };
        let is_said = bytes.windows(words.len()).any(|window| window == *words);
        *left -= usize::from(is_said);
        is_said
    }
}

/// Passes on everything, until it is told otherwise.
pub struct Proxy {
    /// Where it listens, on this machine.
    pub port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// One to this database, in whose protocol a commit looks so, and what is an answer to it.
    pub async fn to(address: (String, u16), commit: &'static [u8], is_answer: IsAnswer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            commit,
            is_answer,
            cut_after_commit: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            cut_at: Mutex::default(),
            unnoticed: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let tasks = TaskTracker::new();
        let wires = tasks.clone();
        tasks.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if shared.is_closed.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect((&*address.0, address.1)).await.unwrap();
                wires.spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Self { port, state }
    }

    /// The next commit is carried out, and nobody hears of it: its wire is cut. `and_close` refuses connections from then on.
    pub fn cut_after_commit(&self, and_close: bool) {
        self.state.is_closed.store(and_close, Ordering::SeqCst);
        self.state.cut_after_commit.store(true, Ordering::SeqCst);
    }

    /// The next wires on which this is said are cut before the database hears it; it does not notice.
    pub fn cut_at(&self, words: &'static [u8], times: usize) {
        *self.state.cut_at.lock().unwrap() = Some((words, times));
    }

    /// How many of them are still to be cut.
    #[must_use]
    pub fn cuts_left(&self) -> usize {
        self.state.cut_at.lock().unwrap().map_or(0, |(_, left)| left)
    }

    /// Connections are taken again.
    pub fn open(&self) {
        self.state.is_closed.store(false, Ordering::SeqCst);
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, state: Arc<State>) {
    let (mut from_client, mut from_server) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let bytes = match read {
                    Ok(0) | Err(_) => return,
                    Ok(count) => &from_client[..count],
                };
                if state.is_cut_at(bytes) {
                    state.unnoticed.lock().unwrap().push(server);
                    return;
                }
                server.write_all(bytes).await.unwrap();
                let commits = bytes.windows(state.commit.len()).any(|window| window == state.commit);
                if commits && state.cut_after_commit.swap(false, Ordering::SeqCst) {
                    // The answer says that it is done.
                    let mut answer = Vec::new();
                    while !(state.is_answer)(&answer) {
                        let read = server.read(&mut from_server).await.unwrap();
                        assert!(read > 0, "the database answers a commit");
                        answer.extend_from_slice(&from_server[..read]);
                    }
                    return;
                }
            }
            read = server.read(&mut from_server) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) if client.write_all(&from_server[..count]).await.is_err() => return,
                Ok(_) => {}
            },
        }
    }
}
