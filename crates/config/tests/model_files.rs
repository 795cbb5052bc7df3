//! What `model.toml` may say of files, and what is said about it when it is wrong.

use std::path::Path;

use cresset_config::{FileForm, Files, Folder, Mistake, parse_model};

struct Caption;

impl Folder for Caption {
    fn dir(&self) -> &Path {
        Path::new("/srv/models/caption")
    }

    fn is_file(&self, path: &Path) -> bool {
        path == Path::new("model.py")
    }
}

fn read(text: &str) -> Result<Files, Vec<Mistake>> {
    parse_model("caption/model.toml", Some(text), &Caption).map(|model| model.files)
}

#[test]
fn files_are_bytes_or_paths_and_of_some_types_or_any() {
    let form = |text: &str| read(text).map(|files| files.form);
    assert_eq!(read(""), Ok(Files::default()));
    assert_eq!(form("files = false"), Ok(FileForm::None));
    assert_eq!(read("files = true"), Ok(Files::as_bytes()));
    assert_eq!(form("files = \"path\""), Ok(FileForm::Path));
    let some = read("files = \"path\"\ncontent_types = [\"Image/*\", \"application/pdf\"]").unwrap();
    let types: Vec<&str> = some.types.iter().map(|range| range.as_str()).collect();
    assert_eq!(types, ["image/*", "application/pdf"]);
}

#[test]
fn every_mistake_is_named() {
    let tensors = "[[inputs]]\nname = \"x\"\ndtype = \"float32\"\nshape = [1]\n";
    let wrong = [
        "files = \"true\"\n",
        "files = \"paths\"\n",
        "files = 1\n",
        "content_types = [\"image/*\"]\n",
        "files = true\ncontent_types = []\n",
        "files = true\ncontent_types = [\"*/*\"]\n",
        "files = true\ncontent_types = [\"image/png\", \"png\"]\n",
        &format!("files = \"path\"\n{tensors}"),
    ];
    let said: String = wrong
        .iter()
        .flat_map(|text| read(text).expect_err("all of it is wrong"))
        .map(|mistake| format!("{mistake}\n"))
        .collect();
    insta::assert_snapshot!(said);
}
