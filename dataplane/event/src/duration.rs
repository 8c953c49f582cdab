//! Spans of time as GEP-2257 writes them, `1h30m` or `250ms`: for the controls of one event, and for schedules. Pure.

use std::{fmt::Write as _, time::Duration};

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a span: up to four numbers of up to five digits, each with a unit.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let (mut millis, mut parts) = (0_u64, 0);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
        let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &after[..end])?;
        parts += 1;
        if parts > 4 || number.len() > 5 {
            return None;
        }
        millis += number.parse::<u64>().ok()? * factor;
        rest = &after[end..];
    }
    (parts > 0).then(|| Duration::from_millis(millis))
}

/// Writes a span of whole milliseconds so that [`parse`] reads it back.
pub fn write(span: Duration) -> String {
    let mut rest = span.as_millis();
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let count = rest / u128::from(factor);
        rest %= u128::from(factor);
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{count}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, millis) in
            [("250ms", 250), ("30s", 30_000), ("1h30m", 5_400_000), ("0s", 0), ("99999h", 359_996_400_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
            assert_eq!(write(Duration::from_millis(millis)), text);
        }
        assert_eq!(parse("90m"), Some(Duration::from_mins(90)), "any way of writing it");
    }

    #[test]
    fn anything_else_is_none() {
        for text in
            ["", "10", "s", "-1s", "1e3s", "1.5s", "1 s", "1d", "100000s", "1s1s1s1s1s", "1S", "é", "1é"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
