//! What a server on a shared store says of itself, and what is known of those that are there.

use std::collections::BTreeMap;

use cresset_task::{ModelName, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Members that have ended are shown this many of at most, the newest first.
pub const ENDED_SHOWN_MAX: i64 = 256;

/// What a server is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything: doors and models.
    #[default]
    Serve,
    /// Doors only.
    Gateway,
    /// Models only.
    Worker,
}

impl Role {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Gateway => "gateway",
            Self::Worker => "worker",
        }
    }
}

/// What a server says of itself. Of what a newer program says more, that is passed over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// What it is for.
    #[serde(default)]
    pub role: Role,
    /// The name of its machine.
    #[serde(default)]
    pub host: String,
    /// Its process there.
    #[serde(default)]
    pub pid: u32,
    /// The version of its program.
    #[serde(default)]
    pub program: String,
    /// It has been told to stop, and takes no more work.
    #[serde(default)]
    pub stopping: bool,
    /// The store by which large payloads go to it and come from it, where servers have a broker between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Uuid>,
    /// The models that it runs.
    #[serde(default)]
    pub models: BTreeMap<ModelName, Offer>,
}

/// A model that a server runs: what it is, how it stands, and what it has to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Its version.
    pub version: String,
    /// What callers' inputs are checked by, as the text of a `model.toml`.
    #[serde(default)]
    pub settings: String,
    /// Its state, by name.
    #[serde(default)]
    pub state: String,
    /// It takes work, and does it as it should.
    #[serde(default)]
    pub ready: bool,
    /// What is wrong with it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its processes.
    #[serde(default)]
    pub instances: usize,
    /// Those of them that take batches.
    #[serde(default)]
    pub up: usize,
    /// What it has to do.
    #[serde(flatten)]
    pub load: OfferLoad,
}

/// What a model has to do at one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OfferLoad {
    /// Items in instances or about to be.
    #[serde(default)]
    pub running: usize,
    /// Items finished a second; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

impl About {
    /// The same without what changes with every batch.
    #[must_use]
    pub fn at_rest(&self) -> Self {
        let mut rest = self.clone();
        for offer in rest.models.values_mut() {
            offer.load = OfferLoad::default();
        }
        rest
    }
}

/// A server that is on the store, or was.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its number, never given twice; a later one came later.
    pub id: i64,
    /// Since when it is there.
    pub since: Timestamp,
    /// When it last wrote.
    pub seen_at: Timestamp,
    /// When it ended, or was found to have.
    pub ended_at: Option<Timestamp>,
    /// What it says of itself.
    pub about: About,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_read_and_what_is_new_is_passed_over() {
        let offer = Offer {
            version: "2".into(),
            settings: "name = \"m\"\n".into(),
            state: "ready".into(),
            ready: true,
            instances: 2,
            up: 1,
            load: OfferLoad {
                running: 3,
                rate: Some(1.5),
            },
            ..Offer::default()
        };
        let about = About {
            role: Role::Worker,
            host: "gpu-1".into(),
            pid: 7,
            program: "0.1.0".into(),
            stopping: false,
            store: Some(Uuid::max()),
            models: [("m".parse().unwrap(), offer)].into(),
        };
        let text = serde_json::to_string(&about).unwrap();
        assert_eq!(serde_json::from_str::<About>(&text).unwrap(), about);
        assert_eq!(serde_json::from_str::<About>("{}").unwrap(), About::default());
        let newer = r#"{"role":"worker","zone":"b","models":{"m":{"version":"2","colour":"red"}}}"#;
        let read: About = serde_json::from_str(newer).unwrap();
        assert_eq!(read.models["m"].version, "2");
        assert_ne!(about.at_rest(), about);
        assert_eq!(about.at_rest().models["m"].load, OfferLoad::default());
    }
}
