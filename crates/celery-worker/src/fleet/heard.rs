//! Who was heard of and when, from the words that servers send each other. No I/O: whoever calls brings words and time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cresset_engine::{About, Member};
use cresset_task::{ModelName, Timestamp};
use tokio::time::Instant;
use uuid::Uuid;

use super::word::{Who, Word};

/// A server that is not heard of for so long, while we hear ourselves, has gone: two of its words are missing.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(11);
/// Servers that have gone are remembered for a day, so many of them at most.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
const GONE_MAX: usize = 256;
/// Servers at most: whoever says more is no fleet.
const THERE_MAX: usize = 10_000;
struct Entry {
    about: About,
    heard: Instant,
    heard_at: Timestamp,
    ended_at: Option<Timestamp>,
}

/// All that were heard of.
#[derive(Default)]
pub(super) struct Heard(BTreeMap<Who, Entry>);

impl Heard {
    /// A server has said this. Whether it is news: not of what it has to do.
    pub(super) fn note(&mut self, word: Word, now: Instant, at: Timestamp) -> bool {
        let Some(about) = word.about else {
            return false;
        };
        let who = (word.since, about.host.clone(), about.pid);
        let ended_at = word.ended.then_some(at);
        let is_news = self.0.get(&who).is_none_or(|known| {
            known.ended_at.is_some() || word.ended || known.about.at_rest() != about.at_rest()
        });
        if !self.0.contains_key(&who) && self.0.len() >= THERE_MAX {
            tracing::warn!(
                host = about.host,
                "more servers than a fleet may have; one is passed over"
            );
            return false;
        }
        let entry = Entry {
            about,
            heard: now,
            heard_at: at,
            ended_at,
        };
        self.0.insert(who, entry);
        is_news
    }

    /// Nobody could be heard until now: everybody has the whole time again.
    pub(super) fn listens(&mut self, now: Instant) {
        let there = self.0.values_mut().filter(|entry| entry.ended_at.is_none());
        there.for_each(|entry| entry.heard = now);
    }

    /// Those that had not been heard of for long when we heard ourselves last have gone. Whether there was one.
    pub(super) fn expire(&mut self, own: Instant, at: Timestamp) -> bool {
        let mut is_news = false;
        for entry in self.0.values_mut() {
            if entry.ended_at.is_none() && own.saturating_duration_since(entry.heard) > GONE_AFTER {
                entry.ended_at = Some(entry.heard_at);
                is_news = true;
            }
        }
        self.0
            .retain(|_, entry| entry.ended_at.is_none_or(|ended| at.since(ended) < REMEMBERED));
        let mut gone: Vec<_> = self
            .0
            .iter()
            .filter_map(|(who, entry)| Some((entry.ended_at?, who.clone())))
            .collect();
        gone.sort();
        for (_, who) in gone.iter().take(gone.len().saturating_sub(GONE_MAX)) {
            self.0.remove(who);
        }
        is_news
    }

    /// Everybody who is there and runs this model has this store. When nobody is, who comes next may have it, and says so if not.
    pub(super) fn all_have(&self, model: &ModelName, store: Uuid) -> bool {
        let there = self.0.values().filter(|entry| entry.ended_at.is_none());
        let mut runners = there.filter(|entry| entry.about.models.contains_key(model));
        runners.all(|entry| entry.about.store == Some(store))
    }

    /// Everybody who is there and runs this model.
    pub(super) fn runners(&self, model: &ModelName) -> BTreeSet<Who> {
        let runs = |entry: &Entry| entry.ended_at.is_none() && entry.about.models.contains_key(model);
        let runners = self.0.iter().filter(|(_, entry)| runs(entry));
        runners.map(|(who, _)| who.clone()).collect()
    }

