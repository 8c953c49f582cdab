//! What is refused, in which words: the field, where, what is allowed, and what to write instead.

use std::fmt::Write as _;

use evhub_cron::{Dialect, Invalid, Zone};

const ROWS: &[(Dialect, &str, &str)] = &[
    (
        Dialect::Standard,
        "",
        "is empty: a crontab has 5 fields, minute hour day-of-month month day-of-week, or 6 with seconds before them",
    ),
    (
        Dialect::Standard,
        " \t ",
        "is empty: a crontab has 5 fields, minute hour day-of-month month day-of-week, or 6 with seconds before them",
    ),
    (
        Dialect::Standard,
        "* * * *",
        "has 4 fields: a crontab has 5 fields, minute hour day-of-month month day-of-week, or 6 with seconds before them",
    ),
    (
        Dialect::Standard,
        "0 0 0 1 1 ? 2026",
        "has 7 fields: a crontab has 5 fields, minute hour day-of-month month day-of-week, or 6 with seconds before them",
    ),
    (
        Dialect::Standard,
        "* * * * * * * *",
        "has 8 fields: a crontab has 5 fields, minute hour day-of-month month day-of-week, or 6 with seconds before them",
    ),
    (
        Dialect::Quartz,
        "0 0 * * *",
        "has 5 fields: a Quartz crontab has 6 fields, second minute hour day-of-month month day-of-week, or 7 with a year behind them",
    ),
    (
        Dialect::Evhub,
        "* * * *",
        "has 4 fields: an EvHub crontab has 5 fields, second minute hour day-of-month month, or 6 with the day of the week behind them",
    ),
    (Dialect::Standard, "60 * * * *", "minute (character 1): 60 is out of range (allowed: 0 to 59)"),
    (Dialect::Standard, "* 24 * * *", "hour (character 3): 24 is out of range (allowed: 0 to 23)"),
    (Dialect::Standard, "0 0 0 * *", "day of month (character 5): 0 is out of range (allowed: 1 to 31)"),
    (
        Dialect::Standard,
        "0 0 1,2,32 * *",
        "day of month (character 9): 32 is out of range (allowed: 1 to 31)",
    ),
    (Dialect::Standard, "0 0 * 13 *", "month (character 7): 13 is out of range (allowed: 1 to 12)"),
    (Dialect::Standard, "0 0 * * 8", "day of week (character 9): 8 is out of range (allowed: 0 to 7)"),
    (Dialect::Evhub, "0 0 0 ? * 7", "day of week (character 11): 7 is out of range (allowed: 0 to 6)"),
    (Dialect::Quartz, "0 0 0 ? * 0", "day of week (character 11): 0 is out of range (allowed: 1 to 7)"),
    (
        Dialect::Quartz,
        "0 0 0 ? * 1 1969",
        "year (character 13): 1969 is out of range (allowed: 1970 to 2099)",
    ),
    (Dialect::Standard, "*/0 * * * *", "minute (character 3): a step must be at least 1"),
    (
        Dialect::Standard,
        "*/90 * * * *",
        "minute (character 3): a step of 90 is larger than the field, which has 60 values: write @every 90m",
    ),
    (
        Dialect::Standard,
        "0 */48 * * *",
        "hour (character 5): a step of 48 is larger than the field, which has 24 values: write @every 48h",
    ),
    (
        Dialect::Standard,
        "0 0 * */13 *",
        "month (character 9): a step of 13 is larger than the field, which has 12 values",
    ),
    (
        Dialect::Standard,
        "5-1 * * * *",
        "minute (character 1): the range \"5-1\" ends before it begins: write 5-59,0-1",
    ),
    (
        Dialect::Standard,
        "0 22-2 * * *",
        "hour (character 3): the range \"22-2\" ends before it begins: write 22-23,0-2",
    ),
    (
        Dialect::Standard,
        "0 0 * * FRI-MON",
        "day of week (character 9): the range \"FRI-MON\" ends before it begins: write FRI-SAT,SUN-MON",
    ),
    (
        Dialect::Standard,
        "0 0 * * SAT-SUN",
        "day of week (character 9): the range \"SAT-SUN\" ends before it begins: write SAT,SUN",
    ),
    (Dialect::Standard, "1,,2 * * * *", "minute (character 3): a value is missing"),
    (Dialect::Standard, "1- * * * *", "minute (character 3): a value is missing"),
    (Dialect::Standard, "*/ * * * *", "minute (character 3): a value is missing"),
    (Dialect::Standard, "a b c d e", "minute (character 1): \"a\" is no value (allowed: 0 to 59)"),
    (
        Dialect::Standard,
        "0 0 * JANUARY *",
        "month (character 7): \"JANUARY\" is no value (allowed: 1 to 12, JAN to DEC)",
    ),
    (Dialect::Standard, "1/2/3 * * * *", "minute (character 3): \"2/3\" is no value (allowed: 0 to 59)"),
    (Dialect::Standard, "-1 * * * *", "minute (character 1): a value is missing"),
    (
        Dialect::Standard,
        "99999999999999999999 * * * *",
        "minute (character 1): \"99999999999999999999\" is no value (allowed: 0 to 59)",
    ),
    (
        Dialect::Standard,
        "? * * * *",
        "minute (character 1): \"?\" does not go here: only a day of the month or of the week is left open by it; write *",
    ),
    (
        Dialect::Standard,
        "0 0 L-3 * *",
        "day of month (character 5): \"L-3\" does not go here: days are not counted from the end of the month; L alone is its last day",
    ),
    (
        Dialect::Standard,
        "0 0 15W,L-1 * *",
        "day of month (character 9): \"L-1\" does not go here: days are not counted from the end of the month; L alone is its last day",
    ),
    (
        Dialect::Standard,
        "0 0 * * L",
        "day of week (character 9): \"L\" does not go here: which weekday is the last of the month? Write 5L or FRIL",
    ),
    (
        Dialect::Standard,
        "0 0 * * 5#6",
        "day of week (character 11): \"6\" is none of the first to the fifth: write 5#1 to 5#5",
    ),
    (Dialect::Evhub, "0 0 0 L * *", "day of month (character 7): \"L\" is no value (allowed: 1 to 31)"),
    (
        Dialect::Quartz,
        "0 0 0 1 * 1",
        "day of week (character 11): \"*\" does not go here: exactly one of day of month and day of week must be ?",
    ),
    (
        Dialect::Standard,
        "@reboot",
        "\"@reboot\" is no macro: there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every DURATION",
    ),
    (
        Dialect::Standard,
        "@fortnightly",
        "\"@fortnightly\" is no macro: there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every DURATION",
    ),
    (
        Dialect::Standard,
        "@every",
        "@every \"\": is no duration: write numbers with the units d, h, m, s, ms, for example 1h30m",
    ),
    (Dialect::Standard, "@every 0s", "@every \"0s\": must be at least 1s"),
    (Dialect::Standard, "@every 999ms", "@every \"999ms\": must be at least 1s"),
    (
        Dialect::Standard,
        "@every 1ns",
        "@every \"1ns\": is no duration: write numbers with the units d, h, m, s, ms, for example 1h30m",
    ),
    (
        Dialect::Standard,
        "@every 1.5h",
        "@every \"1.5h\": is no duration: write numbers with the units d, h, m, s, ms, for example 1h30m",
    ),
    (Dialect::Standard, "@every 36526d", "@every \"36526d\": must be at most 36525d, a hundred years"),
    (Dialect::Evhub, "@every 0s", "@every \"0s\": must be longer than nothing"),
    (
        Dialect::Evhub,
        "@every -1s",
        "@every \"-1s\": is no duration: write numbers with the units h, m, s, ms, us, ns, for example 1h30m",
    ),
    (Dialect::Standard, "0 0 31 2 *", "never fires: no day of any year is like that"),
    (Dialect::Standard, "0 0 30 2 *", "never fires: no day of any year is like that"),
    (Dialect::Standard, "0 0 31W 4,6,9,11 *", "never fires: no day of any year is like that"),
    (
        Dialect::Standard,
        "CRON_TZ=UTC 0 0 * * *",
        "a time zone does not stand in the crontab: write it beside it, as timeZone",
    ),
    (
        Dialect::Standard,
        "TZ=UTC 0 0 * * *",
        "a time zone does not stand in the crontab: write it beside it, as timeZone",
    ),
    (
        Dialect::Evhub,
        "TZ=Mars/Phobos 0 0 0 * * *",
        "no time zone \"Mars/Phobos\": use an IANA name of area and city such as Europe/Berlin, or UTC",
    ),
    (
        Dialect::Evhub,
        "TZ=",
        "no time zone \"\": use an IANA name of area and city such as Europe/Berlin, or UTC",
    ),
    (
        Dialect::Evhub,
        "CRON_TZ=UTC",
        "is empty: an EvHub crontab has 5 fields, second minute hour day-of-month month, or 6 with the day of the week behind them",
    ),
    (Dialect::Standard, "٣ * * * *", "character 1 is ٣, which no crontab has"),
    (Dialect::Standard, "0 0 * * \0", "character 9 is \\0, which no crontab has"),
    (Dialect::Standard, "0 0\n* * *", "character 4 is \\n, which no crontab has"),
];

