//! Which deliveries of a channel have been dealt with, and how few acknowledgements say so. A broker numbers the deliveries of a channel from
//! one on, whichever consumer they are for, and takes one acknowledgement for all up to a number. It is given when nothing up to that number is
//! under way any more; a number that has not been seen yet counts as under way.
//!
//! Nothing here speaks to the broker: whoever takes an acknowledgement from here must send it, and before any that is taken later.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// What the broker is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) delivery: u64,
    /// And all before it.
    pub(super) multiple: bool,
}

/// The deliveries of one channel.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// All up to this one are dealt with, and the broker knows.
    floor: u64,
    /// Others that the broker knows of: the first and the last of each unbroken row. As many rows at most as there are deliveries
    /// under way.
    known: BTreeMap<u64, u64>,
    /// Done with since then, and the broker does not know.
    untold: BTreeMap<u64, Instant>,
}

impl Ledger {
    /// One is done with, and is to be acknowledged. To say so twice does nothing.
    pub(super) fn done(&mut self, delivery: u64, now: Instant) {
        if delivery > self.floor && !self.is_known(delivery) {
            self.untold.entry(delivery).or_insert(now);
        }
    }

    /// The broker has taken one back.
    pub(super) fn given_back(&mut self, delivery: u64) {
        self.untold.remove(&delivery);
        self.know(delivery);
    }

    /// How many the broker is still to be told of.
    pub(super) fn untold(&self) -> usize {
        self.untold.len()
    }

    /// Since when the one that has waited for longest is done with.
    pub(super) fn since(&self) -> Option<Instant> {
        self.untold.values().min().copied()
    }

    /// One acknowledgement for all below which nothing is under way.
    pub(super) fn first(&mut self) -> Option<Ack> {
        let (mut last, mut count) = (None, 0);
        loop {
            let next = self.floor.saturating_add(1);
            if self.untold.remove(&next).is_some() {
                (last, count, self.floor) = (Some(next), count + 1, next);
            } else if let Some(end) = self.known.remove(&next) {
                self.floor = end;
            } else {
                break;
            }
        }
        last.map(|delivery| Ack {
            delivery,
            multiple: count > 1,
        })
    }

