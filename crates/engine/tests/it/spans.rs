//! What is told of waits and runs to whoever records spans: in whose trace, linked with what, and how often.

use std::sync::{Arc, Mutex};

use cresset_engine::{Engine, EngineOptions, PredictTerms, Submission};
use cresset_runner::testing::{FakePool, Held};
use cresset_runner::{DownReason, ItemEnd, JobEnd};
use cresset_task::{Span, SpanId, Spans, Trace, Word};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::house::{LONG, config, failure, json, model, store, submission, until};

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Span>>);

impl Spans for Recorder {
    fn begin(&self, caller: Option<Trace>) -> Trace {
        caller.map_or_else(|| Trace::fresh(true), |caller| caller.at(SpanId::fresh()))
    }

    fn ended(&self, span: Span) {
        self.0.lock().unwrap().push(span);
    }
}

impl Recorder {
    fn named(&self, name: &str) -> Vec<Span> {
        let spans = self.0.lock().unwrap();
        spans.iter().filter(|span| span.name == name).cloned().collect()
    }
}

struct Watched {
    engine: Engine,
    pool: Arc<FakePool>,
    spans: Arc<Recorder>,
    _dir: TempDir,
}

fn watched() -> Watched {
    let (dir, spans) = (tempfile::tempdir().unwrap(), Arc::new(Recorder::default()));
    let options = EngineOptions {
        spans: Some(Arc::clone(&spans) as Arc<dyn Spans>),
        ..EngineOptions::default()
    };
    let engine = Engine::start(Arc::new(store(dir.path())), &options);
    let (events, news) = mpsc::channel(16);
    let pool = FakePool::by_hand(1, 2, events);
    engine.serve(Arc::new(config()), pool.clone(), news);
    pool.all_up();
    Watched {
        engine,
        pool,
        spans,
        _dir: dir,
    }
}

fn traced(text: &str, trace: &Trace) -> Submission {
    Submission {
        trace: Some(Box::new(trace.clone())),
        ..submission(text)
    }
}

fn said(span: &Span, name: &str) -> Option<String> {
    let word = span.words.iter().find(|(known, _)| *known == name)?;
    Some(match &word.1 {
        Word::Text(text) => text.to_string(),
        Word::Number(number) => number.to_string(),
    })
}

fn all_done(job: &Held) -> JobEnd {
    JobEnd::Items(job.items.iter().cloned().map(ItemEnd::Done).collect())
}

#[tokio::test]
async fn a_task_waits_once_and_each_of_its_runs_is_told() {
    let house = watched();
    let caller = Trace::fresh(true);
    let id = house.engine.submit(traced("1", &caller)).await.unwrap().id;
    let died = house.pool.next_job().await;
    house.pool.kill(died.instance, DownReason::Signal(11));
    house.pool.all_up();
    let job = house.pool.next_job().await;
    house.pool.finish(job.batch, all_done(&job));
    until(|| house.spans.named("run echo").len() == 2).await;

    let (waits, runs) = (house.spans.named("queue echo"), house.spans.named("run echo"));
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert!(waits[0].began <= waits[0].ended && waits[0].ended <= runs[0].began);
    let attempts: Vec<_> = runs
        .iter()
        .map(|run| said(run, "cresset.attempt").unwrap())
        .collect();
    assert_eq!(attempts, ["1", "2"]);
    assert_eq!(
        (runs[0].error.as_deref(), runs[1].error.as_deref()),
        (Some("signal"), None)
    );
    for span in waits.iter().chain(&runs) {
        assert_eq!((span.place.id, span.parent), (caller.id, Some(caller.span)));
        assert_eq!(said(span, "cresset.task.id"), Some(id.to_string()));
    }
    // What the process was told is the place of its run.
    for (job, run) in [&died, &job].into_iter().zip(&runs) {
        assert_eq!(job.traces[0].as_ref(), Some(&run.place));
    }
    house.engine.stop(LONG).await;
}

#[tokio::test]
async fn runs_of_one_batch_are_linked_and_what_is_not_sampled_is_told_to_nobody() {
    let house = watched();
    // While the first one runs, the others come together.
    let callers = [true, true, true, false].map(Trace::fresh);
    let mut jobs = Vec::new();
    house.engine.submit(submission("none")).await.unwrap();
    jobs.push(house.pool.next_job().await);
    for caller in &callers {
        house.engine.submit(traced("1", caller)).await.unwrap();
    }
    let mut ran = 0;
    while ran < 1 + callers.len() {
        let job = match jobs.pop() {
            Some(job) => job,
            None => house.pool.next_job().await,
        };
        ran += job.items.len();
        house.pool.finish(job.batch, all_done(&job));
    }
    until(|| house.spans.named("run echo").len() == 3).await;
    let runs = house.spans.named("run echo");
    assert!(!runs.iter().any(|run| run.place.id == callers[3].id), "{runs:?}");
    for run in &runs {
        let batch = said(run, "cresset.batch.id");
        let mates = runs
            .iter()
            .filter(|other| *other != run && said(other, "cresset.batch.id") == batch);
        let mut mates: Vec<_> = mates.map(|other| other.place.clone()).collect();
        let mut links = run.links.clone();
        for places in [&mut mates, &mut links] {
            places.sort_by_key(|place| place.id.to_bytes());
        }
        assert_eq!(links, mates);
    }
    house.engine.stop(LONG).await;
}

#[tokio::test]
async fn a_failed_prediction_tells_its_kind_and_not_its_words() {
    let house = watched();
    let caller = Trace::fresh(true);
    let terms = PredictTerms {
        trace: Some(Box::new(caller.clone())),
        ..PredictTerms::default()
    };
    let (name, input) = (model(), json("1"));
    let calling = house.engine.predict(&name, input, terms);
    let failing = async {
        let job = house.pool.next_job().await;
        let failed = ItemEnd::Failed(failure("a secret of the input"));
        house.pool.finish(job.batch, JobEnd::Items(vec![failed]));
    };
    let (answer, ()) = tokio::join!(calling, failing);
    assert!(answer.is_err());
    until(|| house.spans.named("run echo").len() == 1).await;
    let runs = house.spans.named("run echo");
    assert_eq!(said(&runs[0], "error.type").as_deref(), Some("ValueError"));
    assert_eq!(said(&runs[0], "cresset.task.id"), None);
    assert!(!format!("{runs:?}").contains("secret"), "{runs:?}");
    house.engine.stop(LONG).await;
}
