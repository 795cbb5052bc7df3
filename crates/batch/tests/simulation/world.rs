//! A day of traffic on a virtual clock, through a real batcher, watched at every step.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use cresset_batch::{Ahead, Batcher, Class, Decision, Entry, Moment, Seat, Seats, Turn};

use crate::dice::Dice;
use crate::plan::{Plan, Traffic};
use crate::rules;

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Waiting,
    Sent,
    Served(Moment),
    Expired,
    /// Its caller hung up while it waited.
    HungUp,
}

/// An item as the world knows it; the batcher is given its number.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) entry: Entry<usize>,
    pub(crate) priority: i8,
    pub(crate) fate: Fate,
    caller: bool,
    pub(crate) wanted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    HangUp(usize),
    /// An instance is done with its batch.
    Done(usize),
    /// The engine hears of it.
    Told(usize),
    Alarm,
}

#[derive(Debug)]
struct Batch {
    items: Vec<usize>,
    callers: usize,
    work: u64,
    ready: Moment,
    began: Moment,
}

/// An instance: what it has, and what the engine believes it has.
#[derive(Debug, Default)]
struct Instance {
    line: VecDeque<Batch>,
    running: bool,
    told: VecDeque<(Batch, Duration)>,
    believed: VecDeque<(u64, Ahead)>,
}

