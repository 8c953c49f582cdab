//! What keeps a client from its brokers, and what to do about it. Pure.
//!
//! The client itself tries for ever and its calls only time out: a wrong password, an unknown authority and an address where
//! nobody listens all look the same to a caller. What it says beside is the cause.

use std::fmt;

use rdkafka::error::RDKafkaErrorCode as Code;

/// What keeps a client from its brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// What the client said.
    reason: String,
    advice: &'static str,
    /// Whether it stays until somebody mends it.
    pub(crate) lasting: bool,
}

const CREDENTIALS: &str = "check sasl.mechanism, sasl.username and sasl.password";
const AUTHORITY: &str = "ssl.ca.location must name the certificate of the authority that signed the brokers'";
const ADDRESS: &str = "the brokers' certificate is for other addresses: name them by one that it is for, here and in advertised.listeners";
const IDENTITY: &str = "the brokers want a client's certificate that they trust: set ssl.certificate.location and \
                        ssl.key.location to one, and its key";
/// The advice to whom a broker hangs up on.
pub(crate) const PROTOCOL: &str =
    "that listener may speak another protocol: check security.protocol and the port";
const NOBODY: &str = "check the address, and that brokers run there";
const NAME: &str = "no such host is known: check the address, and the brokers' advertised.listeners";

impl Trouble {
    /// What an error of the client's says, if it says why brokers cannot be reached.
    pub(crate) fn of(code: Code, reason: &str) -> Option<Self> {
        let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        let (advice, lasting) = match code {
            Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
                (CREDENTIALS, true)
            }
            Code::SSL | Code::BrokerTransportFailure
                if has(&[
                    "certificate required",
                    "bad certificate",
                    "handshake failure",
                    "unknown ca",
                    "certificate unknown",
                ]) =>
            {
                (IDENTITY, true)
            }
            Code::SSL if has(&["hostname mismatch", "IP address mismatch", "ip address mismatch"]) => {
                (ADDRESS, true)
            }
            Code::SSL if has(&["certificate verify failed", "verify failed"]) => (AUTHORITY, true),
            Code::SSL => (PROTOCOL, false),
            Code::Resolve => (NAME, false),
            Code::BrokerTransportFailure if has(&["refused"]) => (NOBODY, false),
            // The others are said beside the cause itself, or of a broker that is coming back.
            Code::BrokerTransportFailure if has(&["security.protocol", "SSL"]) => (PROTOCOL, false),
            Code::BrokerTransportFailure | Code::RequestTimedOut | Code::OperationTimedOut => (NOBODY, false),
            _ => return None,
        };
        Some(Self { reason: reason.to_owned(), advice, lasting })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, advice, lasting: _ } = self;
        write!(f, "{reason}: {advice}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_comes_with_what_to_do() {
        let said = [
            (Code::Authentication, "Authentication failed: invalid credentials", CREDENTIALS, true),
            (Code::SaslAuthenticationFailed, "no", CREDENTIALS, true),
            (Code::UnsupportedSASLMechanism, "no", CREDENTIALS, true),
            (Code::SSL, "certificate verify failed: unable to get local issuer certificate", AUTHORITY, true),
            (Code::SSL, "verify failed: IP address mismatch", ADDRESS, true),
            (Code::SSL, "ssl/tls alert handshake failure", IDENTITY, true),
            (Code::BrokerTransportFailure, "tlsv13 alert certificate required", IDENTITY, true),
            (Code::SSL, "wrong version number", PROTOCOL, false),
            (
                Code::BrokerTransportFailure,
                "verify that security.protocol is correctly configured",
                PROTOCOL,
                false,
            ),
            (Code::BrokerTransportFailure, "Connect failed: Connection refused", NOBODY, false),
            (Code::Resolve, "Failed to resolve 'x:1'", NAME, false),
            (Code::RequestTimedOut, "ApiVersionRequest failed: timed out", NOBODY, false),
        ];
        for (code, reason, advice, lasting) in said {
            let trouble = Trouble::of(code, reason).unwrap();
            assert_eq!((trouble.advice, trouble.lasting), (advice, lasting), "{reason}");
            assert_eq!(trouble.to_string(), format!("{reason}: {advice}"));
        }
        assert_eq!(Trouble::of(Code::AllBrokersDown, "1/1 brokers are down"), None);
        assert_eq!(Trouble::of(Code::UnknownMemberId, "x"), None);
    }
}
