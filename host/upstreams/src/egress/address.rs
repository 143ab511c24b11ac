//! Which addresses are of the public internet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;

/// What IANA's registries of special-purpose addresses (RFC 6890 and its updates) hold of IPv4, and what is not unicast.
const SPECIAL_V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private network (RFC 1918)"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier's network (RFC 6598)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "this machine"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private network (RFC 1918)"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "for protocols (RFC 6890)"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a relay of 6to4"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private network (RFC 1918)"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks (RFC 2544)"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The same of IPv6, within its global unicast addresses.
const SPECIAL_V6: &[(Ipv6Addr, u8, &str)] = &[
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "for protocols (RFC 2928), such as Teredo",
    ),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
];

/// Where clouds tell an instance its credentials. Of Alibaba, of AWS (also for containers), of Azure, of Oracle; IPv6 of
/// AWS and of Google.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// An address that may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) address: IpAddr,
    pub(crate) reason: &'static str,
    /// Whether opening a network would allow it.
    pub(crate) can_be_opened: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, which is {}", self.address, self.reason)
    }
}

/// Whether an address may be connected to, when these networks are open.
pub(super) fn check(address: IpAddr, open: &[Network]) -> Result<(), Refused> {
    let refused = |reason, can_be_opened| Refused {
        address,
        reason,
        can_be_opened,
    };
    if let Some(reason) = never(address) {
        return Err(refused(reason, false));
    }
    let is_open = || open.iter().any(|network| network.0.contains(&address));
    if let Some(reason) = special(address)
        && !is_open()
    {
        return Err(refused(reason, true));
    }
    // The system, or a gateway, connects to what is inside.
    match inside(address) {
        Some(inner) => check(inner.into(), open),
        None => Ok(()),
    }
}

/// Why nobody connects to an address, whatever is open.
fn never(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("a cloud's metadata service");
    }
    if address.is_multicast() {
        return Some("multicast");
    }
    match address {
        // Linux takes all of it for this machine, or refuses it.
        IpAddr::V4(address) if address.octets().starts_with(&[0]) => Some("this network (RFC 1122)"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("broadcast"),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some("unspecified"),
        _ => None,
    }
}

/// What an address is if it is not of the public internet.
fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            let mut special = SPECIAL_V4.iter();
            special
                .find(|(network, bits, _)| (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0)
                .map(|(_, _, what)| *what)
        }
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Some("this machine"),
        IpAddr::V6(address) => {
            let mut special = SPECIAL_V6.iter();
            let special =
                special.find(|(network, bits, _)| (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0);
            match address.segments() {
                // Only 2000::/3 has been given out for the public internet.
                [first, ..] if first & 0xe000 != 0x2000 => Some(outside_global_unicast(address)),
                _ => special.map(|(_, _, what)| *what),
            }
        }
    }
}

fn outside_global_unicast(address: Ipv6Addr) -> &'static str {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] => "IPv4 mapped into IPv6",
        [0x64, 0xff9b, ..] => "IPv4 behind NAT64",
        [first, ..] if first & 0xfe00 == 0xfc00 => "a private network (unique local)",
        [first, ..] if first & 0xffc0 == 0xfe80 => "link-local",
        [first, ..] if first & 0xffc0 == 0xfec0 => "a private network (site-local)",
        _ => "not of the public internet",
    }
}

/// The IPv4 address inside an IPv6 address.
fn inside(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let last = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] if address != Ipv6Addr::LOCALHOST => last(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            last(high, low)
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn refused(address: &str, open: &[&str]) -> Option<&'static str> {
        let open: Vec<Network> = open.iter().map(|network| network.parse().unwrap()).collect();
        check(address.parse().unwrap(), &open)
            .err()
            .map(|refused| refused.reason)
    }

    #[test]
    fn what_is_not_of_the_public_internet_is_refused() {
        for address in ["8.8.8.8", "20.190.128.1", "2603:1026::1", "2a00:1450::5"] {
            assert_eq!(refused(address, &[]), None, "{address}");
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "3fff::1",
            "100::1",
        ] {
            assert!(refused(address, &[]).is_some(), "{address}");
        }
        for address in [
            "172.15.255.255",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "198.20.0.1",
        ] {
            assert_eq!(refused(address, &[]), None, "{address}");
        }
    }

    #[test]
    fn an_open_network_opens_what_it_names_and_nothing_inside_it_that_is_elsewhere() {
        assert_eq!(refused("10.1.2.3", &["10.1.0.0/16"]), None);
        assert!(refused("10.2.2.3", &["10.1.0.0/16"]).is_some());
        // NAT64 is a way to the internet, and not to what is beside the gateway.
        assert_eq!(refused("64:ff9b::808:808", &["64:ff9b::/96"]), None);
        assert!(refused("64:ff9b::7f00:1", &["64:ff9b::/96"]).is_some());
        assert!(refused("2002:a00:1::", &["2002::/16"]).is_some());
        assert!(refused("::ffff:10.0.0.1", &["10.0.0.0/8"]).is_some());
        assert_eq!(refused("::ffff:10.0.0.1", &["10.0.0.0/8", "::ffff:0:0/96"]), None);
    }

    #[test]
    fn some_addresses_cannot_be_opened() {
        for address in [
            "169.254.169.254",
            "fd00:ec2::254",
            "0.0.0.0",
            "255.255.255.255",
            "::",
            "ff02::1",
        ] {
            assert!(refused(address, &["0.0.0.0/0", "::/0"]).is_some(), "{address}");
        }
        assert!(refused("64:ff9b::a9fe:a9fe", &["0.0.0.0/0", "::/0"]).is_some());
    }
}
