//! Whether a trace is recorded, decided once, where it comes in: the samplers that OpenTelemetry names.

use cresset_task::TraceId;

/// `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampler {
    /// What the caller decided stands.
    pub(crate) is_parent_based: bool,
    /// This part of the others, from 0 to 1.
    pub(crate) ratio: f64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            is_parent_based: true,
            ratio: 1.0,
        }
    }
}

impl Sampler {
    /// The names, as they are told to who has another.
    pub(crate) const NAMES: &str = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio";

    /// The sampler of that name; `ratio` is what the ones by ratio take. `None` when there is none of that name.
    pub(crate) fn named(name: &str, ratio: f64) -> Option<Self> {
        let (is_parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio,
            _ => return None,
        };
        Some(Self {
            is_parent_based,
            ratio,
        })
    }

    /// Whether a trace is recorded, given what the caller decided, if there is one. Every server decides alike: by the trace's id.
    pub(crate) fn records(self, trace: TraceId, caller: Option<bool>) -> bool {
        match caller {
            Some(decided) if self.is_parent_based => decided,
            _ => self.ratio >= 1.0 || half(trace) < (self.ratio.max(0.0) * (1_u64 << 63) as f64) as u64,
        }
    }
}

/// 63 bits of the half that is random in every kind of id.
fn half(trace: TraceId) -> u64 {
    let bytes = trace.to_bytes();
    bytes[8..]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
        >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(name: &str, ratio: f64) -> Sampler {
        Sampler::named(name, ratio).unwrap()
    }

    #[test]
    fn who_is_parent_based_does_as_the_caller() {
        let trace = TraceId::fresh();
        for (name, alone) in [("always_on", true), ("always_off", false)] {
            assert_eq!(sampler(name, 0.5).records(trace, Some(!alone)), alone, "{name}");
            let by_parent = sampler(&format!("parentbased_{name}"), 0.5);
            assert_eq!(by_parent.records(trace, Some(!alone)), !alone, "{name}");
            assert_eq!(by_parent.records(trace, None), alone, "{name}");
        }
        assert_eq!(Sampler::default(), sampler("parentbased_always_on", 0.0));
        assert_eq!(Sampler::named("xray", 1.0), None);
    }

    #[test]
    fn a_ratio_records_about_that_part_and_each_trace_always_alike() {
        let quarter = sampler("traceidratio", 0.25);
        let count = (0..4_000)
            .map(|_| TraceId::fresh())
            .filter(|trace| quarter.records(*trace, None) && quarter.records(*trace, Some(false)))
            .count();
        assert!((700..1_300).contains(&count), "{count}");
        assert!(!sampler("traceidratio", 0.0).records(TraceId::fresh(), Some(true)));
    }
}
