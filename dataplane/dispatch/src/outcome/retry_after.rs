//! `Retry-After`: seconds, or an instant. Pure.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

/// More seconds than this are as good as never; whoever reads them caps them further.
const MOST: u64 = 10 * 365 * 24 * 3600;

/// Reads a `Retry-After` header at an instant, in milliseconds since the Unix epoch. What is in the past is no wait; what
/// cannot be read was not said.
pub fn read(value: &str, now: i64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(MOST).min(MOST)));
    }
    let at = DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait = at.as_millisecond().saturating_sub(now).max(0);
    Some(Duration::from_millis(wait.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::read;

    #[test]
    fn both_forms_are_read() {
        let now = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (value, expected) in [
            ("0", seconds(0)),
            ("5", seconds(5)),
            (" 120 ", seconds(120)),
            ("1000000000", seconds(super::MOST)),
            ("99999999999999999999999", seconds(super::MOST)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", seconds(10)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", seconds(0)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", seconds(0)),
            ("", None),
            ("-5", None),
            ("+5", None),
            ("5.5", None),
            ("5s", None),
            ("soon", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(read(value, now), expected, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn never_a_panic(value in ".{0,60}", now: i64) {
            let _ = read(&value, now);
        }
    }
}