    /// The servers that are there, and before them, if wanted, those that were.
    pub(super) fn members(&self, with_ended: bool) -> Vec<Member> {
        let member = |((since, ..), entry): (&Who, &Entry)| Member {
            id: *since,
            since: Timestamp::from_micros(*since),
            seen_at: entry.heard_at,
            ended_at: entry.ended_at,
            about: entry.about.clone(),
        };
        let ended = self
            .0
            .iter()
            .filter(|(_, entry)| with_ended && entry.ended_at.is_some());
        let there = self.0.iter().filter(|(_, entry)| entry.ended_at.is_none());
        ended.chain(there).map(member).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(since: i64, host: &str) -> Word {
        Word {
            since,
            about: Some(About {
                host: host.into(),
                ..About::default()
            }),
            ..Word::default()
        }
    }

    fn hosts(heard: &Heard, with_ended: bool) -> Vec<String> {
        let members = heard.members(with_ended).into_iter();
        members.map(|member| member.about.host).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_more_has_gone_since_it_was_heard_last() {
        let (mut heard, at) = (Heard::default(), Timestamp::from_micros(7));
        assert!(heard.note(word(2, "b"), Instant::now(), at) && heard.note(word(1, "a"), Instant::now(), at));
        assert!(!heard.note(word(1, "a"), Instant::now(), at), "it is known");
        assert_eq!(hosts(&heard, false), ["a", "b"]);
        tokio::time::advance(GONE_AFTER).await;
        heard.note(word(2, "b"), Instant::now(), at);
        tokio::time::advance(Duration::from_secs(1)).await;
        let later = Timestamp::from_micros(9_000_000);
        assert!(heard.expire(Instant::now(), later) && !heard.expire(Instant::now(), later));
        assert_eq!(hosts(&heard, false), ["b"]);
        assert_eq!(hosts(&heard, true), ["a", "b"]);
        assert_eq!(heard.members(true)[0].ended_at, Some(at));
        assert!(heard.note(word(1, "a"), Instant::now(), later), "it is back");
        let long_after = later.plus(REMEMBERED);
        heard.note(
            Word {
                ended: true,
                ..word(1, "a")
            },
            Instant::now(),
            later,
        );
        assert_eq!(hosts(&heard, false), ["b"]);
        heard.expire(Instant::now(), long_after);
        assert_eq!(hosts(&heard, true), ["b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_can_be_heard_nobody_goes() {
        let (mut heard, at) = (Heard::default(), Timestamp::from_micros(7));
        heard.note(word(1, "a"), Instant::now(), at);
        tokio::time::advance(GONE_AFTER * 10).await;
        heard.listens(Instant::now());
        assert!(!heard.expire(Instant::now(), at));
        tokio::time::advance(GONE_AFTER + Duration::from_secs(1)).await;
        assert!(heard.expire(Instant::now(), at));
    }

    #[tokio::test(start_paused = true)]
    async fn payloads_go_by_a_store_that_everybody_has_who_may_get_them() {
        let (model, store): (ModelName, _) = ("m".parse().unwrap(), Uuid::max());
        let runs = |since, host: &str, store| {
            let mut word = word(since, host);
            if let Some(about) = &mut word.about {
                about.store = store;
                about.models = [(model.clone(), Default::default())].into();
            }
            word
        };
        let (mut heard, at) = (Heard::default(), Timestamp::from_micros(7));
        let mut hear = |word: Word| {
            heard.note(word, Instant::now(), at);
            heard.all_have(&model, store)
        };
        assert!(hear(word(1, "gateway")), "nobody runs it");
        assert!(hear(runs(2, "a", Some(store))));
        assert!(hear(word(3, "b")), "it runs another one");
        assert!(!hear(runs(4, "c", None)), "it has none");
        assert!(!hear(runs(4, "c", Some(Uuid::nil()))), "it has another one");
        assert!(!hear(runs(5, "d", Some(store))));
        let gone = Word {
            ended: true,
            ..runs(4, "c", None)
        };
        assert!(hear(gone));
    }
}
