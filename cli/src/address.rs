//! `HOST:PORT`, as every flag that names a listener takes it.

/// Text that can be listened on, as far as one can tell without asking the system.
pub(crate) fn parse(text: &str) -> Result<String, &'static str> {
    let sound =
        text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if sound { Ok(text.to_owned()) } else { Err("an address is HOST:PORT, as in 127.0.0.1:8080") }
}

#[cfg(test)]
mod tests {
    use super::*;

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
