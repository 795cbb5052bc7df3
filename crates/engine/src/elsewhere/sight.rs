//! How a model stands that several servers run. Pure.

use cresset_queue::{Member, Offer};
use cresset_runner::PoolState;
use cresset_task::Timestamp;

use crate::api::Runner;

/// It, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sight {
    pub(crate) state: PoolState,
    /// One of them does what is asked of it.
    pub(crate) is_ready: bool,
    /// What is wrong, in words.
    pub(crate) reason: Option<String>,
    /// When the last server that ran it has gone, if none does.
    pub(crate) gone_at: Option<Timestamp>,
    /// Items a second.
    pub(crate) rate: Option<f64>,
    /// Nobody's work is taken, whoever runs it.
    pub(crate) is_closed: bool,
    /// Who runs it.
    pub(crate) runners: Vec<Runner>,
}

impl Sight {
    /// Nobody runs it; `last` did, until then.
    pub(crate) fn gone(last: Option<(&str, Timestamp)>) -> Self {
        let reason = match last {
            Some((who, at)) => format!("no server that runs it is there; the last was {who}, until {at}"),
            None => "no server that runs it has been there".into(),
        };
        Self {
            state: PoolState::Down,
            is_ready: false,
            reason: Some(reason),
            gone_at: last.map(|(_, at)| at),
            rate: None,
            is_closed: false,
            runners: Vec::new(),
        }
    }

    /// These run it, the first of them by the settings that count.
    pub(crate) fn of(runners: Vec<Runner>) -> Self {
        let is_ready = runners.iter().any(|runner| runner.offer.ready);
        let all_ready = runners.iter().all(|runner| runner.offer.ready);
        let differs = differing(&runners);
        let states: Vec<_> = runners.iter().map(|runner| state_of(&runner.offer)).collect();
        let best = BEST_FIRST.iter().find(|state| states.contains(state));
        let state = match best {
            Some(state @ (PoolState::Ready | PoolState::Unloaded | PoolState::Loading))
                if all_ready && differs.is_none() =>
            {
                *state
            }
            _ if is_ready => PoolState::Degraded,
            Some(state) => *state,
            None => PoolState::Down,
        };
        let ill = runners.iter().find(|runner| !runner.offer.ready).or_else(|| {
            let is_ill = |runner: &&Runner| runner.offer.reason.is_some();
            runners
                .iter()
                .find(is_ill)
                .filter(|_| state == PoolState::Degraded)
        });
        let why = |runner: &Runner| {
            let reason = runner.offer.reason.clone();
            let words = reason.unwrap_or_else(|| format!("the model is {}", runner.offer.state));
            format!("at {}: {words}", who(&runner.host, runner.pid))
        };
        let reason = [ill.map(why), differs].into_iter().flatten().collect::<Vec<_>>();
        let rates = runners.iter().filter_map(|runner| runner.offer.load.rate);
        Self {
            state,
            is_ready,
            reason: (!reason.is_empty()).then(|| reason.join("; ")),
            gone_at: None,
            rate: rates.reduce(|sum, rate| sum + rate),
            is_closed: false,
            runners,
        }
    }

    /// Work for it is taken: by one who does it, or will.
    pub(crate) fn is_taken(&self) -> bool {
        let fails = |runner: &Runner| state_of(&runner.offer) == PoolState::Failed;
        !self.is_closed && self.runners.iter().any(|runner| !fails(runner))
    }

    pub(crate) fn words(&self) -> String {
        let state = || format!("the model is {}", self.state.name());
        self.reason.clone().unwrap_or_else(state)
    }
}

/// Of what several servers say, the best counts.
const BEST_FIRST: [PoolState; 8] = [
    PoolState::Ready,
    PoolState::Unloaded,
    PoolState::Loading,
    PoolState::Degraded,
    PoolState::Starting,
    PoolState::Down,
    PoolState::Failed,
    PoolState::Stopped,
];

/// A state of a newer program is none that we know.
fn state_of(offer: &Offer) -> PoolState {
    let is_named = |state: &&PoolState| state.name() == offer.state;
    BEST_FIRST
        .iter()
        .find(is_named)
        .copied()
        .unwrap_or(PoolState::Down)
}

/// That they run it by other settings than the first, in words.
fn differing(runners: &[Runner]) -> Option<String> {
    let first = runners.first()?;
    let is_other = |runner: &&Runner| runner.offer.settings != first.offer.settings;
    let other = runners.iter().find(is_other)?;
    let count = runners.iter().filter(is_other).count();
    Some(format!(
        "{count} of {} servers run it by other settings: {} has version {}, and inputs are checked by version {} of {}",
        runners.len(),
        who(&other.host, other.pid),
        other.offer.version,
        first.offer.version,
        who(&first.host, first.pid),
    ))
}

