//! Random lives, compared with the model after every step.
//!
//! The seed is printed; `CRESSET_CONFORMANCE_SEED=<n>` plays that life again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cresset_task::{Attempt, ModelName, Outcome, Redelivery, State, TaskId, Timestamp};

use super::dice::Dice;
use super::finish::outcomes;
use super::model::Model;
use super::sizes::{sizes, text};
use super::world::{World, at, client, json, model, prioritised};
use crate::{Completion, LeaseRequest, Lookup, NewTask, Release, Retry};

const SEED_VARIABLE: &str = "CRESSET_CONFORMANCE_SEED";
/// Played each time, besides a new one.
const KNOWN_SEED: u64 = 7;
const STEPS: usize = 500;
const MODELS: [&str; 2] = ["digits", "embed"];
const CLIENTS: [&str; 2] = ["ada", "grace"];

pub(super) async fn a_known_random_life_is_like_the_model(world: World) {
    live(world, KNOWN_SEED).await;
}

pub(super) async fn a_new_random_life_is_like_the_model(world: World) {
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    live(world, seed).await;
}

async fn live(world: World, seed: u64) {
    eprintln!("{SEED_VARIABLE}={seed}");
    let mut life = Life {
        world,
        model: Model::default(),
        dice: Dice::new(seed),
        ids: Vec::new(),
        now: at(0),
    };
    for step in 0..STEPS {
        let (next, did) = life.step().await;
        life = next;
        life.compare(&format!("seed {seed}, step {step}: {did}")).await;
    }
    life.compare_all(&format!("seed {seed}, at the end")).await;
}

struct Life {
    world: World,
    model: Model,
    dice: Dice,
    // Every id ever submitted.
    ids: Vec<TaskId>,
    now: Timestamp,
}

impl Life {
    /// One random operation, on both; what it was.
    async fn step(mut self) -> (Self, &'static str) {
        let jump = if self.dice.chance(4) {
            self.world.harness.ttl().results / 2
        } else {
            Duration::ZERO
        };
        self.now = self
            .now
            .plus(jump + Duration::from_micros(1 + self.dice.below(50) as u64));
        let did = match self.dice.below(100) {
            0..33 => self.submit().await,
            33..53 => self.lease().await,
            53..63 => self.release().await,
            63..80 => self.finish().await,
            80..86 => self.retry().await,
            86..90 => self.cancel().await,
            90..93 => self.expire().await,
            93..96 => self.purge().await,
            96..98 => return (self.crash().await, "crash"),
            98 => return (self.restart().await, "restart"),
            _ => self.twin().await,
        };
        (self, did)
    }

    fn some_model(&mut self) -> ModelName {
        model(MODELS[self.dice.below(MODELS.len())])
    }

    fn some_task(&mut self) -> NewTask {
        let weight_max = if self.dice.chance(5) { 20_000 } else { 30 };
        let weight = 1 + self.dice.below(weight_max);
        let payload = match self.dice.chance(5) {
            true => text(self.some_size(), weight),
            false => json(&"1".repeat(weight)),
        };
        let delays = self.world.store.capabilities().delays;
        // Steps of a life are some 25 us: some are overtaken, some are not.
        let step = Duration::from_micros([0, 100, 1_000_000_000][self.dice.below(3)]);
        let priority = self.dice.below(4) as i8 - 2;
        NewTask {
            model: self.some_model(),
            payload,
            metadata: self.dice.chance(30).then(|| Bytes::from_static(b"{\"a\":1}")),
            due_at: (delays && self.dice.chance(15)).then(|| self.soon()),
            expires_at: self.dice.chance(15).then(|| self.soon()),
            deadline_at: self.dice.chance(15).then(|| self.soon()),
            started_at: self.dice.chance(12).then_some(self.now),
            client: self.dice.chance(60).then(|| client(CLIENTS[self.dice.below(2)])),
            ..prioritised(MODELS[0], priority, step, self.now)
        }
    }

