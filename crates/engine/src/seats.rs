//! Which instances of a model are up, how many jobs each holds, and when it should be done with them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cresset_batch::{Ahead, Moment, Seat, Seats};
use cresset_task::InstanceId;

/// What a job weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Its size, for the policy.
    pub(crate) work: u64,
    /// The callers that wait for it.
    pub(crate) callers: usize,
}

#[derive(Debug)]
struct Place {
    slots: usize,
    /// The jobs it holds, in order; the first is running.
    jobs: VecDeque<Load>,
    /// When the first began.
    began: Moment,
    /// When the last should be done, if that is known.
    ends: Option<Moment>,
}

impl Place {
    /// The first job begins; `expected` says how long one of a size takes.
    fn begin(&mut self, now: Moment, expected: impl Fn(u64) -> Option<Duration>) {
        self.began = now;
        let mut times = self.jobs.iter().map(|load| expected(load.work));
        self.ends = times.try_fold(now, |end, took| Some(end.saturating_add(took?)));
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.slots > 0
    }

    fn has_room_behind(&self) -> bool {
        !self.jobs.is_empty() && self.jobs.len() < self.slots
    }
}

/// The credits of one model's instances.
#[derive(Debug, Default)]
pub(crate) struct SeatMap {
    places: BTreeMap<InstanceId, Place>,
    /// Those that run a job and have room behind it, the one done first at the front; and what the policy is told of each.
    behind: Vec<InstanceId>,
    ahead: Vec<Ahead>,
}

impl SeatMap {
    pub(crate) fn up(&mut self, instance: InstanceId, slots: usize) {
        let place = Place {
            slots,
            jobs: VecDeque::with_capacity(slots),
            began: Moment::ZERO,
            ends: None,
        };
        self.places.insert(instance, place);
        self.sort();
    }

    pub(crate) fn down(&mut self, instance: InstanceId) {
        self.places.remove(&instance);
        self.sort();
    }

    /// The free places now.
    pub(crate) fn free(&self) -> Seats<'_> {
        Seats {
            idle: self.places.values().filter(|p| p.is_idle()).count(),
            behind: &self.ahead,
        }
    }

    /// True while there are instances that take jobs, however busy.
    pub(crate) fn any(&self) -> bool {
        self.places.values().any(|place| place.slots > 0)
    }

    /// Jobs that could be handed over now.
    pub(crate) fn room(&self) -> usize {
        let room = |place: &Place| place.slots.saturating_sub(place.jobs.len());
        self.places.values().map(room).sum()
    }

    /// Takes a place of this kind, for a job of this weight. Behind running jobs it is where the policy was told it would be:
    /// at the instance that should be done first.
    pub(crate) fn take(
        &mut self,
        seat: Seat,
        load: Load,
        now: Moment,
        expected: impl Fn(u64) -> Option<Duration>,
    ) -> Option<InstanceId> {
        let instance = match seat {
            Seat::Idle => *self.places.iter().find(|(_, place)| place.is_idle())?.0,
            Seat::Behind => *self.behind.first()?,
        };
        let place = self.places.get_mut(&instance)?;
        place.jobs.push_back(load);
        if place.jobs.len() == 1 {
            place.begin(now, expected);
        } else {
            place.ends = place
                .ends
                .zip(expected(load.work))
                .map(|(end, took)| end.saturating_add(took));
        }
        self.sort();
        Some(instance)
    }

    /// The first job of this instance ended.
    pub(crate) fn give_back(
        &mut self,
        instance: InstanceId,
        now: Moment,
        expected: impl Fn(u64) -> Option<Duration>,
    ) {
        if let Some(place) = self.places.get_mut(&instance) {
            place.jobs.pop_front();
            place.begin(now, expected);
        }
        self.sort();
    }

    /// This instance took no job though it should have had room: it is going down. It gets none until it is up again.
    pub(crate) fn shut(&mut self, instance: InstanceId) {
        if let Some(place) = self.places.get_mut(&instance) {
            place.slots = 0;
        }
        self.sort();
    }

    fn sort(&mut self) {
        let behind = self.places.iter().filter(|(_, place)| place.has_room_behind());
        self.behind.clear();
        self.behind.extend(behind.map(|(id, _)| *id));
        let ends = |id: &InstanceId| self.places.get(id).and_then(|place| place.ends);
        self.behind.sort_by_key(ends);
        self.ahead.clear();
        self.ahead.extend(
            self.behind
                .iter()
                .filter_map(|id| self.places.get(id))
                .map(|place| Ahead {
                    began: place.began,
                    ends: place.ends,
                    callers: place.jobs.front().map_or(0, |load| load.callers),
                }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A millisecond an item.
    fn expected(work: u64) -> Option<Duration> {
        Some(ms(work))
    }

    fn load(work: u64) -> Load {
        Load { work, callers: 1 }
    }

    fn unknown(_: u64) -> Option<Duration> {
        None
    }

    fn counts(seats: &SeatMap) -> (usize, usize, usize) {
        let free = seats.free();
        (free.idle, free.behind.len(), seats.room())
    }

    #[test]
    fn idle_instances_go_first_and_jobs_behind_come_where_they_were_told() {
        let mut seats = SeatMap::default();
        seats.up(InstanceId(0), 2);
        seats.up(InstanceId(1), 2);
        assert_eq!(counts(&seats), (2, 0, 4));
        assert_eq!(seats.take(Seat::Behind, load(1), ms(0), unknown), None);
        assert_eq!(
            seats.take(Seat::Idle, load(1), ms(0), unknown),
            Some(InstanceId(0))
        );
        assert_eq!(
            seats.take(Seat::Idle, load(1), ms(0), unknown),
            Some(InstanceId(1))
        );
        assert_eq!(seats.take(Seat::Idle, load(1), ms(0), unknown), None);
        assert_eq!(
            seats.take(Seat::Behind, load(1), ms(0), unknown),
            Some(InstanceId(0))
        );
        assert_eq!(counts(&seats), (0, 1, 1));
        seats.give_back(InstanceId(1), ms(1), unknown);
        assert_eq!(counts(&seats), (1, 0, 2));
        seats.down(InstanceId(1));
        seats.shut(InstanceId(0));
        assert_eq!(counts(&seats), (0, 0, 0));
    }

    #[test]
    fn the_place_behind_is_at_the_instance_that_should_be_done_first() {
        let mut seats = SeatMap::default();
        (0..2).for_each(|n| seats.up(InstanceId(n), 2));
        seats.take(Seat::Idle, load(30), ms(0), expected);
        seats.take(Seat::Idle, load(10), ms(5), expected);
        let ahead = |began, ends| Ahead {
            began: ms(began),
            ends: Some(ms(ends)),
            callers: 1,
        };
        assert_eq!(seats.free().behind, [ahead(5, 15), ahead(0, 30)]);
        assert_eq!(
            seats.take(Seat::Behind, load(4), ms(10), expected),
            Some(InstanceId(1))
        );
        assert_eq!(seats.free().behind, [ahead(0, 30)]);
        // The first job took a little longer; the next begins now.
        seats.give_back(InstanceId(1), ms(17), expected);
        assert_eq!(seats.free().behind, [ahead(17, 21), ahead(0, 30)]);
    }
}
