//! How long a call may take: what its caller says, and never longer than we let it. Pure.

use std::time::Duration;

use http::HeaderMap;

use crate::problem::{Problem, reason};

/// The caller's deadline, if it says one.
pub(super) fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    value.to_str().ok().and_then(parse).map(Some).ok_or_else(|| {
        let detail = "grpc-timeout is one to eight digits and one of the units H, M, S, m, u, n";
        Problem::new(reason::INVALID_HEADER, detail).at("grpc-timeout")
    })
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_or_refused() {
        for (text, nanos) in
            [("1n", 1), ("0S", 0), ("250m", 250_000_000), ("99999999H", 359_999_996_400 * 1_000_000_000)]
        {
            assert_eq!(parse(text).map(|span| span.as_nanos()), Some(nanos), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1 S", "é", "1é", "+1S"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
