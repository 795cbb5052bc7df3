//! Which addresses are called, and which are refused: callers give the addresses, and what only this machine can reach is
//! none of theirs.
//!
//! Refused is whatever is not an address of the public internet, however it is written: IPv4 within IPv6 is looked at as the IPv4
//! that it leads to. `webhooks.allow` opens networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 that is not public: IANA's special-purpose registry, multicast, the reserved block, and one public address that
/// a cloud answers metadata on.
const REFUSED_V4: [(Ipv4Addr, u8); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
    // Azure's host agent, reached from each of its machines.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// IPv6 is public in `2000::/3` only, but for these; those that carry an IPv4 are looked at apart.
const REFUSED_V6: [(Ipv6Addr, u8); 4] = [
    // Teredo and the other protocol assignments.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation, twice.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // AS112.
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
];

/// What decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    allow: Vec<IpNet>,
}

impl Guard {
    /// Refuses all that is not public, but for these networks.
    #[must_use]
    pub fn allowing(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Whether this address may be called.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let is_allowed = |ip: IpAddr| self.allow.iter().any(|network| network.contains(&ip));
        match address {
            IpAddr::V4(v4) => is_public_v4(v4) || is_allowed(address),
            IpAddr::V6(v6) => match embedded(v6) {
                Some(v4) => is_public_v4(v4) || is_allowed(v4.into()) || is_allowed(address),
                None => is_public_v6(v6) || is_allowed(address),
            },
        }
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let within = |(network, length): &(Ipv4Addr, u8)| {
        Ipv4Net::new(*network, *length).is_ok_and(|network| network.contains(&ip))
    };
    !REFUSED_V4.iter().any(within)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let within = |(network, length): &(Ipv6Addr, u8)| {
        Ipv6Net::new(*network, *length).is_ok_and(|network| network.contains(&ip))
    };
    ip.segments()[0] >> 13 == 1 && !REFUSED_V6.iter().any(within)
}

/// The IPv4 that an IPv6 address leads to: mapped (`::ffff:a.b.c.d`), translated (`64:ff9b::/96`, and `::ffff:0:a.b.c.d`), or
/// tunnelled (6to4, `2002:abcd::/16`).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b] = ip.segments();
    let low = || Some(Ipv4Addr::from((u32::from(a) << 16) | u32::from(b)));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => low(),
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => low(),
        [0x2002, a, b, ..] => Some(Ipv4Addr::from((u32::from(a) << 16) | u32::from(b))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admits(text: &str) -> bool {
        Guard::default().admits(text.parse().unwrap())
    }

    #[test]
    fn what_only_this_machine_can_reach_is_refused() {
        for text in [
            // This host, loopback, private, shared, link-local with the metadata of clouds.
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "192.0.0.192",
            // For documents, measurements, multicast, reserved, everybody.
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "198.19.255.255",
            "192.88.99.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            // The same in IPv6.
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "2001::1",
            "2001:10::1",
            "100::1",
            "4000::1",
            "::127.0.0.1",
            // And IPv4 within it.
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:0a00:0001::1",
        ] {
            assert!(!admits(text), "{text}");
        }
    }

    #[test]
    fn what_is_public_is_called() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:0808:0808::1",
        ] {
            assert!(admits(text), "{text}");
        }
    }

    #[test]
    fn networks_that_are_allowed_are_opened_and_no_more() {
        let allow = ["10.1.0.0/16", "127.0.0.1/32", "fd00::/8"].map(|network| network.parse().unwrap());
        let guard = Guard::allowing(allow.to_vec());
        let admits = |text: &str| guard.admits(text.parse().unwrap());
        for text in ["10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1", "fd12::1", "8.8.8.8"] {
            assert!(admits(text), "{text}");
        }
        for text in ["10.2.0.1", "127.0.0.2", "::1", "fe80::1", "169.254.169.254"] {
            assert!(!admits(text), "{text}");
        }
    }

    proptest! {
        /// However an IPv4 address is wrapped, the answer is that for the address.
        #[test]
        fn an_address_within_an_address_is_judged_as_itself(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b] = [(bits >> 16) as u16, bits as u16];
            let plain = Guard::default().admits(v4.into());
            for v6 in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, a, b),
                Ipv6Addr::new(0x2002, a, b, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(Guard::default().admits(v6.into()), plain, "{}", v6);
            }
        }

        /// The standard library's own words for what is not public.
        #[test]
        fn nothing_is_admitted_that_the_standard_library_calls_special(bits: u32, wide: u128) {
            let v4 = Ipv4Addr::from(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_unspecified() || v4.is_multicast();
            prop_assert!(!(special && Guard::default().admits(v4.into())));
            let v6 = Ipv6Addr::from(wide);
            let special = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast()
                || v6.is_unique_local() || v6.is_unicast_link_local();
            prop_assert!(!(special && Guard::default().admits(v6.into())));
        }
    }
}
