//! Sentinels and servers that say what a test has them say.

use cresset_config::{Celery, ServiceUrl};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::*;
use crate::redis::{Line, Server};

/// What one of them is.
#[derive(Clone)]
enum Is {
    /// A sentinel that names the server at this port, or knows no master.
    Sentinel(Option<u16>),
    Master(&'static str),
    Replica,
    /// It is there, and says nothing.
    Mute,
}

/// One of them.
struct Fake {
    port: u16,
    is: watch::Sender<Is>,
    asked: watch::Sender<usize>,
}

impl Fake {
    async fn start(house: &TaskTracker, is: Is) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Self {
            port: listener.local_addr().unwrap().port(),
            is: watch::Sender::new(is),
            asked: watch::Sender::new(0),
        });
        let (one, tracker) = (Arc::clone(&fake), house.clone());
        house.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tracker.spawn(Arc::clone(&one).serve(stream));
            }
        });
        fake
    }

    fn becomes(&self, is: Is) {
        self.is.send_replace(is);
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let (read, mut write) = stream.split();
        let mut read = BufReader::new(read);
        while let Some(words) = command(&mut read).await {
            let is = self.is.borrow().clone();
            let reply = match (words[0].to_uppercase().as_str(), &is) {
                (_, Is::Mute) => continue,
                ("CLIENT", _) => "+OK\r\n".to_owned(),
                ("SENTINEL", Is::Sentinel(named)) => {
                    self.asked.send_modify(|asked| *asked += 1);
                    assert_eq!(words[1..], ["get-master-addr-by-name", "mymaster"]);
                    match named.map(|port| port.to_string()) {
                        Some(port) => format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len()),
                        None => "*-1\r\n".into(),
                    }
                }
                ("ROLE", Is::Master(_)) => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".into(),
                ("ROLE", Is::Replica) => {
                    "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:0\r\n".into()
                }
                ("INFO", Is::Master(life)) => format!("${}\r\nrun_id:{life}\r\n", life.len() + 7),
                ("ECHO", Is::Master(life)) => format!("${}\r\n{life}\r\n", life.len()),
                ("ECHO", Is::Replica) => "-READONLY You can't write against a read only replica.\r\n".into(),
                (word, _) => format!("-ERR unknown command '{word}'\r\n"),
            };
            if write.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// The words of the next command.
async fn command(read: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..number(read, '*').await? {
        let mut word = vec![0; number(read, '$').await? + 2];
        read.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
    }
    Some(words)
}

async fn number(read: &mut (impl AsyncBufRead + Unpin), mark: char) -> Option<usize> {
    let mut line = String::new();
    read.read_line(&mut line).await.ok()?;
    line.strip_prefix(mark)?.trim().parse().ok()
}

/// What a test talks through, by these sentinels.
struct Talk {
    house: TaskTracker,
    leave: CancellationToken,
    server: Server,
    line: Line,
}

impl Talk {
    fn with(house: TaskTracker, ports: &[u16]) -> Self {
        let ports = ports.iter().map(|port| format!("sentinel://127.0.0.1:{port}/0"));
        let url = ServiceUrl::new(&format!(
            "{}?master_name=mymaster",
            ports.collect::<Vec<_>>().join(";")
        ));
        let leave = CancellationToken::new();
        let server = Server::open("broker", &url, &Celery::default(), &house, &leave).unwrap();
        let line = server.line().unwrap();
        Self {
            house,
            leave,
            server,
            line,
        }
    }

    /// Who has done it.
    async fn echo(&self) -> Result<String, String> {
        let done = redis::cmd("ECHO")
            .arg("x")
            .query_async::<String>(&mut self.line.clone())
            .await;
        done.map_err(|error| error.to_string())
    }

    fn moves(&self) -> u64 {
        *self.server.moves().borrow()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.leave.cancel();
        self.house.close();
    }
}

/// A port at which nobody is.
async fn nobody() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test]
async fn the_first_sentinel_that_knows_a_real_master_is_asked_first_from_then_on() {
    let house = TaskTracker::new();
    let master = Fake::start(&house, Is::Master("a")).await;
    let replica = Fake::start(&house, Is::Replica).await;
    let behind = Fake::start(&house, Is::Sentinel(Some(replica.port))).await;
    let stranger = Fake::start(&house, Is::Sentinel(None)).await;
    let right = Fake::start(&house, Is::Sentinel(Some(master.port))).await;
    let first = nobody().await;
    let talk = Talk::with(house, &[first, behind.port, stranger.port, right.port]);
    assert_eq!(
        talk.server.place(),
        format!("127.0.0.1:{first}"),
        "no master is known yet"
    );
    assert_eq!(talk.echo().await.unwrap(), "a");
    assert_eq!(talk.server.place(), format!("127.0.0.1:{}", master.port));
    assert_eq!((behind.asked(), stranger.asked()), (1, 1));
    master.becomes(Is::Replica);
    assert!(
        talk.echo().await.unwrap_err().contains("read only"),
        "whoever asks tries again"
    );
    replica.becomes(Is::Master("b"));
    right.becomes(Is::Sentinel(Some(replica.port)));
    assert_eq!((talk.echo().await.unwrap(), talk.moves()), ("b".into(), 1));
    assert_eq!(
        (behind.asked(), stranger.asked()),
        (1, 1),
        "the one that was right is asked first"
    );
}