/// A server, for people.
pub(crate) fn who(host: &str, pid: u32) -> String {
    format!("process {pid} on {host}")
}

/// Those of these servers that take work for a model, whose settings count first: of those that are ready the newest, or else of
/// all.
pub(crate) fn in_order(members: &[Member], name: &str) -> Vec<Runner> {
    let live = members
        .iter()
        .filter(|member| member.ended_at.is_none() && !member.about.stopping);
    let runner = |member: &Member| {
        let offer = member.about.models.get(name)?;
        Some(Runner {
            server: member.id,
            host: member.about.host.clone(),
            pid: member.about.pid,
            offer: offer.clone(),
        })
    };
    let mut runners: Vec<_> = live.filter_map(runner).collect();
    runners.sort_by_key(|runner| (!runner.offer.ready, -runner.server));
    runners
}

#[cfg(test)]
mod tests {
    use cresset_queue::{About, OfferLoad, Role};

    use super::*;

    fn member(id: i64, state: &str, ready: bool, version: &str) -> Member {
        let offer = Offer {
            version: version.into(),
            settings: format!("version = \"{version}\""),
            state: state.into(),
            ready,
            reason: (!ready).then(|| format!("an instance is {state}")),
            load: OfferLoad {
                running: 0,
                rate: Some(2.5),
            },
            ..Offer::default()
        };
        let about = About {
            role: Role::Worker,
            host: format!("gpu-{id}"),
            pid: 7,
            models: [("m".parse().unwrap(), offer)].into(),
            ..About::default()
        };
        Member {
            id,
            since: Timestamp::from_micros(0),
            seen_at: Timestamp::from_micros(0),
            ended_at: None,
            about,
        }
    }

    fn sight(members: &[Member]) -> (&'static str, bool, bool, String) {
        let sight = Sight::of(in_order(members, "m"));
        let words = sight.reason.clone().unwrap_or_default();
        (sight.state.name(), sight.is_ready, sight.is_taken(), words)
    }

    #[test]
    fn a_model_is_what_its_servers_are_together() {
        let ready = |id| member(id, "ready", true, "1");
        let of = |state: &str| member(9, state, false, "1");
        assert_eq!(sight(&[ready(1), ready(2)]), ("ready", true, true, String::new()));
        let mixed = sight(&[ready(1), of("starting")]);
        assert_eq!(mixed.0, "degraded");
        assert!(mixed.1 && mixed.2);
        assert_eq!(mixed.3, "at process 7 on gpu-9: an instance is starting");
        assert_eq!(sight(&[of("starting")]).0, "starting");
        assert!(sight(&[of("starting")]).2, "who comes up takes work");
        let failed = sight(&[of("failed")]);
        assert_eq!((failed.0, failed.1, failed.2), ("failed", false, false));
        let unloaded = member(3, "unloaded", true, "1");
        assert_eq!(sight(&[unloaded]).0, "unloaded");
        assert_eq!(sight(&[of("from the future")]).0, "down");
        assert_eq!(Sight::of(in_order(&[ready(1), ready(2)], "m")).rate, Some(5.0));
    }

    #[test]
    fn the_settings_of_the_newest_that_is_ready_count() {
        let (old, new) = (member(1, "ready", true, "1"), member(2, "starting", false, "2"));
        let order = |members: &[Member]| in_order(members, "m")[0].offer.version.clone();
        assert_eq!(order(&[old.clone(), new]), "1");
        let new = member(2, "ready", true, "2");
        assert_eq!(order(&[old.clone(), new.clone()]), "2");
        let (state, is_ready, _, words) = sight(&[old, new]);
        assert!(is_ready && state == "degraded");
        assert_eq!(
            words,
            "1 of 2 servers run it by other settings: process 7 on gpu-1 has version 1, and inputs are checked by version 2 of \
             process 7 on gpu-2"
        );
    }

    #[test]
    fn who_stops_or_has_ended_takes_no_work() {
        let mut stopping = member(1, "ready", true, "1");
        stopping.about.stopping = true;
        let mut ended = member(2, "ready", true, "1");
        ended.ended_at = Some(Timestamp::from_micros(1));
        assert_eq!(in_order(&[stopping, ended], "m"), []);
        let gone = Sight::gone(Some(("process 7 on gpu-1", Timestamp::from_micros(0))));
        assert!(!gone.is_taken());
        assert_eq!(
            gone.words(),
            "no server that runs it is there; the last was process 7 on gpu-1, until 1970-01-01T00:00:00.000000Z"
        );
    }
}
