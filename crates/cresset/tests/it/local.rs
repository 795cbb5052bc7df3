//! `check`, `config`, `init`: the commands that need no server.

use std::path::Path;

use crate::program::{Ended, cresset, end, run};

/// Runs it in `dir`, whose path is taken out of what it says.
fn run_in(dir: &Path, args: &[&str]) -> Ended {
    let mut ended = end(cresset(args)
        .current_dir(dir)
        .env("HOME", "/home/someone")
        .env_remove("XDG_CACHE_HOME")
        .spawn()
        .unwrap());
    let path = dir.canonicalize().unwrap().display().to_string();
    for text in [&mut ended.stdout, &mut ended.stderr] {
        *text = text.replace(&path, "HERE");
    }
    ended
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("cresset.toml"),
        "[server]\nlisten = \"8700\"\n[results]\ntttl = \"1d\"\n",
    )
    .unwrap();
    let model = dir.path().join("models/digits");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(model.join("model.py"), "").unwrap();
    std::fs::write(
        model.join("model.toml"),
        "[batching]\nmax_batch_size = 0\nmax_delai = \"2ms\"\n",
    )
    .unwrap();
    let ended = run_in(dir.path(), &["check", "models"]);
    assert_eq!(ended.exit, 65);
    insta::assert_snapshot!("mistakes", ended.to_string());
    let json = run_in(dir.path(), &["check", "models", "--json"]);
    assert_eq!(json.exit, 65);
    insta::assert_snapshot!("mistakes_json", json.stdout);
    let serve = run_in(dir.path(), &["serve", "models"]);
    assert_eq!((serve.exit, serve.stdout.as_str()), (65, ""));
    insta::assert_snapshot!("serve_refuses", serve.stderr);
}

#[test]
fn a_good_folder_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    for (name, flag) in [("models/words", "--object"), ("models/numbers", "--tensor")] {
        let ended = run_in(dir.path(), &["init", name, flag]);
        assert_eq!((ended.exit, ended.stdout.as_str()), (0, ""), "{ended}");
    }
    insta::assert_snapshot!("good", run_in(dir.path(), &["check", "models"]).to_string());
    insta::assert_snapshot!(
        "good_json",
        run_in(dir.path(), &["check", "models", "--json"]).stdout
    );
}

#[test]
fn a_folder_that_is_not_there_is_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run_in(dir.path(), &["check", "nowhere"]);
    assert_eq!(ended.exit, 65);
    assert!(
        ended.stdout.starts_with("nowhere: no such file or folder"),
        "{ended}"
    );
    let ended = run_in(dir.path(), &["check", "--config", "none.toml", "nowhere"]);
    assert!(
        ended.stdout.contains("none.toml: no such file") && ended.stdout.contains("nowhere: no such"),
        "{ended}"
    );
}

#[test]
fn config_show_says_what_is_set_by_what() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("cresset.toml"),
        "[results]\nttl = \"7d\"\n[log]\nlevel = \"debug\"\n",
    )
    .unwrap();
    let shown = end(cresset(&[
        "config",
        "show",
        "models",
        "--log-level",
        "warn",
        "--show-tracebacks",
    ])
    .current_dir(dir.path())
    .env("HOME", "/home/someone")
    .env_remove("XDG_CACHE_HOME")
    .env("CRESSET_LISTEN", "0.0.0.0:80")
    .env("CRESSET_LISTENN", "x")
    .spawn()
    .unwrap());
    insta::assert_snapshot!("config_show", shown.to_string());
    let json = run_in(dir.path(), &["config", "show", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let ttl = document["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["key"] == "results.ttl")
        .unwrap();
    assert_eq!(
        *ttl,
        serde_json::json!({"key": "results.ttl", "value": "7d", "origin": "cresset.toml:2"})
    );
}

#[test]
fn a_settings_file_that_was_written_is_read_and_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run_in(dir.path(), &["config", "init"]).exit, 0);
    assert_eq!(run_in(dir.path(), &["config", "show"]).exit, 0);
    let again = run_in(dir.path(), &["config", "init"]);
    assert_eq!(again.exit, 73);
    insta::assert_snapshot!("config_init_again", again.to_string());
}

#[test]
fn init_says_how_to_go_on_and_writes_over_nothing() {
    let dir = tempfile::tempdir().unwrap();
    insta::assert_snapshot!("init", run_in(dir.path(), &["init", "sentiment"]).to_string());
    let mut files: Vec<_> = dir
        .path()
        .join("sentiment")
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["model.py", "model.toml", "requirements.txt"]);
    std::fs::remove_file(dir.path().join("sentiment/model.toml")).unwrap();
    let again = run_in(dir.path(), &["init", "sentiment", "--tensor"]);
    assert_eq!(again.exit, 73);
    assert!(
        again
            .stderr
            .contains("sentiment/model.py is there already; nothing was written"),
        "{again}"
    );
    assert!(!dir.path().join("sentiment/model.toml").exists());
}

