//! Crontabs in every dialect: read or refused in words; what is read fires later than it is asked for, the same each time, and
//! after what was found there is nothing before it. An input is the instant that is asked for, the zone, and the text.

use evhub_cron::{Beat, Dialect, Zone};

use super::parts::Parts;

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"];

pub(crate) fn run(data: &[u8]) {
    let mut parts = Parts(data);
    let from = parts.number() as i64 % 4_000_000_000_000;
    let zone: Zone = ZONES[usize::from(parts.byte()) % ZONES.len()].parse().expect("the zones are known");
    let Ok(text) = std::str::from_utf8(parts.rest()) else { return };
    let _ = text.parse::<Zone>();
    for dialect in [Dialect::Standard, Dialect::Quartz, Dialect::Evhub] {
        let expression = match dialect.parse(text) {
            Ok(expression) => expression,
            Err(refused) => {
                assert!(refused.to_string().len() < 1024, "the words do not grow with the text");
                continue;
            }
        };
        assert_eq!(dialect.parse(text).as_ref(), Ok(&expression), "the same text is the same");
        let beat =
            Beat::new(expression, zone.clone(), from).expect("what was read is no interval of nothing");
        let Some(next) = beat.next(from) else { continue };
        assert!(next > from, "{text:?} fires at {next}, asked after {from}");
        assert_eq!(beat.next(next - 1), Some(next), "{text:?} after {from}");
        assert!(beat.next(next).is_none_or(|after| after > next), "{text:?} after {next}");
    }
}
