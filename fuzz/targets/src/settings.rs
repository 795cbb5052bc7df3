//! `model.toml` and `cresset.toml`, environment variables and flags: each is settings or mistakes, and every mistake says where
//! and what.

use std::path::{Path, PathBuf};

use cresset_config::{Effective, Folder, GivenFlag, Mistake, SETTINGS, SettingsFile, parse_model};

/// A folder that has what its owner's name says: files with an even number of letters.
struct SomeFiles(PathBuf);

impl Folder for SomeFiles {
    fn dir(&self) -> &Path {
        &self.0
    }

    fn is_file(&self, path: &Path) -> bool {
        path.as_os_str().len().is_multiple_of(2)
    }
}

/// A `model.toml`.
pub fn model_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let folder = SomeFiles("/models/m".into());
    let read = || parse_model("model.toml", Some(text), &folder);
    match read() {
        Ok(config) => {
            assert_eq!(read().as_ref(), Ok(&config), "it is read the same each time");
            assert!(config.batching.max_batch_size > 0 && config.instances.count > 0);
            assert!(!config.instances.devices.is_empty() && !config.limits.timeout.is_zero());
        }
        Err(mistakes) => are_told(&mistakes),
    }
}

/// A `cresset.toml`, and after a byte of 0 a variable or a flag: `N` a number of a setting, then its value.
pub fn cresset_toml(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0).map(std::str::from_utf8);
    let Some(Ok(text)) = parts.next() else {
        return;
    };
    let mut given = |as_flag: bool| {
        let value = parts.next()?.ok()?;
        let (number, value) = value.split_at_checked(1)?;
        let setting = &SETTINGS[usize::from(number.as_bytes()[0]) % SETTINGS.len()];
        let name = if as_flag { setting.flag } else { setting.env };
        Some((name.to_owned(), setting.path().to_owned(), value.to_owned()))
    };
    let env: Vec<(String, String)> = given(false)
        .map(|(name, _, value)| (name, value))
        .into_iter()
        .collect();
    let flags: Vec<GivenFlag> = given(true)
        .map(|(name, key, value)| GivenFlag { name, key, value })
        .into_iter()
        .collect();
    let file = |text| SettingsFile {
        path: Path::new("cresset.toml"),
        text,
    };
    let home = [("HOME".to_owned(), "/home/someone".to_owned())];
    match Effective::resolve(Some(file(text)), env.iter().cloned().chain(home.clone()), &flags) {
        Ok(effective) => {
            // What is shown as the settings is these settings.
            let shown = effective.to_toml();
            let again = Effective::resolve(Some(file(&shown)), home, &[]);
            let again = again.unwrap_or_else(|mistakes| unreadable(&shown, &mistakes));
            assert_eq!(again.config, effective.config, "{shown}");
            assert!(effective.rows().len() <= SETTINGS.len());
            effective.warnings.iter().for_each(is_told);
        }
        Err(mistakes) => are_told(&mistakes),
    }
}

fn unreadable(shown: &str, mistakes: &[Mistake]) -> Effective {
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    panic!("{shown}\n{mistakes:?}")
}

fn are_told(mistakes: &[Mistake]) {
    assert!(!mistakes.is_empty(), "a refusal without a mistake");
    mistakes.iter().for_each(is_told);
    assert!(!cresset_config::render_all(mistakes).is_empty());
}

fn is_told(mistake: &Mistake) {
    let line = mistake.to_string();
    assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
    serde_json::to_string(mistake).expect("a mistake is a document too");
}