#[tokio::test]
async fn an_error_says_whom_each_sentinel_names() {
    let house = TaskTracker::new();
    let replica = Fake::start(&house, Is::Replica).await;
    let gone = nobody().await;
    let mut ports = vec![nobody().await];
    for is in [
        Is::Sentinel(Some(replica.port)),
        Is::Sentinel(Some(gone)),
        Is::Sentinel(Some(replica.port)),
        Is::Sentinel(None),
        Is::Master("no sentinel"),
        Is::Mute,
    ] {
        ports.push(Fake::start(&house, is).await.port);
    }
    let talk = Talk::with(house, &ports);
    let why = talk.echo().await.unwrap_err();
    let at = |at: usize| format!("127.0.0.1:{} ", ports[at]);
    for words in [
        "no master `mymaster` of Redis Sentinel can be used: ".into(),
        format!("{}says: ", at(0)),
        format!(
            "{}names 127.0.0.1:{}, which is a replica of 127.0.0.1:1;",
            at(1),
            replica.port
        ),
        format!("{}names 127.0.0.1:{gone}, which cannot be reached: ", at(2)),
        format!("{}names 127.0.0.1:{}, which is a replica of", at(3), replica.port),
        format!("{}watches no master `mymaster`", at(4)),
        format!("{}says: ", at(5)),
        at(6),
    ] {
        assert!(why.contains(&words), "{words:?} is missing: {why}");
    }
}

#[tokio::test]
async fn those_who_wait_at_once_share_one_answer() {
    let house = TaskTracker::new();
    let sentinel = Fake::start(&house, Is::Sentinel(None)).await;
    let talk = Talk::with(house, &[sentinel.port]);
    let all = futures_util::future::join_all((0..50).map(|_| talk.echo())).await;
    assert!(
        all.iter()
            .all(|one| one.as_ref().is_err_and(|why| why.contains("watches no master")))
    );
    assert_eq!(sentinel.asked(), 1);
    let master = Fake::start(&talk.house, Is::Master("a")).await;
    sentinel.becomes(Is::Sentinel(Some(master.port)));
    let all = futures_util::future::join_all((0..50).map(|_| talk.echo())).await;
    assert!(all.iter().all(|one| one.as_deref() == Ok("a")));
    assert_eq!(sentinel.asked(), 2);
}

#[tokio::test]
async fn a_master_that_hangs_is_left_when_another_one_is_named() {
    let house = TaskTracker::new();
    let hangs = Fake::start(&house, Is::Master("a")).await;
    let next = Fake::start(&house, Is::Replica).await;
    let sentinel = Fake::start(&house, Is::Sentinel(Some(hangs.port))).await;
    let talk = Talk::with(house, &[sentinel.port]);
    assert_eq!(talk.echo().await.unwrap(), "a");
    let (_listening, mut tenure) = talk.server.patient(ANSWER_TIMEOUT).await.unwrap();
    hangs.becomes(Is::Mute);
    let began = Instant::now();
    let (asked, ()) = tokio::join!(talk.echo(), async {
        // Named too early: it is not taken until it says so itself.
        sentinel.becomes(Is::Sentinel(Some(next.port)));
        let seen = sentinel.asked() + 4;
        // Two looks, each of two questions.
        sentinel
            .asked
            .subscribe()
            .wait_for(|asked| *asked >= seen)
            .await
            .unwrap();
        assert_eq!(talk.moves(), 0);
        next.becomes(Is::Master("b"));
    });
    assert!(
        asked.unwrap_err().contains("another server"),
        "what was under way ends"
    );
    assert!(began.elapsed() < ANSWER_TIMEOUT, "{:?}", began.elapsed());
    tenure.over().await;
    assert_eq!((talk.echo().await.unwrap(), talk.moves()), ("b".into(), 1));
}

#[tokio::test]
async fn a_master_that_began_anew_is_another_one_and_a_lost_connection_alone_is_none() {
    let house = TaskTracker::new();
    let master = Fake::start(&house, Is::Master("a")).await;
    let sentinel = Fake::start(&house, Is::Sentinel(Some(master.port))).await;
    let talk = Talk::with(house, &[sentinel.port]);
    let Server::Watched(sentinels) = &talk.server else {
        panic!("it is watched");
    };
    for (life, moves) in [("a", 0), ("a", 0), ("b", 1)] {
        master.becomes(Is::Master(life));
        assert_eq!((talk.echo().await.as_deref(), talk.moves()), (Ok(life), moves));
        let known = sentinels.master().await.unwrap();
        sentinels.leave(&known);
    }
}
