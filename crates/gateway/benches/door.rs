//! What a request costs the door itself, on one core.
//!
//! `cargo bench -p cresset-gateway` serves on one thread and asks from another, with requests pipelined so deep that
//! the server is always busy. The time is the serving thread's own CPU time: the caller, other load and idling do not
//! count, but the kernel's work for the socket does. `CRESSET_BENCH_REQUESTS` sets how many (default 200000) of each
//! kind. `predict` includes the engine and a pool that answers at once; `unknown task` includes a look-up in the store.
#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot go on says so by panicking"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cresset_engine::{Engine, EngineOptions};
use cresset_gateway::GatewayOptions;
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_runner::testing::FakePool;
use cresset_runner::{ItemEnd, JobEnd};
use cresset_task::{DType, Tensor, TensorSet, safetensors};
use tokio_util::sync::CancellationToken;

#[path = "../tests/it/fixture.rs"]
mod fixture;

/// Requests on their way at once.
const DEPTH: usize = 64;

fn main() {
    let requests: usize = std::env::var("CRESSET_BENCH_REQUESTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(200_000);
    let (ready, server) = std::sync::mpsc::channel();
    let stop = CancellationToken::new();
    let token = stop.clone();
    let serving = std::thread::spawn(move || serve(&ready, token));
    let (address, thread): (SocketAddr, Clock) = server.recv().unwrap();

    let small = r#"{"input": [1, 2, 3]}"#;
    let image: Vec<String> = (0..64).map(|i| format!("{}.5", i % 16)).collect();
    let image = format!("{{\"input\": [{}]}}", image.join(", "));
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let elements = Tensor::new(DType::Float32, vec![64], vec![0; 256].into()).unwrap();
    let file = safetensors::write(&TensorSet(vec![("pixels".into(), elements.clone())])).unwrap();
    let bytes = |media: &str, body: &[u8]| {
        let head = format!(
            "POST /v1/models/flat/predict HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\naccept: {media}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    println!("{:<36}{:>12}{:>14}", "", "requests/s", "CPU us each");
    let requests_by_name: [(&str, Vec<u8>); 9] = [
        ("GET /health/live", get("/health/live").into()),
        ("GET /no/such/path", get("/no/such/path").into()),
        (
            "POST predict, unknown model",
            post("/v1/models/nobody/predict", small).into(),
        ),
        (
            "POST predict, wrong key",
            post("/v1/models/echo/predict", r#"{"inptu": 1}"#).into(),
        ),
        (
            "POST predict, 3 numbers as JSON",
            post("/v1/models/echo/predict", small).into(),
        ),
        (
            "POST predict, 64 numbers as tensor",
            post("/v1/models/flat/predict", &image).into(),
        ),
        (
            "the same as octet-stream, both ways",
            bytes("application/octet-stream", &elements.data),
        ),
        (
            "the same as safetensors, both ways",
            bytes("application/x-safetensors", &file),
        ),
        (
            "GET unknown task",
            get("/v1/tasks/019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10").into(),
        ),
    ];
    for (name, request) in requests_by_name {
        ask(address, &request, requests / 10); // warm
        let (cpu, wall) = (thread.now(), Instant::now());
        ask(address, &request, requests);
        let (cpu, wall) = (thread.now() - cpu, wall.elapsed());
        let each = cpu.as_secs_f64() * 1e6 / requests as f64;
        println!(
            "{name:<36}{:>12.0}{each:>14.2}",
            requests as f64 / wall.as_secs_f64()
        );
    }
    stop.cancel();
    serving.join().unwrap();
}

/// Serves until told to stop; says where, and on which thread.
fn serve(ready: &std::sync::mpsc::Sender<(SocketAddr, Clock)>, stop: CancellationToken) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let clock = Clock::of_this_thread();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::at(dir.path().join("tasks.db"))).unwrap();
        let engine = Engine::start(Arc::new(store), &EngineOptions::default());
        let mut flat = fixture::tensors("flat");
        flat.inputs.truncate(1);
        flat.inputs[0].shape = vec![64];
        for mut config in [fixture::object("echo"), flat] {
            config.batching.max_delay = Duration::ZERO;
            let (events, news) = tokio::sync::mpsc::channel(16);
            let pool = FakePool::automatic(1, 2, events, |items| {
                JobEnd::Items(items.into_iter().map(ItemEnd::Done).collect())
            });
            engine.serve(Arc::new(config), pool.clone(), news);
            pool.all_up();
        }
        while !engine.health().ready {
            tokio::task::yield_now().await;
        }
        let listener = cresset_gateway::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        ready.send((listener.local_addr().unwrap(), clock)).unwrap();
        cresset_gateway::serve(
            vec![listener.into()],
            engine.clone(),
            GatewayOptions::default(),
            stop,
        )
        .await
        .unwrap();
        engine.stop(Duration::from_secs(5)).await;
    });
}

/// Sends `requests` of these over one connection, `DEPTH` at once, and reads the answers.
fn ask(address: SocketAddr, request: &[u8], requests: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let batch = request.repeat(DEPTH);
    let mut buffer = Vec::new();
    for _ in 0..requests.div_ceil(DEPTH) {
        stream.write_all(&batch).unwrap();
        let mut left = DEPTH;
        while left > 0 {
            while let Some(length) = answer_length(&buffer) {
                buffer.drain(..length);
                left -= 1;
            }
            if left > 0 {
                let mut piece = [0; 1 << 16];
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "the server closed");
                buffer.extend_from_slice(&piece[..read]);
            }
        }
    }
}

/// The bytes of the first whole answer.
fn answer_length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).unwrap();
    let length = text
        .split("content-length: ")
        .nth(1)
        .unwrap()
        .split('\r')
        .next()
        .unwrap();
    let whole = head + length.parse::<usize>().unwrap();
    (buffer.len() >= whole).then_some(whole)
}

/// The CPU time of one thread, as the scheduler counts it.
struct Clock(std::path::PathBuf);

impl Clock {
    fn of_this_thread() -> Self {
        Self(
            std::path::Path::new("/proc")
                .join(std::fs::read_link("/proc/thread-self").unwrap())
                .join("schedstat"),
        )
    }

    fn now(&self) -> Duration {
        let text = std::fs::read_to_string(&self.0).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}
