//! What a group does to the counts, taken apart: so that servers which share a store can tell each other.

use cresset_task::{ClientKey, ModelName};

use super::Change;

/// One part of a change. Times are not among them: who is told of a delay looks them up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the methods of `Change`")]
pub enum Word {
    /// Tasks of a model.
    Model {
        model: ModelName,
        tasks: i64,
        bytes: i64,
        delayed: i64,
    },
    /// Tasks of a client.
    Client {
        client: ClientKey,
        tasks: i64,
        bytes: i64,
    },
    /// Deliveries for a host.
    Host { host: String, count: i64 },
    /// Something of the outbox that is not a count.
    Outbox,
}

impl Change {
    /// All of it, part by part.
    #[must_use]
    pub fn words(&self) -> Vec<Word> {
        let models = self.models().map(|(model, tasks, bytes, delayed)| Word::Model {
            model: model.clone(),
            tasks,
            bytes,
            delayed,
        });
        let clients = self.clients().map(|(client, tasks, bytes)| Word::Client {
            client: client.clone(),
            tasks,
            bytes,
        });
        let moved = self.outbox.hosts().filter(|(_, count)| *count != 0);
        let hosts = moved.map(|(host, count)| Word::Host {
            host: host.to_owned(),
            count,
        });
        let touched = self.outbox.is_touched().then_some(Word::Outbox);
        models.chain(clients).chain(hosts).chain(touched).collect()
    }

    /// Adds such a part.
    pub fn say(&mut self, word: &Word) {
        match word {
            Word::Model {
                model,
                tasks,
                bytes,
                delayed,
            } => {
                self.add_to_model(model, *tasks, *bytes);
                self.delay(model, *delayed);
            }
            Word::Client { client, tasks, bytes } => self.add_to_client(client, *tasks, *bytes),
            Word::Host { host, count } => self.outbox.add(host, *count),
            Word::Outbox => self.outbox.touch(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Owner;
    use super::*;

    #[test]
    fn a_change_that_is_said_word_by_word_is_the_same() {
        let owner = Owner {
            model: "digits".parse().expect("a name"),
            client: ClientKey::named("somebody").ok(),
        };
        let mut change = Change::default();
        change.add(&owner, 2, 14);
        change.delay(&owner.model, -1);
        change.outbox.add("example.org:443", 1);
        change.outbox.add("example.com:443", 1);
        change.outbox.add("example.com:443", -1);
        let mut again = Change::default();
        change.words().iter().for_each(|word| again.say(word));
        let (mut one, mut other) = (change.words(), again.words());
        one.sort_by_key(|word| format!("{word:?}"));
        other.sort_by_key(|word| format!("{word:?}"));
        assert_eq!(one, other);
        assert_eq!(one.len(), 4);
        assert_eq!(again.due_wanted(), [owner.model]);
    }
}
