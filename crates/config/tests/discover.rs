//! Model folders on disk are found, read, and every mistake in all of them is reported.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests may")]

use std::fs;
use std::path::Path;

use cresset_config::{discover, render_all};
use tempfile::TempDir;

fn write(dir: &TempDir, path: &str, text: impl AsRef<[u8]>) {
    let path = dir.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn names(path: &Path) -> Vec<String> {
    discover(path)
        .unwrap()
        .iter()
        .map(|m| m.name.to_string())
        .collect()
}

fn complain(dir: &TempDir, path: &Path) -> String {
    render_all(&discover(path).unwrap_err()).replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn one_model_folder_is_one_model() {
    let dir = TempDir::new().unwrap();
    write(&dir, "digits/model.toml", "version = \"2\"");
    write(&dir, "digits/model.py", "");
    let models = discover(&dir.path().join("digits")).unwrap();
    assert_eq!(
        (models.len(), models[0].name.as_str(), models[0].version.as_str()),
        (1, "digits", "2")
    );
    assert!(models[0].dir.is_absolute());
}

#[test]
fn a_folder_of_models_gives_all_but_the_hidden_ones() {
    let dir = TempDir::new().unwrap();
    for name in ["b", "a", ".hidden", "_draft"] {
        write(&dir, &format!("{name}/model.py"), "");
    }
    write(&dir, "notes/readme.txt", "");
    write(&dir, "deep/er/model.py", "");
    write(&dir, "c/model.toml", "name = \"0\"");
    write(&dir, "c/model.py", "");
    assert_eq!(names(dir.path()), ["0", "a", "b"]);
}

#[test]
fn all_mistakes_of_all_models_come_at_once() {
    let dir = TempDir::new().unwrap();
    write(&dir, "a/model.toml", "[batching]\nmax_batch_size = 0\n");
    write(&dir, "a/model.py", "");
    write(&dir, "b/model.toml", "name = \"same\"\nentry = \"gone.py\"\n");
    write(&dir, "c/model.toml", b"version = \"1\"\nname = \"\xff\"\n");
    write(&dir, "d/model.toml", "name = \"e\"");
    write(&dir, "d/model.py", "");
    write(&dir, "e/model.py", "");
    insta::assert_snapshot!("all_models", complain(&dir, dir.path()));
}

#[test]
fn what_is_no_model_is_said() {
    let dir = TempDir::new().unwrap();
    write(&dir, "file.toml", "");
    let all = [
        dir.path().to_owned(),
        dir.path().join("file.toml"),
        dir.path().join("nowhere"),
    ];
    insta::assert_snapshot!("no_models", all.map(|path| complain(&dir, &path)).concat());
}

#[test]
fn a_model_toml_that_cannot_be_read_is_not_taken_for_absent() {
    let dir = TempDir::new().unwrap();
    write(&dir, "a/model.py", "");
    fs::create_dir(dir.path().join("a/model.toml")).unwrap();
    assert!(complain(&dir, dir.path()).contains("DIR/a/model.toml: cannot be read: "));
}

#[test]
fn an_endless_model_toml_is_refused() {
    let dir = TempDir::new().unwrap();
    write(&dir, "a/model.toml", vec![b'#'; (1 << 20) + 1]);
    assert!(complain(&dir, dir.path()).contains("is larger than 1048576 bytes"));
}
