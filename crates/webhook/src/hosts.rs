//! How much may be sent to each host now: less to one that fails, and nothing for a while after it has.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::policy::Policy;

/// Sent at once to one host that answers.
pub(crate) const PER_HOST: usize = 4;
/// To one that failed the last time: a try tells whether it is back, and more would only wait as well.
const PER_FAILING_HOST: usize = 1;
/// Hosts that are remembered though nothing is being sent to them; more are forgotten, those whose pause is over first.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Debug, Default)]
struct Host {
    under_way: usize,
    failures: u32,
    not_before: Option<Instant>,
}

impl Host {
    fn room(&self, now: Instant) -> usize {
        let most = match self.not_before {
            Some(then) if then > now => 0,
            _ if self.failures > 0 => PER_FAILING_HOST,
            _ => PER_HOST,
        };
        most.saturating_sub(self.under_way)
    }
}

/// All of them that are not as they would be found.
#[derive(Debug, Default)]
pub(crate) struct Hosts(HashMap<String, Host>);

impl Hosts {
    /// The room of those that have another than [`PER_HOST`].
    pub(crate) fn rooms(&self, now: Instant) -> HashMap<String, usize> {
        self.0
            .iter()
            .map(|(name, host)| (name.clone(), host.room(now)))
            .collect()
    }

    pub(crate) fn begins(&mut self, name: &str) {
        self.0.entry(name.to_owned()).or_default().under_way += 1;
    }

    /// A try has ended: `asked` is how long the host wants to be left alone.
    pub(crate) fn ended(
        &mut self,
        name: &str,
        answered: bool,
        asked: Duration,
        policy: &Policy,
        now: Instant,
    ) {
        let Some(host) = self.0.get_mut(name) else {
            return;
        };
        host.under_way = host.under_way.saturating_sub(1);
        if answered {
            host.failures = 0;
            host.not_before = None;
        } else {
            host.failures = host.failures.saturating_add(1);
            host.not_before = Some(now + policy.host_pause(host.failures).max(asked));
        }
        if host.under_way == 0 && host.failures == 0 {
            self.0.remove(name);
        }
        if self.0.len() > REMEMBERED_MAX {
            let is_kept = |host: &Host| host.under_way > 0 || host.not_before.is_some_and(|then| then > now);
            self.0.retain(|_, host| is_kept(host));
        }
    }

    /// When the first pause is over.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.0
            .values()
            .filter_map(|host| host.not_before)
            .filter(|then| *then > now)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failing_host_has_less_room_and_after_a_while() {
        let (mut hosts, policy) = (Hosts::default(), Policy::default());
        let room = |hosts: &Hosts| hosts.rooms(Instant::now()).get("a:443").copied();
        assert_eq!(room(&hosts), None);
        for left in (0..PER_HOST).rev() {
            hosts.begins("a:443");
            assert_eq!(room(&hosts), Some(left));
        }
        let end = |hosts: &mut Hosts, ok, asked| hosts.ended("a:443", ok, asked, &policy, Instant::now());
        end(&mut hosts, true, Duration::ZERO);
        assert_eq!(room(&hosts), Some(1));
        for _ in 1..PER_HOST {
            end(&mut hosts, false, Duration::ZERO);
        }
        assert_eq!(room(&hosts), Some(0));
        let next = hosts.next(Instant::now()).unwrap();
        assert_eq!(next - Instant::now(), policy.host_pause(3));
        tokio::time::sleep_until(next).await;
        assert_eq!((room(&hosts), hosts.next(Instant::now())), (Some(1), None));
        // It asks to be left alone for longer.
        hosts.begins("a:443");
        end(&mut hosts, false, Duration::from_secs(500));
        assert_eq!(
            hosts.next(Instant::now()),
            Some(Instant::now() + Duration::from_secs(500))
        );
        tokio::time::sleep(Duration::from_secs(500)).await;
        hosts.begins("a:443");
        end(&mut hosts, true, Duration::ZERO);
        assert_eq!(room(&hosts), None, "as any other");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let (mut hosts, policy) = (Hosts::default(), Policy::default());
        for n in 0..REMEMBERED_MAX {
            let name = format!("h{n}:80");
            hosts.begins(&name);
            hosts.ended(&name, false, Duration::ZERO, &policy, Instant::now());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        hosts.begins("new:80");
        hosts.ended("new:80", false, Duration::ZERO, &policy, Instant::now());
        assert_eq!(hosts.0.len(), 1);
    }
}
