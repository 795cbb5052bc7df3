//! Environments, built by a real uv from a wheel made here: nothing is fetched but uv itself, where it is not installed.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use cresset_config::ModelConfig;
use cresset_runner::env::BuildFailure;
use cresset_runner::{EnvError, EnvManager};

use crate::support::*;

/// Makes a wheel of one module, with nothing but the standard library.
const MAKE_WHEEL: &str = r#"
import sys, zipfile
folder, version = sys.argv[1:]
info = f"tinything-{version}.dist-info"
with zipfile.ZipFile(f"{folder}/tinything-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr("tinything.py", f"version = {version!r}\n" + "x = 0\n" * 10_000)
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinything\nVersion: {version}\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", f"tinything.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
"#;

struct House {
    dir: tempfile::TempDir,
    told: Mutex<Vec<String>>,
}

impl House {
    async fn new() -> Self {
        // Beside the build's own files, where the next run finds uv again.
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments");
        let uv = EnvManager::new(&shared).uv(&|_: &str| {}).await.unwrap();
        let dir = tempfile::tempdir_in(&shared).unwrap();
        let bin = dir.path().join("cache/uv/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink(uv, bin.join("uv")).unwrap();
        let house = Self {
            dir,
            told: Mutex::default(),
        };
        house.python(&["-c", MAKE_WHEEL, house.dir.path().to_str().unwrap(), "1.0"]);
        house
    }

    fn python(&self, args: &[&str]) {
        assert!(Command::new("python3").args(args).status().unwrap().success());
    }

    fn manager(&self) -> EnvManager {
        EnvManager::new(self.dir.path().join("cache"))
    }

    /// A model with these requirements.
    fn model(&self, requirements: &str) -> ModelConfig {
        let path = self.dir.path().join("requirements.txt");
        std::fs::write(&path, requirements).unwrap();
        let mut config = object_model(self.dir.path());
        config.environment.requirements = Some(path);
        config
    }

    fn tiny(&self) -> ModelConfig {
        self.model(&format!(
            "--no-index\n--find-links {}\ntinything==1.0\n",
            self.dir.path().display()
        ))
    }

    async fn build(&self, envs: &EnvManager, config: &ModelConfig) -> Result<PathBuf, EnvError> {
        let tell = |line: &str| self.told.lock().unwrap().push(line.to_owned());
        envs.interpreter(config, &tell).await
    }

    fn told(&self, what: &str) -> usize {
        self.told
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(what))
            .count()
    }

    fn leftovers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("cache/envs")).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.starts_with(".tmp")).collect()
    }
}

fn imports(python: &Path) -> String {
    let out = Command::new(python)
        .args(["-c", "import tinything; print(tinything.version)"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

#[tokio::test]
async fn an_environment_is_built_once_shared_listed_and_pruned() {
    let house = House::new().await;
    let (one, other) = (house.manager(), house.manager());
    let config = house.tiny();
    // Two managers lock each other out as two processes would.
    let (a, b) = tokio::join!(house.build(&one, &config), house.build(&other, &config));
    let python = a.unwrap();
    assert_eq!(python, b.unwrap());
    assert_eq!(imports(&python), "1.0");
    assert_eq!(
        (
            house.told("building the environment"),
            house.told("the environment is built")
        ),
        (1, 1)
    );
    assert_eq!(house.told("waiting for the same environment"), 1);

    // The same but for what makes no difference.
    let text = std::fs::read_to_string(house.dir.path().join("requirements.txt")).unwrap();
    let same = house.model(&format!("# the same\n\n{text}"));
    assert_eq!(house.build(&one, &same).await.unwrap(), python);
    assert_eq!(house.told("building the environment"), 1);

    let listed = one.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].in_use && listed[0].last_used.is_some());
    assert!(listed[0].requirements.contains("tinything==1.0"));
    assert!(
        listed[0].bytes > 50_000 && listed[0].bytes_own < listed[0].bytes,
        "{listed:?}"
    );
    assert_eq!(
        one.key(&config, &|_: &str| {}).await.unwrap().as_ref(),
        Some(&listed[0].key)
    );

    let pruned = one.prune(&HashSet::new()).unwrap();
    assert_eq!((pruned.removed.len(), pruned.in_use.len()), (0, 1));
    drop((one, other));
    let third = house.manager();
    let keep = HashSet::from([listed[0].key.clone()]);
    assert_eq!(third.prune(&keep).unwrap().removed.len(), 0);
    assert_eq!(third.prune(&HashSet::new()).unwrap().removed.len(), 1);
    assert_eq!(third.list().unwrap().len(), 0);
    assert!(!python.exists());
    assert_eq!(house.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn what_uv_refuses_is_told_in_a_sentence_and_leaves_nothing() {
    let house = House::new().await;
    let envs = house.manager();
    let wheels = house.dir.path().display();
    for (text, kind, words) in [
        (
            format!("--no-index\n--find-links {wheels}\ntinything==9\n"),
            BuildFailure::Unsatisfiable,
            "tinything==9",
        ),
        (
            "this is no requirement\n".to_owned(),
            BuildFailure::Syntax,
            "requirement",
        ),
    ] {
        let error = house.build(&envs, &house.model(&text)).await.unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(words) && message.contains("requirements.txt"),
            "{message}"
        );
        assert!(
            matches!(error, EnvError::Build { failure, .. } if failure == kind),
            "{message}"
        );
        assert_eq!(envs.list().unwrap().len(), 0);
    }
    assert_eq!(envs.prune(&HashSet::new()).unwrap().removed.len(), 0);
    assert_eq!(house.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_broken_environment_and_a_cut_off_build_are_built_anew() {
    let house = House::new().await;
    let envs = house.manager();
    let config = house.tiny();
    let key = envs.key(&config, &|_: &str| {}).await.unwrap().unwrap();
    let aside = house.dir.path().join(format!("cache/envs/.tmp-{key}"));
    std::fs::create_dir_all(aside.join("bin")).unwrap();
    std::fs::write(aside.join("bin/python"), "cut off").unwrap();
    let python = house.build(&envs, &config).await.unwrap();
    assert_eq!(imports(&python), "1.0");
    // Its Python is uninstalled: the link points nowhere.
    std::fs::remove_file(&python).unwrap();
    std::os::unix::fs::symlink("/nonexistent/python", &python).unwrap();
    assert_eq!(house.build(&envs, &config).await.unwrap(), python);
    assert_eq!(imports(&python), "1.0");
    assert_eq!(house.told("building the environment"), 2);
}

#[tokio::test]
async fn without_requirements_the_python_of_the_machine_serves() {
    let house = House::new().await;
    let envs = house.manager();
    let python = house.build(&envs, &house.model("# nothing\n")).await.unwrap();
    assert!(python.is_absolute() && !python.starts_with(house.dir.path()));
    assert_eq!(house.told("no requirements.txt: using"), 1);
    assert_eq!(
        envs.key(&object_model(house.dir.path()), &|_: &str| {})
            .await
            .unwrap(),
        None
    );
}