    /// Some steps from now.
    fn soon(&mut self) -> Timestamp {
        self.now.plus(Duration::from_micros(self.dice.below(600) as u64))
    }

    async fn submit(&mut self) -> &'static str {
        let new = self.some_task();
        self.model.submit(&new);
        self.ids.push(new.id);
        self.world.submit(new).await;
        "submit"
    }

    /// One of the sizes where the store may do things differently.
    fn some_size(&mut self) -> usize {
        let sizes = sizes(&self.world);
        sizes[self.dice.below(sizes.len())]
    }

    /// A second submit of a remembered id.
    async fn twin(&mut self) -> &'static str {
        let new = self.some_task();
        if let Some(id) = self.some_id() {
            let taken = self.model.fetch(id) != Lookup::Unknown;
            if taken {
                assert!(self.world.store.submit(NewTask { id, ..new }).await.is_err());
            }
        }
        "submit of a taken id"
    }

    async fn lease(&mut self) -> &'static str {
        let request = LeaseRequest {
            model: self.some_model(),
            max_tasks: self.dice.below(8),
            max_bytes: if self.dice.chance(50) {
                usize::MAX
            } else {
                self.dice.below(100)
            },
            now: self.now,
        };
        let bytes_max = request.max_bytes as u64;
        let wanted = self
            .model
            .lease(&request.model, request.max_tasks, bytes_max, self.now);
        let leases = self.world.store.lease(request).await.unwrap();
        let leased = leases.into_iter().map(|l| (l.id, l.attempt, l.payload.unwrap()));
        let leased: Vec<_> = leased.collect();
        assert!(leased == wanted, "{leased:.80?} are not {wanted:.80?}");
        "lease"
    }

    /// Some id and attempt: often the right one, sometimes one above, below, or of nobody.
    fn some_claim(&mut self) -> Option<(TaskId, Attempt)> {
        let started: Vec<_> = (self.model.tasks.iter().map(|k| &k.record))
            .filter(|r| r.state == cresset_task::State::Started)
            .map(|r| (r.id, r.attempts))
            .collect();
        if !started.is_empty() && self.dice.chance(75) {
            return Some(started[self.dice.below(started.len())]);
        }
        if self.dice.chance(5) {
            return Some((TaskId::fresh(), Attempt(1)));
        }
        let id = self.some_id()?;
        Some((id, Attempt(self.dice.below(4) as u32)))
    }

    fn some_id(&mut self) -> Option<TaskId> {
        if self.ids.is_empty() {
            None
        } else {
            Some(self.ids[self.dice.below(self.ids.len())])
        }
    }

    async fn release(&mut self) -> &'static str {
        let mut releases = Vec::new();
        for _ in 0..self.dice.below(4) {
            releases.extend(self.some_claim().map(|(id, attempt)| Release { id, attempt }));
        }
        releases.iter().for_each(|r| self.model.release(*r));
        self.world.store.release(releases).await.unwrap();
        "release"
    }

    async fn finish(&mut self) -> &'static str {
        let mut completions = Vec::new();
        for _ in 0..1 + self.dice.below(3) {
            let outcomes = outcomes();
            let number = self.dice.below(outcomes.len());
            let outcome = match self.dice.chance(10) {
                true => Outcome::Success(text(self.some_size(), number)),
                false => outcomes[number].0.clone(),
            };
            let version = self.dice.chance(50).then(|| "7".to_owned());
            completions.extend(self.some_claim().map(|(id, attempt)| Completion {
                id,
                attempt,
                redeliveries: 0,
                history: Vec::new(),
                outcome,
                version,
                finished_at: self.now,
                evidence: None,
                cached: self.dice.chance(20),
            }));
        }
        let wanted: Vec<_> = completions
            .iter()
            .cloned()
            .map(|c| self.model.finish(c))
            .collect();
        assert_eq!(self.world.store.finish(completions).await.unwrap(), wanted);
        "finish"
    }

    async fn retry(&mut self) -> &'static str {
        if !self.world.store.capabilities().delays {
            return "nothing";
        }
        let Some((id, attempt)) = self.some_claim() else {
            return "nothing";
        };
        let retry = Retry {
            id,
            attempt,
            redeliveries: 0,
            history: vec![Redelivery {
                attempt,
                at: self.now,
                reason: "it failed".into(),
            }],
            due_at: self.soon(),
        };
        let wanted = self.model.retry(retry.clone());
        assert_eq!(self.world.retry(retry).await, wanted);
        "retry"
    }

    async fn cancel(&mut self) -> &'static str {
        let Some(id) = self.some_id() else {
            return "nothing";
        };
        let wanted = self.model.cancel(id, "enough", self.now);
        let cancelled = self.world.store.cancel(id, "enough", self.now).await.unwrap();
        assert_eq!(cancelled, wanted);
        "cancel"
    }

    async fn expire(&mut self) -> &'static str {
        let (mut revoked, mut stopped) = (Vec::new(), Vec::new());
        loop {
            let expiries = self.world.store.expire(self.now).await.unwrap();
            revoked.extend(expiries.revoked.into_iter().map(|(id, _)| id));
            stopped.extend(expiries.stopped.into_iter().map(|(id, _)| id));
            if expiries.next.is_none_or(|next| next > self.now) {
                break;
            }
        }
        let (mut revoked, mut wanted) = (revoked, self.model.expire(self.now));
        revoked.sort();
        wanted.sort();
        assert_eq!(revoked, wanted);
        let mut wanted = self.model.stop(self.now);
        stopped.sort();
        wanted.sort();
        assert_eq!(stopped, wanted);
        "expire"
    }

    async fn purge(&mut self) -> &'static str {
        let (results, tombstones) = (
            self.world.harness.ttl().results,
            self.world.harness.ttl().tombstones,
        );
        let wanted = self.model.purge(self.now, results, tombstones);
        assert_eq!(self.world.purge_all(self.now).await, wanted);
        "purge"
    }

    async fn crash(mut self) -> Self {
        self.model.crash();
        Self {
            world: self.world.crash().await,
            ..self
        }
    }

    async fn restart(mut self) -> Self {
        self.model.crash();
        Self {
            world: self.world.restart().await,
            ..self
        }
    }

    /// What the model cannot know: when a store noticed the end of a process, and in which words it says why.
    fn without_words(&self, mut found: Lookup) -> Lookup {
        if let Lookup::Found(record) = &mut found {
            let known = self.model.tasks.iter().find(|k| k.record.id == record.id);
            let interrupted = known.map_or(&[][..], |k| &k.interrupted);
            record
                .history
                .retain(|entry| !interrupted.contains(&entry.attempt));
            if let (State::Revoked, Some(Outcome::Revoked { reason })) = (record.state, &mut record.outcome)
                && reason != "enough"
            {
                reason.clear();
            }
        }
        found
    }

    /// What is queued, and a few tasks.
    async fn compare(&mut self, when: &str) {
        for name in MODELS {
            assert_eq!(
                self.world.depth(name),
                self.model.depth(&model(name)),
                "{name}, {when}"
            );
        }
        for name in CLIENTS {
            let client = client(name);
            let load = self.world.store.client_load(&client);
            assert_eq!(load, self.model.load(Some(&client)), "{name}, {when}");
        }
        assert_eq!(self.world.store.load(), self.model.load(None), "{when}");
        for _ in 0..3 {
            if let Some(id) = self.some_id() {
                self.compare_task(id, when).await;
            }
        }
    }

    async fn compare_all(&self, when: &str) {
        for id in &self.ids {
            self.compare_task(*id, when).await;
        }
    }

    async fn compare_task(&self, id: TaskId, when: &str) {
        let (found, wanted) = (self.world.lookup(id).await, self.model.fetch(id));
        assert_eq!(self.without_words(found), self.without_words(wanted), "{when}");
        assert_eq!(
            self.world.store.position(id).await.unwrap(),
            self.model.position(id),
            "{when}"
        );
    }
}
