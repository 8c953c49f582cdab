//! Addresses that an administrator allows deliveries to. Pure.
//!
//! What counts is what is written: a name is allowed as a name, and an address as an address, in whichever of their forms it
//! comes. What a name resolves to is not looked at, so only names that are listed are allowed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A host, or a network of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// This name, in small letters.
    Host(String),
    /// The addresses that begin with so many bits of this one.
    Network(IpAddr, u8),
}

/// The text is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a host's name nor a network, as billing.example.com, 10.0.0.0/8 or 127.0.0.1")]
pub struct Invalid;

// === impl Allowed ===

impl Allowed {
    /// Whether this host of a URL is it, or is in it.
    pub fn is_of(&self, host: &str) -> bool {
        match (self, address(host)) {
            (Self::Host(name), None) => name.eq_ignore_ascii_case(host),
            (Self::Network(network, bits), Some(address)) => within(*network, *bits, address),
            _ => false,
        }
    }
}

impl FromStr for Allowed {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (host, bits) = text.split_once('/').map_or((text, None), |(host, bits)| (host, Some(bits)));
        match (address(host), bits) {
            (Some(address), None) => Ok(Self::Network(address, width(address))),
            (Some(address), Some(bits)) => {
                let bits = bits.parse().ok().filter(|bits| *bits <= width(address)).ok_or(Invalid)?;
                Ok(Self::Network(address, bits))
            }
            (None, Some(_)) => Err(Invalid),
            (None, None) => {
                let label = |label: &str| {
                    let inner = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                    !label.is_empty() && label.len() <= 63 && inner
                };
                // What is all digits at its end is an address in a form that nobody should write.
                let is_number = |last: &str| last.chars().all(|c| c.is_ascii_digit());
                let sound = host.len() <= 253 && host.split('.').all(label);
                let named = host.rsplit('.').next().is_some_and(|last| !is_number(last));
                if sound && named { Ok(Self::Host(host.to_ascii_lowercase())) } else { Err(Invalid) }
            }
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Network(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

/// An address as a URL or a person writes it. One of IPv4 in IPv6's clothes is itself.
fn address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address: IpAddr = bare.parse().ok()?;
    Some(address.to_canonical())
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => Ipv4Addr::BITS as u8,
        IpAddr::V6(_) => Ipv6Addr::BITS as u8,
    }
}

fn within(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let bits = u32::from(bits);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(Ipv4Addr::BITS - bits).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(Ipv6Addr::BITS - bits).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            "a b",
            "http://a",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::/129",
            "a/8",
            "*.example.com",
            "a..b",
            "2130706433",
            "10.1",
            "a:80",
        ] {
            assert_eq!(text.parse::<Allowed>(), Err(Invalid), "{text}");
        }
    }
}
