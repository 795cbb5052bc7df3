//! What `model.toml` may say of results that come piece by piece, and what is said about it when it is wrong.

use std::path::Path;

use cresset_config::{Folder, Mistake, Stream, parse_model};

struct Talker;

impl Folder for Talker {
    fn dir(&self) -> &Path {
        Path::new("/srv/models/talker")
    }

    fn is_file(&self, path: &Path) -> bool {
        path == Path::new("model.py")
    }
}

fn read(text: &str) -> Result<Stream, Vec<Mistake>> {
    parse_model("talker/model.toml", Some(text), &Talker).map(|model| model.stream)
}

#[test]
fn it_is_off_unless_somebody_wants_it() {
    assert_eq!(read(""), Ok(Stream::default()));
    assert!(!Stream::default().enabled);
}

#[test]
fn every_key_reaches_its_field() {
    let wanted = Stream {
        enabled: true,
        replay_bytes: 2 << 20,
    };
    assert_eq!(
        read("[stream]\nenabled = true\nreplay_bytes = \"2MiB\"\n"),
        Ok(wanted)
    );
}

#[test]
fn every_mistake_is_named() {
    let wrong = [
        "[stream]\nenabled = 1\nreplay_bytes = \"1B\"\nreplay_byte = 1\n",
        "[stream]\nenabled = true\n\n[[inputs]]\nname = \"x\"\ndtype = \"float32\"\nshape = [1]\n",
    ];
    let said: String = wrong
        .iter()
        .flat_map(|text| read(text).expect_err("all of it is wrong"))
        .map(|mistake| format!("{mistake}\n"))
        .collect();
    insta::assert_snapshot!(said);
}
