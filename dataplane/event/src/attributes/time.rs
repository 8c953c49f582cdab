//! Which strings are instants, as RFC 3339 writes them. Pure.

use jiff::civil::Date;

/// Whether this is an RFC 3339 instant of the years 1 to 9999. A leap second is not: few can read one back.
pub(super) fn is_instant(text: &str) -> bool {
    let Some((stamp, rest)) = text.as_bytes().split_at_checked(19) else { return false };
    looks_like(stamp, b"0000-00-00T00:00:00")
        && is_date(stamp)
        && number(&stamp[11..13]) < 24
        && number(&stamp[14..16]) < 60
        && number(&stamp[17..19]) < 60
        && is_offset(after_fraction(rest))
}

fn is_date(stamp: &[u8]) -> bool {
    let year = number(&stamp[..4]);
    year > 0 && Date::new(year, number(&stamp[5..7]) as i8, number(&stamp[8..10]) as i8).is_ok()
}

/// What follows a fraction; a point without digits is left where it is, and then is no offset.
fn after_fraction(rest: &[u8]) -> &[u8] {
    let Some(fraction) = rest.strip_prefix(b".") else { return rest };
    match fraction.iter().position(|b| !b.is_ascii_digit()) {
        Some(digits) if digits > 0 => &fraction[digits..],
        _ => rest,
    }
}

fn is_offset(text: &[u8]) -> bool {
    let is_distance = || {
        (looks_like(text, b"+00:00") || looks_like(text, b"-00:00"))
            && number(&text[1..3]) < 24
            && number(&text[4..6]) < 60
    };
    text.eq_ignore_ascii_case(b"Z") || is_distance()
}

/// Whether each byte is a digit where the pattern has 0, and else the pattern's own.
fn looks_like(text: &[u8], pattern: &[u8]) -> bool {
    let fits = |(t, p): (&u8, &u8)| if *p == b'0' { t.is_ascii_digit() } else { t.eq_ignore_ascii_case(p) };
    text.len() == pattern.len() && text.iter().zip(pattern).all(fits)
}

/// At most four digits.
fn number(digits: &[u8]) -> i16 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::is_instant;

    #[test]
    fn instants() {
        for good in [
            "2018-04-05T17:31:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
            "2024-02-29t00:00:00.123456789012z",
            "2018-04-05T17:31:00-00:00",
            "2018-04-05T17:31:00+23:59",
        ] {
            assert!(is_instant(good), "{good}");
        }
        for bad in [
            "",
            "2018-04-05",
            "0000-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "2018-02-29T00:00:00Z",
            "2018-13-01T00:00:00Z",
            "2018-00-01T00:00:00Z",
            "2018-01-00T00:00:00Z",
            "2018-04-05T24:00:00Z",
            "2018-04-05T23:60:00Z",
            "2016-12-31T23:59:60Z",
            "2018-04-05T17:31:00+99:99",
            "2018-04-05T17:31:00+24:00",
            "2018-04-05T17:31:00+0100",
            "2018-04-05T17:31:00+01",
            "2018-04-05T17:31:00",
            "2018-04-05T17:31:00.Z",
            "2018-04-05T17:31:00.1",
            "2018-04-05T17:31:00,1Z",
            "2018-04-05 17:31:00Z",
            "2018-04-05T17:31Z",
            "2018-04-05T17:31:00Z ",
            " 2018-04-05T17:31:00Z",
            "2018-04-05T17:31:00Z[UTC]",
            "-018-04-05T17:31:00Z",
            "２018-04-05T17:31:00Z",
        ] {
            assert!(!is_instant(bad), "{bad}");
        }
    }
}
