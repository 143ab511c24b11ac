//! Who a request is from: the connection's peer, or whom a proxy that is trusted names.

use std::net::IpAddr;

use axum::http::HeaderMap;
use claimsmith_upstreams::Network;

/// What proxies append the address to that a request came to them from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of a request's client: the last that `x-forwarded-for` names and that is no proxy of ours. What is before it
/// anybody can have written, and so can all of it be, when the peer is no proxy of ours.
pub(crate) fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let is_proxy = |address: IpAddr| proxies.iter().any(|network| network.contains_address(address));
    let mut client = peer.to_canonical();
    let values = headers.get_all(FORWARDED_FOR).iter().rev();
    let named = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    for named in named {
        if !is_proxy(client) {
            break;
        }
        let Ok(address) = named.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{FORWARDED_FOR, address};

    #[track_caller]
    fn assert_client(peer: &str, forwarded: &[&str], expected: &str) {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        let found = address(peer.parse().unwrap(), &headers, &proxies);
        assert_eq!(found.to_string(), expected, "{peer}, {forwarded:?}");
    }

    #[test]
    fn only_proxies_are_believed() {
        assert_client("192.0.2.1", &[], "192.0.2.1");
        assert_client("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        assert_client("10.1.1.1", &["198.51.100.7"], "198.51.100.7");
        assert_client("::ffff:10.1.1.1", &["198.51.100.7"], "198.51.100.7");
        assert_client("fd00::1", &["2001:db8::1"], "2001:db8::1");
    }

    #[test]
    fn of_several_the_last_that_is_no_proxy_counts() {
        assert_client("10.1.1.1", &["203.0.113.9, 198.51.100.7, 10.2.2.2"], "198.51.100.7");
        assert_client("10.1.1.1", &["203.0.113.9", "198.51.100.7,10.2.2.2"], "198.51.100.7");
        assert_client("10.1.1.1", &["10.3.3.3"], "10.3.3.3");
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        assert_client("10.1.1.1", &["198.51.100.7, unknown"], "10.1.1.1");
        assert_client("10.1.1.1", &[""], "10.1.1.1");
        assert_client("10.1.1.1", &["198.51.100.7, x, 10.2.2.2"], "10.2.2.2");
    }
}
