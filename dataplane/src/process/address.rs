//! `HOST:PORT`, as every flag that names a listener takes it.

use std::{fs, net::SocketAddr};

/// Text that can be listened on, as far as one can tell without asking the system.
pub fn parse(text: &str) -> Result<String, &'static str> {
    let sound =
        text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if sound { Ok(text.to_owned()) } else { Err("an address is HOST:PORT, as in 127.0.0.1:8080") }
}

/// Where others reach what listens there: by this machine's name where it listens on every address.
pub fn advertised(address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if name.trim().is_empty() { "localhost" } else { name.trim() };
    format!("{name}:{}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_by_name() {
        assert_eq!(advertised("10.1.2.3:8081".parse().unwrap()), "10.1.2.3:8081");
        let name = advertised("0.0.0.0:8081".parse().unwrap());
        assert!(name.ends_with(":8081") && !name.starts_with("0."), "{name}");
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for text in ["127.0.0.1:0", "localhost:8080", "[::1]:8080"] {
            assert_eq!(parse(text), Ok(text.to_owned()));
        }
        for text in ["", "8080", ":8080", "localhost", "localhost:", "localhost:http", "localhost:65536"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
