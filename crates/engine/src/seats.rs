//! Which instances of a model are up, and how many jobs each holds.

use std::collections::BTreeMap;

use cresset_batch::{Seat, Seats};
use cresset_task::InstanceId;

#[derive(Debug)]
struct Place {
    slots: usize,
    used: usize,
}

/// The credits of one model's instances.
#[derive(Debug, Default)]
pub(crate) struct SeatMap {
    places: BTreeMap<InstanceId, Place>,
}

impl SeatMap {
    pub(crate) fn up(&mut self, instance: InstanceId, slots: usize) {
        self.places.insert(instance, Place { slots, used: 0 });
    }

    pub(crate) fn down(&mut self, instance: InstanceId) {
        self.places.remove(&instance);
    }

    /// The free places now.
    pub(crate) fn free(&self) -> Seats {
        self.places.values().fold(Seats::default(), |mut seats, place| {
            if place.used == 0 && place.slots > 0 {
                seats.idle += 1;
                seats.behind += place.slots - 1;
            } else {
                seats.behind += place.slots.saturating_sub(place.used);
            }
            seats
        })
    }

    /// Takes a place of this kind.
    pub(crate) fn take(&mut self, seat: Seat) -> Option<InstanceId> {
        let fits = |place: &Place| match seat {
            Seat::Idle => place.used == 0 && place.slots > 0,
            Seat::Behind => place.used > 0 && place.used < place.slots,
        };
        let (id, place) = self
            .places
            .iter_mut()
            .filter(|(_, p)| fits(p))
            .min_by_key(|(_, p)| p.used)?;
        place.used += 1;
        Some(*id)
    }

    /// A job of this instance ended.
    pub(crate) fn give_back(&mut self, instance: InstanceId) {
        if let Some(place) = self.places.get_mut(&instance) {
            place.used = place.used.saturating_sub(1);
        }
    }

    /// This instance took no job though it should have had room: it is going down. It gets none until it is up again.
    pub(crate) fn shut(&mut self, instance: InstanceId) {
        if let Some(place) = self.places.get_mut(&instance) {
            place.slots = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_instances_go_first_and_the_least_busy_next() {
        let mut seats = SeatMap::default();
        seats.up(InstanceId(0), 2);
        seats.up(InstanceId(1), 2);
        assert_eq!(seats.free(), Seats { idle: 2, behind: 2 });
        assert_eq!(seats.take(Seat::Behind), None);
        assert_eq!(seats.take(Seat::Idle), Some(InstanceId(0)));
        assert_eq!(seats.take(Seat::Idle), Some(InstanceId(1)));
        assert_eq!(seats.take(Seat::Idle), None);
        assert_eq!(seats.take(Seat::Behind), Some(InstanceId(0)));
        assert_eq!(seats.free(), Seats { idle: 0, behind: 1 });
        seats.give_back(InstanceId(1));
        assert_eq!(seats.free(), Seats { idle: 1, behind: 1 });
        seats.down(InstanceId(1));
        seats.shut(InstanceId(0));
        assert_eq!(seats.free(), Seats::default());
    }
}
