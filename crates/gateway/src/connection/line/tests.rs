use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

impl Stream for DuplexStream {
    fn forget(&self) {}
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<GivenUp>>>);

impl Ending for Seen {
    fn given_up(&mut self, why: GivenUp) {
        self.0.lock().unwrap().push(why);
    }

    fn too_slow(&mut self) -> Vec<u8> {
        b"too slow".to_vec()
    }
}

const PATIENCE: Patience = Patience {
    idle: Duration::from_secs(75),
    head: Duration::from_secs(10),
    write: Duration::from_secs(30),
    min_rate: 1,
};

struct Ends {
    line: Line<DuplexStream, Seen>,
    other: DuplexStream,
    phase: Phase,
    seen: Seen,
}

/// A line whose other end takes `room` bytes without reading.
fn line(room: usize) -> Ends {
    let (near, other) = duplex(room);
    let (phase, seen) = (Phase::default(), Seen::default());
    Ends {
        line: Line::new(near, phase.clone(), PATIENCE, seen.clone()),
        other,
        phase,
        seen,
    }
}

async fn seconds_until(end: impl Future<Output = io::Result<usize>>) -> u64 {
    let began = Instant::now();
    assert_eq!(end.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_line_on_which_nothing_is_asked_is_closed_without_a_word() {
    let mut ends = line(100);
    assert_eq!(seconds_until(ends.line.read(&mut [0; 10])).await, 75);
    assert_eq!(*ends.seen.0.lock().unwrap(), [GivenUp::Idle]);
    drop(ends.line);
    let mut answer = Vec::new();
    ends.other.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_told_so_after_its_time_however_often_it_drips() {
    let mut ends = line(1000);
    let began = Instant::now();
    let drip = async {
        for _ in 0..100 {
            ends.other.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let read = async {
        loop {
            if let Err(error) = ends.line.read(&mut [0; 10]).await {
                return error;
            }
        }
    };
    let error = tokio::select! {
        () = drip => panic!("it should have been cut off"),
        error = read => error,
    };
    assert_eq!(
        (error.kind(), began.elapsed().as_secs()),
        (io::ErrorKind::TimedOut, 10)
    );
    assert_eq!(*ends.seen.0.lock().unwrap(), [GivenUp::Head]);
    drop(ends.line);
    let mut answer = Vec::new();
    ends.other.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"too slow");
}

#[tokio::test(start_paused = true)]
async fn while_a_request_is_answered_nobody_has_to_say_anything() {
    let mut ends = line(100);
    ends.other.write_all(b"head").await.unwrap();
    assert_eq!(ends.line.read(&mut [0; 10]).await.unwrap(), 4);
    ends.phase.asked();
    let long = tokio::time::timeout(Duration::from_secs(3600), ends.line.read(&mut [0; 10])).await;
    assert!(long.is_err(), "a long poll may wait an hour");
    ends.phase.answered();
    assert_eq!(seconds_until(ends.line.read(&mut [0; 10])).await, 75);
}

#[tokio::test(start_paused = true)]
async fn each_head_has_its_own_time() {
    let mut ends = line(100);
    for _ in 0..5 {
        ends.other.write_all(b"head").await.unwrap();
        assert_eq!(ends.line.read(&mut [0; 10]).await.unwrap(), 4);
        tokio::time::sleep(Duration::from_secs(9)).await;
        ends.phase.asked();
        ends.phase.answered();
        let idle = tokio::time::timeout(Duration::from_secs(60), ends.line.read(&mut [0; 10])).await;
        assert!(idle.is_err(), "idle for less than its patience");
    }
    assert!(ends.seen.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_is_cut_off() {
    let mut ends = line(10);
    ends.phase.asked();
    let end = async { ends.line.write_all(&[0; 100]).await.map(|()| 0) };
    assert_eq!(seconds_until(end).await, 30);
    assert_eq!(*ends.seen.0.lock().unwrap(), [GivenUp::Write]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_sips_is_cut_off_and_one_that_keeps_the_rate_is_not() {
    for (each, survives) in [(1, false), (4, true)] {
        let mut ends = line(10);
        ends.phase.asked();
        let sip = async {
            let mut cup = vec![0; each];
            loop {
                // Half a byte a second, or two.
                tokio::time::sleep(Duration::from_secs(2)).await;
                if ends.other.read_exact(&mut cup).await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        let write = async { ends.line.write_all(&[0; 1000]).await };
        let written = tokio::select! {
            written = write => written,
            () = sip => unreachable!("it reads for ever"),
        };
        assert_eq!(
            written.is_ok(),
            survives,
            "{each} bytes every two seconds: {written:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_taken_in_time_leaves_no_watch_behind() {
    let mut ends = line(10);
    ends.phase.asked();
    let mut cup = [0; 15];
    let read = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        ends.other.read_exact(&mut cup).await.unwrap();
    };
    let write = async {
        ends.line.write_all(&[0; 15]).await.unwrap();
        ends.line.flush().await.unwrap();
    };
    tokio::join!(read, write);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    ends.line.write_all(&[0; 10]).await.unwrap();
    assert!(ends.seen.0.lock().unwrap().is_empty());
}
