//! Keys that a `model.toml` might have once, and has no more.

use std::path::Path;

use cresset_config::{Folder, parse_model};

struct Digits;

impl Folder for Digits {
    fn dir(&self) -> &Path {
        Path::new("/srv/models/digits")
    }

    fn is_file(&self, path: &Path) -> bool {
        path.ends_with("model.py")
    }
}

#[test]
fn a_key_that_is_no_more_names_what_says_the_same_now() {
    let text = "[limits]\nlate_predictions_go_on = true\n";
    let mistakes = parse_model("digits/model.toml", Some(text), &Digits).unwrap_err();
    let told: String = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
    assert!(
        told.contains("limits.late_predictions_go_on: is no longer a key"),
        "{told}"
    );
    assert!(told.contains("`late_predictions = \"stored\"`"), "{told}");
}