/// What `init` writes works: the object model is run as the server's child would, without the server.
#[test]
fn the_models_that_init_writes_run() {
    let dir = tempfile::tempdir().unwrap();
    for (name, flag) in [("words", "--object"), ("numbers", "--tensor")] {
        assert_eq!(run_in(dir.path(), &["init", name, flag]).exit, 0);
    }
    let script = "\
import ast, sys\n\
ast.parse(open('../numbers/model.py').read())\n\
from model import Model\n\
model = Model()\n\
model.load()\n\
batch = [model.preprocess({'text': text}) for text in ['A good day', 'an awful great bad day', '']]\n\
print([model.postprocess(output) for output in model.predict(batch)])\n";
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/cresset/src");
    let ran = std::process::Command::new("python3")
        .args(["-B", "-c", script])
        .current_dir(dir.path().join("words"))
        .env("PYTHONPATH", package)
        .output()
        .expect("python3 is needed, as for every model");
    assert_eq!(
        (
            String::from_utf8_lossy(&ran.stdout).trim(),
            String::from_utf8_lossy(&ran.stderr).as_ref()
        ),
        ("[{'score': 1.0}, {'score': -1.0}, {'score': 0}]", "")
    );
}

#[test]
fn a_bad_name_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run_in(dir.path(), &["init", "My Model"]);
    insta::assert_snapshot!("init_bad_name", ended.to_string());
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_wrong_command_line_exits_64_and_help_exits_0() {
    for args in [
        &["serv"] as &[&str],
        &["submit"],
        &["models", "--bogus"],
        &["submit", "m", "--json", "1", "--resume"],
        &["submit", "m", "--jsonl", "x", "--in-flight", "513"],
        &["submit", "m", "--jsonl", "x", "--wait"],
    ] {
        let ended = run(args);
        assert_eq!((ended.exit, ended.stdout.as_str()), (64, ""), "{args:?}");
    }
    for args in [
        &["--help"] as &[&str],
        &["--version"],
        &["submit", "--help"],
        &["config", "show", "-h"],
    ] {
        let ended = run(args);
        assert_eq!((ended.exit, ended.stderr.as_str()), (0, ""), "{args:?}");
    }
}

/// Puts an environment into the cache that looks as if it had been built.
fn make_environment(cache: &Path, key: &str, requirements: &str) {
    let dir = cache.join("envs").join(key);
    std::fs::create_dir_all(&dir).unwrap();
    let recipe = serde_json::json!({"python": "3.11.7", "requirements": requirements});
    std::fs::write(dir.join(".cresset-env.json"), recipe.to_string()).unwrap();
}

#[test]
fn environments_are_listed_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let none = run_in(dir.path(), &["env", "list", "--json", "--cache-dir", "cache"]);
    assert_eq!(
        none.stdout.split_whitespace().collect::<String>(),
        r#"{"environments":[]}"#
    );
    let key = "0123456789abcdef0123456789abcdef";
    make_environment(&dir.path().join("cache"), key, "six==1.16.0\n");
    let listed = run_in(dir.path(), &["env", "list", "--json", "--cache-dir", "cache"]);
    let document: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let environment = &document["environments"][0];
    assert_eq!(
        (&environment["key"], &environment["requirements"][0]),
        (&key.into(), &"six==1.16.0".into())
    );
    assert_eq!(environment["in_use"], false);

    // A model without requirements needs none of them.
    assert_eq!(run_in(dir.path(), &["init", "models/words"]).exit, 0);
    let pruned = run_in(
        dir.path(),
        &["env", "prune", "models", "--json", "--cache-dir", "cache"],
    );
    assert_eq!(pruned.exit, 0, "{pruned}");
    let document: serde_json::Value = serde_json::from_str(&pruned.stdout).unwrap();
    assert_eq!(document["removed"][0]["key"], key);
    assert!(!dir.path().join("cache/envs").join(key).exists());
}

#[test]
fn prune_wants_to_know_what_to_keep() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        run_in(dir.path(), &["env", "prune", "--cache-dir", "cache"]).exit,
        64
    );
    let wrong = run_in(dir.path(), &["env", "prune", "nowhere", "--cache-dir", "cache"]);
    assert_eq!(wrong.exit, 65, "{wrong}");
}

#[test]
fn env_build_names_each_models_interpreter_or_why_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["models/words", "models/wrong"] {
        assert_eq!(run_in(dir.path(), &["init", name]).exit, 0);
    }
    let good = run_in(
        dir.path(),
        &["env", "build", "models/words", "--json", "--cache-dir", "cache"],
    );
    assert_eq!(good.exit, 0, "{good}");
    let document: serde_json::Value = serde_json::from_str(&good.stdout).unwrap();
    assert!(Path::new(document["models"][0]["python"].as_str().unwrap()).exists());
    std::fs::write(
        dir.path().join("models/wrong/requirements.txt"),
        "-r requirements.txt\n",
    )
    .unwrap();
    let wrong = run_in(dir.path(), &["env", "build", "models", "--cache-dir", "cache"]);
    assert_eq!(wrong.exit, 65, "{wrong}");
    assert!(wrong.stdout.contains("\nwrong  -\n"), "{wrong}");
    assert!(
        wrong.stderr.contains("is included too deeply") && wrong.stderr.contains("the model is `wrong`"),
        "{wrong}"
    );
}
