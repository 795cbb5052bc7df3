//! What `model.toml` may say of a result cache, and what is said about one that is wrong.

use std::path::Path;
use std::time::Duration;

use cresset_config::{Folder, Mistake, ResultCache, parse_model};

struct Digits;

impl Folder for Digits {
    fn dir(&self) -> &Path {
        Path::new("/srv/models/digits")
    }

    fn is_file(&self, path: &Path) -> bool {
        path == Path::new("model.py")
    }
}

fn read(text: &str) -> Result<ResultCache, Vec<Mistake>> {
    parse_model("digits/model.toml", Some(text), &Digits).map(|model| model.cache)
}

#[test]
fn it_is_off_unless_somebody_wants_it() {
    assert_eq!(read(""), Ok(ResultCache::default()));
    assert!(!ResultCache::default().enabled);
}

#[test]
fn every_key_reaches_its_field() {
    let text = "[cache]\nenabled = true\nttl = \"5m\"\nmax_bytes = \"2MiB\"\nmax_entries = 70\n";
    let wanted = ResultCache {
        enabled: true,
        ttl: Duration::from_secs(300),
        max_bytes: 2 << 20,
        max_entries: 70,
    };
    assert_eq!(read(text), Ok(wanted));
}

#[test]
fn every_mistake_is_named() {
    let text = "[cache]\nenabled = 1\nttl = 60\nmax_bytes = \"1B\"\nmax_entries = 0\nmax_entrys = 1\n";
    let mistakes = read(text).expect_err("all of it is wrong");
    let said: String = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
    insta::assert_snapshot!(said, @r#"
    digits/model.toml:2:11: cache.enabled: must be true or false, is the integer 1
    digits/model.toml:3:7: cache.ttl: must be a duration with a unit (us, ms, s, m, h, d), such as "30s", is the integer 60; "60s" is 60 seconds
    digits/model.toml:4:13: cache.max_bytes: must be 1KiB to 1024TiB, is the text "1B"
    digits/model.toml:5:15: cache.max_entries: must be 1 to 1000000000, is 0
    digits/model.toml:6:1: cache.max_entrys: unknown key; did you mean `max_entries`?
    "#);
}
