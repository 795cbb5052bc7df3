//! What `model.toml` may say of a model that Celery workers run, and what is said about it when it is wrong.

use std::path::Path;
use std::time::Duration;

use cresset_config::{
    Arguments, Celery, CeleryCall, Effective, Folder, GivenFlag, Mistake, ModelConfig, parse_model,
};

struct Resize;

impl Folder for Resize {
    fn dir(&self) -> &Path {
        Path::new("/srv/models/resize")
    }

    /// Nothing is in the folder but its model.toml.
    fn is_file(&self, _: &Path) -> bool {
        false
    }
}

fn read(text: &str) -> Result<ModelConfig, Vec<Mistake>> {
    parse_model("resize/model.toml", Some(text), &Resize)
}

fn said(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

#[test]
fn a_task_is_all_that_it_takes() {
    let model = read("[send]\ntask = \"shop.tasks.resize\"\n").unwrap();
    let wanted = CeleryCall {
        task: "shop.tasks.resize".into(),
        ..CeleryCall::default()
    };
    assert_eq!(model.celery.call, Some(wanted));
    assert_eq!(
        (model.batching.max_batch_size, model.batching.max_delay),
        (1, Duration::ZERO)
    );
}

#[test]
fn every_key_reaches_its_field() {
    let text = "[limits]\ntimeout = \"50s\"\nsoft_timeout = \"40s\"\n[send]\ntask = \"t\"\nqueue = \"q\"\n\
                arguments = \"one\"\nconcurrency = 7\ntimeout = \"2m\"\nterminate = true\n";
    let wanted = CeleryCall {
        task: "t".into(),
        queue: Some("q".into()),
        arguments: Arguments::One,
        concurrency: 7,
        timeout: Duration::from_secs(120),
        terminate: true,
        hard_limit: Some(Duration::from_secs(50)),
        soft_limit: Some(Duration::from_secs(40)),
    };
    assert_eq!(read(text).unwrap().celery.call, Some(wanted));
}

#[test]
fn every_mistake_is_named() {
    let wrong = [
        "[send]\nqueue = \"images\"\nterminate = true\n",
        "[send]\ntask = \"\"\nqueue = 1\narguments = \"two\"\nconcurrency = 0\ntimeout = \"1ms\"\nterminate = 1\nworker = 1\n",
        "entry = \"a.py\"\nfiles = true\n[batching]\nmax_batch_size = 8\n[instances]\ncount = 2\n[limits]\nstart_timeout = \"1s\"\n\
         [environment]\npython_version = \"3.11\"\n[send]\ntask = \"t\"\n[[inputs]]\nname = \"x\"\ndtype = \"float32\"\nshape = [1]\n",
    ];
    let all: String = wrong.iter().map(|text| said(&read(text).unwrap_err())).collect();
    insta::assert_snapshot!(all);
}

fn settings(given: &[(&str, &str)]) -> Result<Celery, Vec<Mistake>> {
    let flags: Vec<_> = given
        .iter()
        .map(|(key, value)| GivenFlag {
            name: (*key).into(),
            key: (*key).into(),
            value: (*value).into(),
        })
        .collect();
    let variables: [(String, String); 0] = [];
    Effective::resolve(None, variables, &flags).map(|effective| effective.config.celery)
}

#[test]
fn what_the_settings_lack_is_named() {
    let models = [read("[send]\ntask = \"t\"\nqueue = \"images\"\n").unwrap()];
    let check = |given: &[(&str, &str)]| said(&settings(given).unwrap().check_calls(&models));
    let (redis, rabbit) = ("redis://h/0", "amqp://u:secret@h//");
    let (broker, backend) = ("celery.broker", "celery.result_backend");
    for good in [redis, rabbit] {
        assert_eq!(check(&[(broker, good), (backend, redis)]), "");
    }
    assert_eq!(check(&[(broker, rabbit), (backend, "rpc://")]), "");
    let all: String = [
        check(&[]),
        check(&[(broker, redis), (backend, "rpc://")]),
        check(&[(broker, redis), (backend, redis), ("celery.queues", "images")]),
    ]
    .concat();
    insta::assert_snapshot!(all);
    assert_eq!(settings(&[]).unwrap().check_calls(&[]), vec![]);
}
