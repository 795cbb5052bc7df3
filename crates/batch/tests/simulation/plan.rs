//! What a simulated day is like: the model, its instances, its traffic. All of it follows from a seed.

use std::time::Duration;

use cresset_batch::{CostRule, Limits};

use crate::dice::Dice;

/// Where requests come from.
#[derive(Clone, Debug)]
pub(crate) enum Traffic {
    /// Callers that come back so long after they were answered, on average.
    Callers { count: usize, think: Duration },
    /// Arrivals that ask for nothing: single ones or bursts, so far apart on average.
    Arrivals { gap: Duration, burst: u64 },
}

/// A simulated day.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) limits: Limits,
    pub(crate) instances: usize,
    /// What a batch takes of itself, and what each unit of its size adds.
    pub(crate) own: Duration,
    pub(crate) each: Duration,
    /// How much longer a batch may take, in percent.
    pub(crate) noise: u64,
    /// One batch in fifty takes ten times as long.
    pub(crate) pauses: bool,
    /// Handing a batch over, and telling of its end.
    pub(crate) handover: Duration,
    pub(crate) traffic: Traffic,
    /// Requests in all.
    pub(crate) requests: usize,
    pub(crate) buckets: u64,
    pub(crate) lengths: u64,
    pub(crate) bulk_percent: u64,
    pub(crate) priorities: Vec<i8>,
    pub(crate) step: Duration,
    /// Time limits of predictions; none without any.
    pub(crate) time_limits: Vec<Duration>,
    pub(crate) hangup_percent: u64,
    /// The engine tells when running batches should end.
    pub(crate) knows_ends: bool,
}

impl Plan {
    /// A day on which anything may happen.
    pub(crate) fn any(seed: u64) -> Self {
        let dice = &mut Dice::new(seed);
        let us = Duration::from_micros;
        let ms = Duration::from_millis;
        let padded = dice.chance(40);
        let limits = Limits {
            max_items: dice.pick(&[1, 2, 8, 32]),
            max_bytes: dice.pick(&[300, 3_000, usize::MAX]),
            max_cost: dice.pick(&[None, Some(40), Some(500)]),
            cost: dice.pick(&[CostRule::Sum, CostRule::Padded]),
            max_delay: dice.pick(&[ms(0), ms(2), ms(20)]),
            max_padding: padded.then(|| dice.pick(&[0.0, 0.1, 0.25, 0.6])),
        };
        let (own, each) = (us(dice.between(20, 20_000)), us(dice.between(0, 3_000)));
        let instances = dice.between(1, 4) as usize;
        let lengths = if padded { dice.pick(&[1, 10, 500]) } else { 1 };
        // About what the instances can do at a middling batch, a third to half as much again.
        let middling = limits.max_items.midpoint(1) as u32;
        let capacity = (own + each * middling * (lengths as u32).div_ceil(2)) / middling / instances as u32;
        let gap = capacity.max(us(1)) * dice.between(7, 30) as u32 / 10;
        let burst = dice.pick(&[1, 1, 1, 5, 40]);
        let traffic = if dice.chance(40) {
            Traffic::Callers {
                count: dice.pick(&[1, 7, 64]),
                think: us(dice.between(50, 5_000)),
            }
        } else {
            Traffic::Arrivals {
                gap: gap * burst as u32,
                burst,
            }
        };
        Self {
            seed,
            limits,
            instances,
            own,
            each,
            noise: dice.pick(&[0, 10, 100]),
            pauses: dice.chance(50),
            handover: us(dice.between(10, 400)),
            traffic,
            requests: 600,
            buckets: dice.pick(&[1, 1, 3, 50]),
            lengths,
            bulk_percent: dice.pick(&[0, 30, 50, 100]),
            priorities: dice
                .pick(&[&[0_i8][..], &[0, 10], &[-100, -3, 0, 1, 100]])
                .to_vec(),
            step: dice.pick(&[ms(100), ms(1), cresset_batch::STRICT_STEP]),
            time_limits: dice
                .pick(&[&[][..], &[30_000], &[1, 20, 300]])
                .iter()
                .map(|n| ms(*n))
                .collect(),
            hangup_percent: dice.pick(&[0, 5, 30]),
            knows_ends: dice.chance(80),
        }
    }

    /// A quiet start for days of which one thing is to be seen: equal items, no limits but the size.
    pub(crate) fn plain(seed: u64) -> Self {
        Self {
            seed,
            limits: Limits::default(),
            instances: 1,
            own: Duration::from_millis(5),
            each: Duration::from_millis(2),
            noise: 10,
            pauses: false,
            handover: Duration::from_micros(200),
            traffic: Traffic::Callers {
                count: 16,
                think: Duration::from_micros(500),
            },
            requests: 3_000,
            buckets: 1,
            lengths: 1,
            bulk_percent: 0,
            priorities: vec![0],
            step: Duration::from_millis(100),
            time_limits: Vec::new(),
            hangup_percent: 0,
            knows_ends: true,
        }
    }
}
