//! What this server says of itself over the broker, and what it hears of the others.
//!
//! It hears itself, too: when that stays away the connection is lost, whatever it looks like.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cresset_engine::{About, Member, Roster};
use cresset_task::{ModelName, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::heard::Heard;
use super::who_has::{Holding, Questions};
use super::word::{Has, Seeks, Word};
use crate::insist::Waits;
use crate::transport::{Transport, Trouble};

/// A server says that it is there so often, also when there is nothing new.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// When our own words have not come back for so long nothing comes by this connection.
const DEAF_AFTER: Duration = Duration::from_secs(16);
/// Those that are not heard of any more are looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Words that wait to be read.
const WORDS_MAX: usize = 1024;
/// Whoever is there has answered after that, when it could be asked.
const ANSWERED_AFTER: Duration = Duration::from_millis(500);
/// A broker that is away is not waited for any longer.
const SETTLE_PATIENCE: Duration = Duration::from_secs(3);
/// The last words are not waited for for ever.
const FAREWELL: Duration = Duration::from_secs(2);
/// A connection that lasted so long was a good one: the next try comes soon.
const GOOD: Duration = Duration::from_secs(10);

const NOT_YET: &str = "broker: not connected yet";

/// The servers of a fleet, by what they tell.
pub(super) struct Told {
    transport: Arc<dyn Transport>,
    /// Since when we are there.
    since: Timestamp,
    said: Mutex<Option<About>>,
    heard: Mutex<Heard>,
    /// What was asked of others, and, at a worker, what it has itself.
    questions: Questions,
    holding: Option<Arc<Holding>>,
    /// Something is to be said at once.
    news: Notify,
    changed: Notify,
    settled: CancellationToken,
    /// Why nobody can be heard, if so.
    trouble: watch::Sender<Option<String>>,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// A word that was taken in.
#[derive(Default)]
struct Taken {
    /// It is what we have said of ourselves.
    is_own: bool,
    /// What is to be said to it.
    answer: Option<Word>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Roster for Told {
    fn introduce(&self, about: About, is_news: bool) {
        let was = lock(&self.said).replace(about);
        if is_news || was.is_none() {
            self.news.notify_one();
        }
    }

    fn members(&self, with_ended: bool) -> Vec<Member> {
        let mut members = lock(&self.heard).members(with_ended);
        // It is there before it has heard itself.
        let is_known = members.iter().any(|member| member.id == self.since.as_micros());
        if let (false, Some(about)) = (is_known, lock(&self.said).clone()) {
            members.push(Member {
                id: self.since.as_micros(),
                since: self.since,
                seen_at: Timestamp::now(),
                ended_at: None,
                about,
            });
        }
        members
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn settled(&self) {
        // A broker that is away leads nowhere anyway.
        let _ = tokio::time::timeout(SETTLE_PATIENCE, self.settled.cancelled()).await;
    }
}

impl Told {
    /// `holding`: what this server has of others' tasks, at a worker.
    pub(super) fn new(transport: Arc<dyn Transport>, holding: Option<Arc<Holding>>) -> Arc<Self> {
        Arc::new(Self {
            transport,
            since: Timestamp::now(),
            said: Mutex::default(),
            heard: Mutex::default(),
            questions: Questions::default(),
            holding,
            news: Notify::new(),
            changed: Notify::new(),
            settled: CancellationToken::new(),
            trouble: watch::Sender::new(Some(NOT_YET.into())),
        })
    }

    /// Everybody who runs this model says that it has this store, by what was heard last.
    pub(super) fn all_have(&self, model: &ModelName, store: Uuid) -> bool {
        lock(&self.heard).all_have(model, store)
    }

    /// Which of these tasks somebody has who runs this model. `None`: not everybody has answered, or nobody can be asked.
    pub(super) async fn who_has(&self, model: &ModelName, ids: &[String]) -> Option<HashSet<String>> {
        let asked = lock(&self.heard).runners(model);
        if asked.is_empty() {
            // Nobody is there who could have one.
            return Some(HashSet::new());
        }
        let question = self.questions.ask(asked);
        let word = Word {
            since: self.since.as_micros(),
            seeks: Some(Seeks {
                question: question.id,
                ids: ids.to_vec(),
            }),
            ..Word::default()
        };
        if let Err(error) = self.tell(&word).await {
            tracing::debug!(%error, "who has which tasks cannot be asked");
            return None;
        }
        question.answers().await
    }

    /// Why nobody can be heard, while that is so.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// Says and hears, over a new connection when one is lost, until `leave`.
    pub(super) async fn run(self: Arc<Self>, leave: CancellationToken) {
        let mut waits = Waits::new();
        loop {
            let began = Instant::now();
            let (words, mut heard) = mpsc::channel(WORDS_MAX);
            let listens = CancellationToken::new();
            let why = tokio::select! {
                ended = self.transport.overhear(&words, &listens) => match ended {
                    Ok(()) => "broker: the connection ended".to_owned(),
                    Err(error) => error.to_string(),
                },
                why = self.talk(&mut heard, &listens) => why,
                () = leave.cancelled() => break,
            };
            if self.trouble.borrow().is_none() {
                tracing::warn!(why, "the other servers cannot be heard");
            }
            self.trouble.send_replace(Some(why));
            if began.elapsed() > GOOD {
                waits = Waits::new();
            }
            tokio::select! {
                () = tokio::time::sleep(waits.next()) => {}
                () = leave.cancelled() => break,
            }
        }
        if self.trouble.borrow().is_none() {
            // Nobody may be there to hear it.
            let _ = tokio::time::timeout(FAREWELL, self.say(false, true)).await;
        }
    }

    /// Until our own words do not come back any more: why.
    async fn talk(&self, words: &mut mpsc::Receiver<Vec<u8>>, listens: &CancellationToken) -> String {
        listens.cancelled().await;
        let mut own = Instant::now();
        lock(&self.heard).listens(own);
        if let Err(error) = self.say(true, false).await {
            return error.to_string();
        }
        let answered = tokio::time::sleep(ANSWERED_AFTER);
        let mut answered = std::pin::pin!(answered);
        let mut says = interval(SAY_EVERY);
        let mut looks = interval(LOOK_EVERY);
        says.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let says_now = tokio::select! {
                word = words.recv() => {
                    let Some(word) = word else {
                        return "broker: the connection ended".into();
                    };
                    let heard = self.hear(&word);
                    if let Some(answer) = heard.answer
                        && let Err(error) = self.tell(&answer).await
                    {
                        return error.to_string();
                    }
                    if heard.is_own {
                        own = Instant::now();
                        if self.trouble.send_replace(None).is_some() {
                            tracing::info!("the other servers can be heard");
                        }
                    }
                    false
                }
                () = self.news.notified() => true,
                _ = says.tick() => true,
                () = &mut answered, if !self.settled.is_cancelled() => {
                    self.settled.cancel();
                    false
                }
                _ = looks.tick() => {
                    if own.elapsed() > DEAF_AFTER {
                        return "broker: nothing is heard by a connection that seems to be there".into();
                    }
                    if lock(&self.heard).expire(own, Timestamp::now()) {
                        self.changed.notify_one();
                    }
                    false
                }
            };
            if says_now && let Err(error) = self.say(false, false).await {
                return error.to_string();
            }
        }
    }

    /// Takes a word in.
    fn hear(&self, bytes: &[u8]) -> Taken {
        let word = match Word::read(bytes) {
            Ok(word) => word,
            Err(why) => {
                tracing::warn!(
                    why,
                    "what was told to the fleet cannot be read, and is passed over"
                );
                return Taken::default();
            }
        };
        if let Some(has) = word.has {
            self.questions.answered(has);
            return Taken::default();
        }
        if let Some(seeks) = word.seeks {
            return Taken {
                is_own: false,
                answer: self.answer(seeks),
            };
        }
        let is_own = word.since == self.since.as_micros()
            && match (&word.about, &*lock(&self.said)) {
                (Some(theirs), Some(ours)) => (&theirs.host, theirs.pid) == (&ours.host, ours.pid),
                (theirs, ours) => theirs.is_none() && ours.is_none(),
            };
        if word.asks && !is_own {
            self.news.notify_one();
        }
        if lock(&self.heard).note(word, Instant::now(), Timestamp::now()) {
            self.changed.notify_one();
        }
        Taken { is_own, answer: None }
    }

    /// What we say to somebody who seeks tasks, if that is ours to answer.
    fn answer(&self, seeks: Seeks) -> Option<Word> {
        let holding = self.holding.as_ref()?;
        let (host, pid) = lock(&self.said)
            .as_ref()
            .map(|about| (about.host.clone(), about.pid))?;
        let has = Has {
            question: seeks.question,
            who: (self.since.as_micros(), host, pid),
            ids: holding.of(&seeks.ids),
        };
        Some(Word {
            since: self.since.as_micros(),
            has: Some(has),
            ..Word::default()
        })
    }

    async fn say(&self, asks: bool, ended: bool) -> Result<(), Trouble> {
        let word = Word {
            since: self.since.as_micros(),
            about: lock(&self.said).clone(),
            asks,
            ended,
            ..Word::default()
        };
        self.tell(&word).await
    }

    async fn tell(&self, word: &Word) -> Result<(), Trouble> {
        let text = serde_json::to_vec(word).map_err(|error| Trouble {
            service: "broker",
            why: format!("what this server is cannot be told: {error}"),
        })?;
        self.transport.call(&text).await
    }
}

#[cfg(test)]
mod tests;