/// Those of a batch whose callers wait.
fn callers(batch: &[Entry<usize>]) -> usize {
    batch.iter().filter(|e| e.class == Class::Interactive).count()
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    dice: Dice,
    pub(crate) now: Moment,
    events: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    event_count: u64,
    batcher: Batcher<usize>,
    pub(crate) items: Vec<Known>,
    /// Those whose fate is to wait.
    waiting: BTreeSet<usize>,
    instances: Vec<Instance>,
    alarm: Option<Moment>,
    someone_hung_up: bool,
    pub(crate) batches: usize,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut world = Self {
            dice: Dice::new(plan.seed ^ 0x5eed),
            now: Moment::ZERO,
            events: BinaryHeap::new(),
            event_count: 0,
            batcher: Batcher::new(plan.limits),
            items: Vec::new(),
            waiting: BTreeSet::new(),
            instances: (0..plan.instances).map(|_| Instance::default()).collect(),
            alarm: None,
            someone_hung_up: false,
            batches: 0,
            plan,
        };
        match world.plan.traffic {
            Traffic::Callers { count, .. } => (0..count).for_each(|_| world.at(Moment::ZERO, Event::Arrival)),
            Traffic::Arrivals { .. } => world.at(Moment::ZERO, Event::Arrival),
        }
        world
    }

    /// Plays until nothing is left to happen.
    pub(crate) fn play(mut self) -> Self {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            assert!(at >= self.now, "time runs forward");
            self.now = at;
            self.happen(event);
            self.wake();
        }
        rules::nothing_is_lost(&self.items, &self.batcher);
        self
    }

    /// A request of one's own making.
    pub(crate) fn add(&mut self, class: Class, priority: i8) -> usize {
        let (id, now, step) = (self.items.len(), self.now, self.plan.step);
        let turn = match class {
            Class::Interactive => Turn::interactive(now, priority, step),
            Class::Bulk => {
                let line = now.as_nanos() as i64 - step.as_nanos() as i64 * i64::from(priority);
                Turn::bulk(now, line, priority, step)
            }
        };
        let length = self.dice.between(0, self.plan.lengths);
        let limited = class == Class::Interactive && !self.plan.time_limits.is_empty();
        let limit = limited.then(|| self.dice.pick(&self.plan.time_limits));
        let entry = Entry {
            item: id,
            bytes: self.dice.between(0, 150) as usize,
            cost: self.dice.between(0, 60),
            bucket: self.dice.between(1, self.plan.buckets),
            length,
            class,
            turn,
            arrived: now,
            deadline: limit.map(|limit| now + limit),
        };
        if class == Class::Interactive && self.dice.chance(self.plan.hangup_percent) {
            let after = self.dice.gap(Duration::from_millis(20));
            self.at(now + after, Event::HangUp(id));
        }
        self.batcher.push(entry.clone());
        self.waiting.insert(id);
        self.items.push(Known {
            entry,
            priority,
            fate: Fate::Waiting,
            caller: matches!(self.plan.traffic, Traffic::Callers { .. }),
            wanted: true,
        });
        id
    }

    fn at(&mut self, moment: Moment, event: Event) {
        self.event_count += 1;
        self.events.push(Reverse((moment, self.event_count, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::HangUp(id) => {
                if self.items[id].fate == Fate::Waiting {
                    self.items[id].fate = Fate::HungUp;
                    self.waiting.remove(&id);
                    self.items[id].wanted = false;
                    self.someone_hung_up = true;
                    self.comes_back(id);
                }
            }
            Event::Done(number) => {
                let instance = &mut self.instances[number];
                instance.running = false;
                let batch = instance.line.pop_front().expect("what is done was in line");
                let took = self.now - batch.began;
                instance.told.push_back((batch, took));
                self.at(self.now + self.plan.handover / 2, Event::Told(number));
                self.run_next(number);
            }
            Event::Told(number) => {
                let instance = &mut self.instances[number];
                let (batch, took) = instance.told.pop_front().expect("what is told was done");
                instance.believed.pop_front();
                self.batcher.observe(batch.work, took);
                self.batcher.answered(batch.callers, self.now);
                self.believe(number);
                for id in batch.items {
                    assert!(self.items[id].fate == Fate::Sent, "served twice, or never sent");
                    self.items[id].fate = Fate::Served(self.now);
                    self.comes_back(id);
                }
            }
            Event::Alarm => self.alarm = self.alarm.filter(|at| *at > self.now),
        }
    }

    fn arrive(&mut self) {
        let count = match self.plan.traffic {
            Traffic::Callers { .. } => 1,
            Traffic::Arrivals { gap, burst } => {
                if self.items.len() < self.plan.requests {
                    let next = self.now + self.dice.gap(gap);
                    self.at(next, Event::Arrival);
                }
                burst
            }
        };
        for _ in 0..count {
            if self.items.len() < self.plan.requests {
                let bulk = self.dice.chance(self.plan.bulk_percent);
                let priority = self.dice.pick(&self.plan.priorities);
                self.add(if bulk { Class::Bulk } else { Class::Interactive }, priority);
            }
        }
    }

    /// A caller that has its answer thinks, and asks again.
    fn comes_back(&mut self, id: usize) {
        if let (true, Traffic::Callers { think, .. }) = (self.items[id].caller, &self.plan.traffic) {
            let at = self.now + self.dice.gap(*think);
            self.at(at, Event::Arrival);
        }
    }

    /// What the engine does whenever something has happened.
    fn wake(&mut self) {
        if std::mem::take(&mut self.someone_hung_up) {
            for id in self.batcher.sweep(|id| self.items[*id].wanted) {
                assert_eq!(
                    self.items[id].fate,
                    Fate::HungUp,
                    "a caller who waits was swept away"
                );
            }
        }
        while self.batcher.next_deadline().is_some_and(|at| at <= self.now) {
            for id in self.batcher.expire(self.now) {
                assert_eq!(
                    self.items[id].entry.deadline,
                    Some(self.now),
                    "dropped at its moment"
                );
                assert_eq!(self.items[id].fate, Fate::Waiting);
                self.items[id].fate = Fate::Expired;
                self.waiting.remove(&id);
                self.comes_back(id);
            }
        }
        let until = self.dispatch();
        let idle = self.instances.iter().any(|i| i.believed.is_empty());
        let fullest = self.plan.limits.max_items as u64 * self.plan.lengths;
        let longest = self.batcher.expected(fullest).unwrap_or_default() / 8;
        let longest = longest.max(self.plan.limits.max_delay);
        let held_back = until.is_some_and(|at| at <= self.now + longest);
        assert!(
            !idle || self.batcher.is_empty() || held_back,
            "an instance idles while something waits, for longer than it may"
        );
        let next = [until, self.batcher.next_deadline()].into_iter().flatten().min();
        if let Some(at) = next.filter(|at| self.alarm.is_none_or(|alarm| *at < alarm)) {
            assert!(at > self.now, "an alarm in the past");
            self.alarm = Some(at);
            self.at(at, Event::Alarm);
        }
    }

    fn dispatch(&mut self) -> Option<Moment> {
        loop {
            let idle = self.instances.iter().filter(|i| i.believed.is_empty()).count();
            let mut behind: Vec<(Ahead, usize)> = Vec::new();
            for (number, instance) in self.instances.iter().enumerate() {
                if let (1, Some((_, ahead))) = (instance.believed.len(), instance.believed.front()) {
                    behind.push((*ahead, number));
                }
            }
            behind.sort_by_key(|(ahead, _)| ahead.ends);
            let ahead: Vec<_> = behind.iter().map(|(ahead, _)| *ahead).collect();
            let seats = Seats { idle, behind: &ahead };
            let items = &self.items;
            let waiting = self.waiting.iter().map(|id| &items[*id]);
            let first = rules::whose_turn(waiting, &self.plan);
            let decision = self.batcher.next(self.now, seats, |id| items[*id].wanted, |_| {});
            match decision {
                Decision::Run { batch, seat, work } => {
                    rules::a_batch_keeps_its_bounds(&batch, &self.plan.limits);
                    rules::it_takes_whoever_is_first(&batch, first.as_ref(), self.now, &self.plan.limits);
                    assert_eq!(seat == Seat::Idle, idle > 0, "an idle instance goes first");
                    let number = match seat {
                        Seat::Idle => self.instances.iter().position(|i| i.believed.is_empty()),
                        Seat::Behind => behind.first().map(|(_, number)| *number),
                    };
                    self.send(number.expect("there is such a seat"), batch, work);
                }
                Decision::WaitUntil(at) => {
                    assert!(at > self.now, "held back for no time");
                    return Some(at);
                }
                Decision::Rest => {
                    assert!(self.batcher.is_empty() || idle + ahead.len() == 0);
                    return None;
                }
            }
        }
    }

    fn send(&mut self, number: usize, batch: Vec<Entry<usize>>, work: u64) {
        self.batches += 1;
        for entry in &batch {
            let known = &mut self.items[entry.item];
            assert_eq!(known.fate, Fate::Waiting, "sent twice, or though nobody wants it");
            assert!(
                entry.deadline.is_none_or(|at| at > self.now),
                "sent after its deadline"
            );
            known.fate = Fate::Sent;
            self.waiting.remove(&entry.item);
        }
        let unknown = Ahead {
            began: self.now,
            ends: None,
            callers: callers(&batch),
        };
        self.instances[number].believed.push_back((work, unknown));
        self.instances[number].line.push_back(Batch {
            callers: callers(&batch),
            items: batch.into_iter().map(|e| e.item).collect(),
            work,
            ready: self.now + self.plan.handover,
            began: Moment::ZERO,
        });
        if self.instances[number].believed.len() == 1 {
            self.believe(number);
        }
        self.run_next(number);
    }

    /// The first batch of an instance begins now, as far as the engine knows.
    fn believe(&mut self, number: usize) {
        if let Some((work, ahead)) = self.instances[number].believed.front_mut() {
            let took = self.batcher.expected(*work).filter(|_| self.plan.knows_ends);
            ahead.began = self.now;
            ahead.ends = took.map(|took| self.now + took);
        }
    }

    fn run_next(&mut self, number: usize) {
        let plan = &self.plan;
        let instance = &mut self.instances[number];
        let Some(batch) = instance.line.front_mut().filter(|_| !instance.running) else {
            return;
        };
        instance.running = true;
        batch.began = self.now.max(batch.ready);
        let usual = plan.own + plan.each * batch.work as u32;
        let noise = 100 + self.dice.between(0, plan.noise) as u32;
        let pause = if plan.pauses && self.dice.chance(2) { 10 } else { 1 };
        let done = batch.began + (usual * noise / 100 * pause).max(Duration::from_micros(1));
        self.at(done, Event::Done(number));
    }
}
