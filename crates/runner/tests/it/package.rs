//! The real Python package, as this crate carries it, in processes that this crate starts. No torch: object models.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cresset_config::ModelConfig;
use cresset_runner::{DownReason, Executor, ItemEnd, JobEnd, sdk};
use cresset_task::{Code, Payload, Stage};

use crate::support::*;

const MODEL: &str = r#"
import os, sys, cresset

class Shout(cresset.Model):
    def load(self):
        print("loading", os.path.basename(os.getcwd()))
        self.mark = open("mark.txt").read()

    def preprocess(self, payload):
        return payload["text"]

    def predict(self, batch):
        if "exit" in batch:
            os._exit(3)
        if "raise" in batch:
            raise ValueError("no")
        print("a batch of", len(batch))
        return [text.upper() + self.mark for text in batch]
"#;

fn shout(dir: &Path, code: &str) -> ModelConfig {
    std::fs::write(dir.join("model.py"), code).expect("the model's folder is there");
    std::fs::write(dir.join("mark.txt"), "!").expect("the model's folder is there");
    object_model(dir)
}

fn package() -> PathBuf {
    sdk::unpack(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("the package can be unpacked")
}

#[tokio::test]
async fn a_python_model_answers_fails_raises_and_dies_item_by_item() {
    let mut it = Fixture::with_sdk(package(), |dir| shout(dir, MODEL));
    it.up().await;
    let runtime = it.pool.status().instances[0].runtime.clone().unwrap();
    assert!(runtime.to_lowercase().starts_with("python 3."), "{runtime}");

    it.run(vec![
        json(r#"{"text":"é"}"#),
        json(r#"{"txt":"b"}"#),
        json(r#"{"text":"c"}"#),
    ]);
    let (_, end, _) = it.ended().await;
    let JobEnd::Items(ends) = end else {
        panic!("{end:?}")
    };
    let [
        ItemEnd::Done(Payload::Json(a)),
        ItemEnd::Failed(b),
        ItemEnd::Done(Payload::Json(c)),
    ] = &ends[..]
    else {
        panic!("{ends:?}");
    };
    assert_eq!(serde_json::from_slice::<String>(a).unwrap(), "É!");
    assert_eq!(serde_json::from_slice::<String>(c).unwrap(), "C!");
    assert_eq!(
        (b.code, b.stage, b.type_.as_str()),
        (Code::ModelError, Some(Stage::Preprocess), "KeyError")
    );

    it.order(r#"{"text":"raise"}"#);
    let (_, end, _) = it.ended().await;
    let JobEnd::Raised(failure) = end else {
        panic!("{end:?}")
    };
    assert_eq!(
        (failure.stage, failure.message.as_str()),
        (Some(Stage::Predict), "no")
    );
    assert!(failure.traceback.unwrap().contains("model.py"));

    let jobs = [it.order(r#"{"text":"exit"}"#), it.order(r#"{"text":"d"}"#)];
    it.lost(&jobs, |reason| *reason == DownReason::Exited(3)).await;
    assert_eq!(it.down().await, DownReason::Exited(3));
    it.up().await;
    assert_eq!(it.answer(r#"{"text":"d"}"#).await, "\"D!\"");
    let events = it.stop(Duration::from_secs(10)).await;
    assert_eq!(events.len(), 1, "down and nothing else: {events:?}");
}

#[tokio::test]
async fn a_python_model_is_interrupted_at_its_soft_limit_and_goes_on() {
    const SLOW: &str = r#"
import time

def predict(batch):
    time.sleep(batch[0])
    return batch
"#;
    let mut it = Fixture::with_sdk(package(), |dir| {
        let mut config = shout(dir, SLOW);
        config.limits.soft_timeout = Some(Duration::from_millis(100));
        config
    });
    it.up().await;
    let pid = it.pool.status().instances[0].pid;
    for _ in 0..2 {
        it.order("600");
        let (_, end, _) = it.ended().await;
        let JobEnd::Raised(failure) = end else {
            panic!("{end:?}")
        };
        assert_eq!(
            (failure.code, failure.stage, failure.type_.as_str()),
            (Code::SoftTimeout, Some(Stage::Predict), "SoftTimeout")
        );
        assert_eq!(it.answer("0").await, "0");
    }
    assert_eq!(it.pool.status().instances[0].pid, pid, "it is the same process");
    it.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_python_model_that_cannot_be_imported_says_why() {
    let mut it = Fixture::with_sdk(package(), |dir| shout(dir, "import surely_not_installed\n"));
    let DownReason::Start(failure) = it.down().await else {
        panic!()
    };
    assert_eq!(
        (failure.stage, failure.type_.as_str()),
        (Some(Stage::Import), "ModuleNotFoundError")
    );
    assert!(
        failure.message.contains("surely_not_installed"),
        "{}",
        failure.message
    );
    it.stop(Duration::from_secs(5)).await;
}

/// The server of the next test: runs in a process of its own, which that test kills.
#[tokio::test]
#[ignore = "a part of the next test"]
async fn a_server_that_will_be_killed() {
    let mut it = Fixture::with_sdk(package(), |dir| shout(dir, MODEL));
    it.up().await;
    println!("\ninstance {}", it.pool.status().instances[0].pid.unwrap());
    std::future::pending::<()>().await;
}

#[test]
fn instances_die_with_a_server_that_is_killed() {
    use std::io::{BufRead, BufReader};
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "package::a_server_that_will_be_killed",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let instance: u32 = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("instance ")?.trim().parse().ok())
        .expect("the server tells its instance");
    assert!(is_alive(instance));
    server.kill().unwrap();
    server.wait().unwrap();
    let began = std::time::Instant::now();
    while is_alive(instance) {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "instance {instance} outlived its server"
        );
        std::thread::yield_now();
    }
}
