//! W3C Trace Context: a place in a trace, as the headers `traceparent` and `tracestate` say it. Pure.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The header that says where in which trace.
pub const TRACEPARENT: &str = "traceparent";
/// The header in which tracing systems keep what else they know; it means nothing without the other one.
pub const TRACESTATE: &str = "tracestate";

/// What everybody must pass on of a `tracestate`. A longer one is not taken: cutting it would need to know its vendors.
const STATE: usize = 512;
/// How many members a `tracestate` may have.
const MEMBERS: usize = 32;
/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// The flags that are known: sampled, and random.
const FLAGS: u8 = 0b11;

/// A place in a trace: what is done next is a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context(pub(crate) SpanContext);

/// A header that is not what W3C Trace Context says. By its rules such a header is as good as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Context {
    /// Reads a `traceparent`.
    pub fn parse(traceparent: &str) -> Result<Self, Malformed> {
        let [version, trace, span, flags] = parts(traceparent).ok_or(Malformed)?;
        let longer = traceparent.len() > LENGTH;
        // A later version may say more, after another dash.
        if version == "ff" || (longer && (version == "00" || traceparent.as_bytes()[LENGTH] != b'-')) {
            return Err(Malformed);
        }
        let trace = TraceId::from_hex(trace).map_err(|_| Malformed)?;
        let span = SpanId::from_hex(span).map_err(|_| Malformed)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| Malformed)? & FLAGS;
        let context = SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::default());
        if context.is_valid() { Ok(Self(context)) } else { Err(Malformed) }
    }

    /// The same place, with what a `tracestate` says besides.
    pub fn with_state(&self, tracestate: &str) -> Result<Self, Malformed> {
        let named = |member: &str| {
            let member = member.trim();
            member.is_empty() || member.find('=').is_some_and(|at| at > 0)
        };
        // The parser lets a member without a name pass and cuts a long list, which makes another one of it.
        let printable = tracestate.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        let sound = printable && tracestate.split(',').all(named) && tracestate.split(',').count() <= MEMBERS;
        if tracestate.len() > STATE || !sound {
            return Err(Malformed);
        }
        let state: TraceState = tracestate.parse().map_err(|_| Malformed)?;
        Ok(Self(SpanContext::new(
            self.0.trace_id(),
            self.0.span_id(),
            self.0.trace_flags(),
            self.0.is_remote(),
            state,
        )))
    }

    /// It as a `traceparent`.
    pub fn traceparent(&self) -> String {
        let (trace, span) = (self.0.trace_id(), self.0.span_id());
        format!("00-{trace}-{span}-{:02x}", self.0.trace_flags().to_u8())
    }

    /// What goes with it as a `tracestate`, if anything.
    pub fn tracestate(&self) -> Option<String> {
        Some(self.0.trace_state().header()).filter(|state| !state.is_empty())
    }
}

/// The four parts of a `traceparent`, all in lower-case hexadecimal digits.
fn parts(text: &str) -> Option<[&str; 4]> {
    let known = text.get(..LENGTH)?;
    let mut parts = known.split('-');
    let parts = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let sound = parts
        .iter()
        .zip([2, 32, 16, 2])
        .all(|(part, length)| part.len() == length && part.bytes().all(digit));
    sound.then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_what_was_read() {
        let cases = [
            (GOOD, GOOD),
            // Of flags that mean nothing yet, none is passed on.
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            ),
            // A later version is read as far as it is known.
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", GOOD),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", GOOD),
        ];
        for (given, expected) in cases {
            assert_eq!(Context::parse(given).unwrap().traceparent(), expected, "{given}");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        let cases = [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01x",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for given in cases {
            assert_eq!(Context::parse(given), Err(Malformed), "{given:?}");
        }
        assert_eq!(Context::parse(&"0".repeat(10 << 10)), Err(Malformed));
    }

    #[test]
    fn a_state_is_kept_whole_or_not_at_all() {
        let context = Context::parse(GOOD).unwrap();
        assert_eq!(context.tracestate(), None);
        let state =
            |text: &str| context.with_state(text).map(|context| context.tracestate().unwrap_or_default());
        assert_eq!(
            state("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"),
            Ok("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE".to_owned())
        );
        assert_eq!(state(""), Ok(String::new()));
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(state(&many(32)).is_ok());
        for bad in
            ["=", " =e\tf", "novalue", "UPPER=1", &many(33), &format!("a={}", "x".repeat(600)), "a=b\u{7f}"]
        {
            assert_eq!(state(bad), Err(Malformed), "{bad:?}");
        }
    }
}