#[test]
fn refusals_say_what_is_wrong_where_and_what_to_write_instead() {
    let mut wrong = String::new();
    for (dialect, text, expected) in ROWS {
        let found = match dialect.parse(text) {
            Ok(expression) => format!("{expression:?}"),
            Err(error) => error.to_string(),
        };
        if found != *expected {
            let _ = writeln!(wrong, "{text:?}\n   found {found}\nexpected {expected}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_text_that_is_too_long_is_not_looked_at() {
    assert_eq!(Dialect::Standard.parse(&"*".repeat(1 << 20)), Err(Invalid::TooLong(1 << 20)));
    // All minutes, one by one, are not too long.
    let all = (0..60).map(|minute| minute.to_string()).collect::<Vec<_>>().join(",");
    assert!(Dialect::Standard.parse(&format!("{all} {all} 1-23 * * *")).is_ok());
}

#[test]
fn time_zones_are_those_of_iana_by_their_exact_names() {
    let refused = |name: &str| name.parse::<Zone>().unwrap_err().to_string();
    let none = |name: &str| {
        format!("no time zone \"{name}\": use an IANA name of area and city such as Europe/Berlin, or UTC")
    };
    for name in ["Mars/Phobos", "CST6CDT", "GMT+0", "local", "Local", "+25:00", "", "Factory", "Z"] {
        assert_eq!(refused(name), none(name));
    }
    assert_eq!(refused("europe/berlin"), format!("{} (did you mean Europe/Berlin?)", none("europe/berlin")));
    assert_eq!(refused("Berlin"), format!("{} (did you mean Europe/Berlin?)", none("Berlin")));
    assert_eq!(refused("New York"), format!("{} (did you mean America/New_York?)", none("New York")));
    assert!(refused(&"x".repeat(1 << 20)).len() < 256);
    for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Japan"] {
        assert_eq!(name.parse::<Zone>().unwrap().to_string(), name);
    }
}

#[test]
fn the_database_of_time_zones_says_its_version() {
    let version = evhub_cron::zone::database();
    assert!(version.starts_with("20") && version.len() == 5, "{version}");
}
