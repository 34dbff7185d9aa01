//! Where an endpoint may be: only where everybody can go. Otherwise whoever registers one could have the
//! shop knock at doors inside its own network.
//!
//! The answer of the name server that is judged is the one that is connected to, so a name cannot change
//! its mind in between.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// What is said of an endpoint that may not be reached.
pub(super) const REFUSED: &str = "the endpoint's address is private, and such are not posted to";

/// Which addresses may be connected to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub(super) allow_private: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("{REFUSED}")]
struct Refused;

impl Reach {
    /// Whether the URL's host is a name, which is judged when it is resolved, or an address that may be
    /// connected to.
    pub(super) fn may_name(self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        IpAddr::from_str(bare).map_or(true, |address| self.may_reach(address))
    }

    fn may_reach(self, address: IpAddr) -> bool {
        self.allow_private || public(address)
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = *self;
        Box::pin(async move {
            // The port is put in by the caller.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| reach.may_reach(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Refused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether everybody can go there, by the registries of special addresses (RFC 6890 and its
/// successors).
fn public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => public_v4(address),
        IpAddr::V6(address) => public_v6(address),
    }
}

fn public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    !(first == 0
        || first >= 224
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        // Shared by carriers, kept for protocols, and kept for benchmarks.
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && (18..20).contains(&second)))
}

/// Only what is given out to be reached from everywhere, without those ways that lead on to some other
/// address.
fn public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let given_out = first & 0xe000 == 0x2000;
    let protocols = first == 0x2001 && second < 0x0200;
    let documentation = (first == 0x2001 && second == 0x0db8) || first == 0x3fff;
    let leads_on = first == 0x2002;
    given_out && !protocols && !documentation && !leads_on
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC_ONLY: Reach = Reach { allow_private: false };

    #[test]
    fn only_addresses_that_everybody_can_reach_are_public() {
        for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"]
        {
            assert!(public(address.parse().expect("an address")), "{address}");
        }
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
        ] {
            assert!(!public(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn an_address_in_the_url_is_judged_however_it_is_written() {
        let may_name = |url: &str| PUBLIC_ONLY.may_name(&url.parse().expect("a URL"));
        for url in ["https://example.com/x", "https://1.1.1.1/", "https://[2606:4700::1111]/"] {
            assert!(may_name(url), "{url}");
        }
        for url in
            ["http://127.0.0.1:1/", "http://2130706433/", "http://0x7f.1/", "http://[::1]:1/"]
        {
            assert!(!may_name(url), "{url}");
        }
        let anywhere = Reach { allow_private: true };
        assert!(anywhere.may_name(&"http://127.0.0.1/".parse().expect("a URL")));
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_public_is_refused() {
        let resolved = PUBLIC_ONLY.resolve("localhost".parse().expect("a name")).await;
        let error = resolved.err().expect("a refusal").to_string();
        assert_eq!(error, REFUSED);
    }
}