    /// An acknowledgement for each that has been done with since `before` at the latest.
    pub(super) fn others(&mut self, before: Instant) -> Vec<Ack> {
        let (told, untold) = std::mem::take(&mut self.untold)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, since)| *since <= before);
        self.untold = untold;
        let one = |delivery| {
            self.know(delivery);
            Ack {
                delivery,
                multiple: false,
            }
        };
        told.into_keys().map(one).collect()
    }

    fn is_known(&self, delivery: u64) -> bool {
        let row = self.known.range(..=delivery).next_back();
        row.is_some_and(|(_, last)| *last >= delivery)
    }

    fn know(&mut self, delivery: u64) {
        if delivery <= self.floor || self.is_known(delivery) {
            return;
        }
        let before = self.known.range(..delivery).next_back();
        let first = match before {
            Some((first, last)) if last.saturating_add(1) == delivery => *first,
            _ => delivery,
        };
        let after = self.known.remove(&delivery.saturating_add(1));
        self.known.insert(first, after.unwrap_or(delivery));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn all(deliveries: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        let now = Instant::now();
        deliveries.iter().for_each(|delivery| ledger.done(*delivery, now));
        ledger
    }

    const fn up_to(delivery: u64) -> Option<Ack> {
        Some(Ack {
            delivery,
            multiple: true,
        })
    }

    const fn only(delivery: u64) -> Ack {
        Ack {
            delivery,
            multiple: false,
        }
    }

    #[test]
    fn what_has_nothing_under_way_below_it_is_told_at_once() {
        let mut ledger = all(&[2, 1, 3, 5]);
        assert_eq!((ledger.first(), ledger.first()), (up_to(3), None));
        assert_eq!(ledger.untold(), 1);
        ledger.done(4, Instant::now());
        assert_eq!((ledger.first(), ledger.untold()), (up_to(5), 0));
        ledger.done(6, Instant::now());
        assert_eq!(ledger.first(), Some(only(6)));
    }

    #[test]
    fn one_under_way_holds_up_the_others_only_until_they_are_told_by_themselves() {
        let mut ledger = all(&[2, 3, 7]);
        assert_eq!(ledger.first(), None);
        let later = Instant::now() + Duration::from_secs(1);
        ledger.done(5, later);
        assert_eq!(
            ledger.others(later - Duration::from_millis(1)),
            [only(2), only(3), only(7)]
        );
        assert_eq!((ledger.untold(), ledger.since()), (1, Some(later)));
        // Once more: known already.
        ledger.done(3, later);
        assert_eq!(ledger.others(later), [only(5)]);
        ledger.done(1, later);
        assert_eq!(ledger.first(), Some(only(1)));
        ledger.done(4, later);
        ledger.done(6, later);
        // 2, 3 and 5 among them are told, and so is 7.
        assert_eq!((ledger.first(), ledger.floor), (up_to(6), 7));
        assert!(ledger.known.is_empty() && ledger.since().is_none());
    }

    #[test]
    fn what_was_given_back_is_not_acknowledged() {
        let mut ledger = all(&[1, 2, 4]);
        ledger.given_back(2);
        ledger.given_back(3);
        assert_eq!((ledger.first(), ledger.floor), (up_to(4), 4));
        ledger.given_back(5);
        assert_eq!((ledger.first(), ledger.floor), (None, 5));
        ledger.done(5, Instant::now());
        assert_eq!(ledger.untold(), 0);
    }

    /// A broker: what it has delivered on the channel, and nobody has settled.
    #[derive(Default)]
    struct Broker {
        last: u64,
        open: BTreeSet<u64>,
    }

    impl Broker {
        /// What it takes for done with. An acknowledgement of what is not open would end the channel.
        fn hear(&mut self, ack: Ack) -> Vec<u64> {
            assert!(self.open.contains(&ack.delivery), "{ack:?} of {:?}", self.open);
            let covers =
                |delivery: &u64| *delivery == ack.delivery || ack.multiple && *delivery < ack.delivery;
            let covered: Vec<_> = self.open.iter().copied().filter(covers).collect();
            self.open.retain(|delivery| !covered.contains(delivery));
            covered
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Deliver(u64),
        Done(prop::sample::Index),
        GiveBack(prop::sample::Index),
        First,
        Others(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let any = any::<prop::sample::Index>;
        let step = prop_oneof![
            3 => (1_u64..5).prop_map(Step::Deliver),
            8 => any().prop_map(Step::Done),
            1 => any().prop_map(Step::GiveBack),
            3 => Just(Step::First),
            1 => (0_u64..20).prop_map(Step::Others),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn the_broker_hears_of_each_that_is_done_and_of_no_other(steps in steps()) {
            let (mut broker, mut ledger) = (Broker::default(), Ledger::default());
            let mut under_way = BTreeSet::new();
            let mut done = BTreeSet::new();
            let began = Instant::now();
            for (at, step) in (0..).zip(steps) {
                let now = began + Duration::from_millis(at);
                let pick = |index: prop::sample::Index, from: &BTreeSet<u64>| {
                    let count = from.len();
                    (count > 0).then(|| from.iter().copied().nth(index.index(count))).flatten()
                };
                let acks = match step {
                    Step::Deliver(count) => {
                        // That they have come is told to nobody.
                        for delivery in broker.last + 1..=broker.last + count {
                            broker.open.insert(delivery);
                            under_way.insert(delivery);
                        }
                        broker.last += count;
                        Vec::new()
                    }
                    Step::Done(index) => {
                        if let Some(delivery) = pick(index, &under_way) {
                            under_way.remove(&delivery);
                            done.insert(delivery);
                            ledger.done(delivery, now);
                        }
                        Vec::new()
                    }
                    Step::GiveBack(index) => {
                        if let Some(delivery) = pick(index, &under_way) {
                            under_way.remove(&delivery);
                            broker.open.remove(&delivery);
                            ledger.given_back(delivery);
                        }
                        Vec::new()
                    }
                    Step::First => ledger.first().into_iter().collect(),
                    Step::Others(ago) => {
                        let before = began + Duration::from_millis(at.saturating_sub(ago));
                        let acks = ledger.others(before);
                        prop_assert!(ledger.since().is_none_or(|since| since > before));
                        acks
                    }
                };
                for ack in acks {
                    for covered in broker.hear(ack) {
                        prop_assert!(done.remove(&covered), "{covered} is not done, and {ack:?} covers it");
                    }
                }
                prop_assert_eq!(ledger.untold(), done.len());
                prop_assert!(ledger.known.len() <= under_way.len() + 1 + done.len());
            }
            let last = Vec::from_iter(ledger.first());
            for ack in last.into_iter().chain(ledger.others(began + Duration::from_secs(1))) {
                broker.hear(ack).iter().for_each(|covered| assert!(done.remove(covered)));
            }
            prop_assert!(done.is_empty());
            prop_assert_eq!(broker.open, under_way);
        }
    }
}
