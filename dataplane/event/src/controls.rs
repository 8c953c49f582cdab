//! Controls: what a publisher may set on one event beside the event itself. Pure.
//!
//! A control comes as an extension whose name begins with `evhub`, in every mode and protocol. It is taken out of the
//! event, so that no target receives it, and kept as a header of the record, but for when it is to be published and under which key. Headers of a
//! record may be written by strangers, so what does not read there controls nothing.
//!
//! | extension | what it says | limits |
//! |---|---|---|
//! | `evhubtags` | `a,b`: what filters by tags look at | 64 tags of 128 bytes |
//! | `evhubdelaykeys` | `reminder=10m,escalate=1h`: how long a Processor with that `delayKey` waits | 32 keys of 128 bytes; 87600h, or less where the Producer says so |
//! | `evhubdelay` | `90s`: how long it is kept before it is published | 1ms to 87600h, or less where the Producer says so |
//! | `evhubdeliverat` | `2026-01-01T09:00:00Z`: when it is published; one that has passed is now | as far ahead as `evhubdelay` |
//! | `evhubidempotencykey` | under which key it is published once within the Producer's window | 256 bytes |
//! | `evhubmaxattempts` | how many attempts it gets where its Processor allows more | 1 to 1000 |
//! | `evhubtimeout` | how long one attempt may take where its Processor allows longer | 1ms to 10m |

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    Event, Header, Record,
    attributes::{self, RESERVED_PREFIX},
    duration,
    invalid::{Invalid, Reason, quote},
    record,
};

/// How many tags one event may have.
pub const MAX_TAGS: usize = 64;
/// How many delay keys one event may have.
pub const MAX_DELAY_KEYS: usize = 32;
/// The longest tag or delay key, in bytes.
pub const MAX_WORD: usize = 128;
/// The longest idempotency key, in bytes.
pub const MAX_KEY: usize = 256;
/// The longest delay that any Producer allows.
pub const MAX_DELAY: Duration = Duration::from_hours(87_600);
/// The most attempts that can be asked for: what a Processor can say at the most.
const MAX_ATTEMPTS: u32 = 1000;
/// The shortest and longest time-out: what a Processor can say.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_mins(10));

/// Heads the headers in which a record keeps them.
const RECORD_PREFIX: &str = "evhub-";

const TAGS: &str = "evhubtags";
const DELAY_KEYS: &str = "evhubdelaykeys";
const DELAY: &str = "evhubdelay";
const DELIVER_AT: &str = "evhubdeliverat";
const IDEMPOTENCY_KEY: &str = "evhubidempotencykey";

/// When an event is to be published, other than now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long after it was accepted.
    After(Duration),
    /// At an instant, in milliseconds since the Unix epoch; one that has passed is now.
    At(i64),
}

/// The controls of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// What filters by tags look at.
    pub tags: Vec<String>,
    /// How long Processors with each of these delay keys wait before the first attempt. No key twice.
    pub delay_keys: Vec<(String, Duration)>,
    /// How many attempts the event gets where its Processor allows more.
    pub max_attempts: Option<u32>,
    /// How long one attempt may take where its Processor allows longer.
    pub timeout: Option<Duration>,
    /// When it is to be published; `None` is now. No record has this: one is written when it is published.
    pub when: Option<When>,
    /// Under which key it is published once. No record has this either.
    pub idempotency: Option<Idempotency>,
    /// How it is published again and again. No record has this either.
    pub repeat: Option<Repeat>,
}

/// An event that is published again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// How fast.
    pub pace: Pace,
    /// Until when.
    pub until: Until,
}

/// When the next one comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So long after the one before.
    Every(Duration),
    /// By a crontab of EvHub's dialect.
    Crontab(String),
}

/// When no more come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After the first.
    First,
    /// After so many; after 0 never.
    Count(u32),
    /// After the last one before this instant, or never.
    Time(Option<i64>),
}

/// What makes publishing an event again no publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// What this and another event are the same by.
    pub key: String,
    /// For how long, where that is to be shorter than the Producer says.
    pub window: Option<Duration>,
}

impl Controls {
    /// Whether no delay is longer than this from now on, in milliseconds since the Unix epoch. What is of one event is said
    /// of its control.
    pub fn check_delays(&self, max: Duration, now: i64) -> Result<(), Invalid> {
        self.delay_keys.iter().try_for_each(|(key, delay)| check_delay(key, *delay, max))?;
        match self.when {
            Some(When::After(delay)) if delay > max => Err(too_long(DELAY, "the delay", max)),
            Some(When::At(instant)) if When::At(instant).due(now).abs_diff(now) > millis(max) => {
                Err(too_long(DELIVER_AT, "the time until then", max))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes the controls out of an event. A control that is not known, or not taken by this version, is refused:
    /// ignoring one would deliver at once what should wait.
    pub fn take(event: &mut Event) -> Result<Self, Invalid> {
        let mut controls = Self::default();
        let reserved = |(name, _): &mut (String, String)| name.starts_with(RESERVED_PREFIX);
        for (name, value) in event.extensions.extract_if(.., reserved) {
            controls.set(&name, &value)?;
        }
        // No delay is no delay.
        controls.when = controls.when.filter(|when| *when != When::After(Duration::ZERO));
        Ok(controls)
    }

    /// The controls of a record. What does not read as one counts as absent.
    pub fn of(record: &Record) -> Self {
        // Most have none; then one look is enough.
        if !record.headers.iter().any(|header| header.name.starts_with(RECORD_PREFIX)) {
            return Self::default();
        }
        let text = |name| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
        Self {
            tags: text(record::TAGS).and_then(|text| tags(text).ok()).unwrap_or_default(),
            delay_keys: text(record::DELAY_KEYS).and_then(|text| delay_keys(text).ok()).unwrap_or_default(),
            max_attempts: text(record::MAX_ATTEMPTS).and_then(|text| max_attempts(text).ok()),
            timeout: text(record::TIMEOUT).and_then(|text| timeout(text).ok()),
            when: None,
            idempotency: None,
            repeat: None,
        }
    }

    /// The headers that keep these controls with the event's record.
    pub fn headers(&self) -> impl Iterator<Item = Header> {
        let tags = (!self.tags.is_empty()).then(|| self.tags.join(","));
        let delay = |(key, delay): &(String, Duration)| format!("{key}={}", duration::write(*delay));
        let delays = self.delay_keys.iter().map(delay).collect::<Vec<_>>();
        let delays = (!delays.is_empty()).then(|| delays.join(","));
        let pairs = [
            (record::TAGS, tags),
            (record::DELAY_KEYS, delays),
            (record::MAX_ATTEMPTS, self.max_attempts.map(|most| most.to_string())),
            (record::TIMEOUT, self.timeout.map(duration::write)),
        ];
        pairs
            .into_iter()
            .filter_map(|(name, value)| Some(Header { name: name.to_owned(), value: Bytes::from(value?) }))
    }

    fn wait(&mut self, name: &str, when: When) -> Result<(), Invalid> {
        if self.when.replace(when).is_some() {
            return Err(invalid(name, "comes beside another time: name one"));
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Invalid> {
        match name {
            TAGS => self.tags = tags(value)?,
            DELAY_KEYS => self.delay_keys = delay_keys(value)?,
            DELAY => self.wait(name, When::After(delay(value)?))?,
            DELIVER_AT => self.wait(name, When::At(instant(value)?))?,
            IDEMPOTENCY_KEY => {
                self.idempotency = Some(Idempotency { key: idempotency_key(value)?, window: None });
            }
            "evhubmaxattempts" => self.max_attempts = Some(max_attempts(value)?),
            "evhubtimeout" => self.timeout = Some(timeout(value)?),
            _ => return Err(reserved(name)),
        }
        Ok(())
    }
}

impl When {
    /// The instant at which something is due that was asked for at another.
    pub fn due(self, asked: i64) -> i64 {
        match self {
            Self::After(delay) => asked.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
            Self::At(instant) => instant.max(asked),
        }
    }
}

/// The extension that a header of a single event stands for. `None` for other headers.
pub(crate) fn alias(header: &str) -> Option<&'static str> {
    match header {
        "evhub-tags" => Some(TAGS),
        "evhub-delay-keys" => Some(DELAY_KEYS),
        "evhub-delay" => Some(DELAY),
        "evhub-deliver-at" => Some(DELIVER_AT),
        "idempotency-key" => Some(IDEMPOTENCY_KEY),
        _ => None,
    }
}

fn reserved(name: &str) -> Invalid {
    let detail = format!("{name} is reserved for the hub and not supported by this version; leave it out");
    Invalid::new(Reason::ReservedAttribute, name, detail)
}

// === values ===

fn tags(text: &str) -> Result<Vec<String>, Invalid> {
    let mut tags: Vec<String> = Vec::new();
    for tag in text.split(',') {
        let tag = word(TAGS, tag)?;
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(invalid(TAGS, &format!("has {} tags; {MAX_TAGS} are allowed", tags.len())));
    }
    Ok(tags)
}

fn delay_keys(text: &str) -> Result<Vec<(String, Duration)>, Invalid> {
    let mut keys: Vec<(String, Duration)> = Vec::new();
    for entry in text.split(',') {
        let form =
            || format!("must be keys and delays such as reminder=10m,escalate=1h, not {}", quote(text));
        let (key, delay) = entry.split_once('=').ok_or_else(|| invalid(DELAY_KEYS, &form()))?;
        let key = word(DELAY_KEYS, key)?;
        let delay = duration::parse(delay.trim()).ok_or_else(|| invalid(DELAY_KEYS, &form()))?;
        check_delay(key, delay, MAX_DELAY)?;
        if keys.iter().any(|(known, _)| known == key) {
            let detail = format!("{DELAY_KEYS} has the key {} more than once", quote(key));
            return Err(Invalid::new(Reason::DuplicateKey, DELAY_KEYS, detail));
        }
        keys.push((key.to_owned(), delay));
    }
    if keys.len() > MAX_DELAY_KEYS {
        return Err(invalid(DELAY_KEYS, &format!("has {} keys; {MAX_DELAY_KEYS} are allowed", keys.len())));
    }
    Ok(keys)
}

fn check_delay(key: &str, delay: Duration, max: Duration) -> Result<(), Invalid> {
    if delay <= max {
        Ok(())
    } else {
        Err(too_long(DELAY_KEYS, &format!("the delay of {}", quote(key)), max))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn too_long(name: &str, what: &str, max: Duration) -> Invalid {
    let detail = format!("{what} is too long: at most {} are allowed here", duration::write(max));
    Invalid::new(Reason::DelayTooLong, name, detail)
}

/// Reads a delay, such as `1h30m`.
pub fn delay(text: &str) -> Result<Duration, Invalid> {
    let form = || format!("must be a duration such as 1h30m or 250ms, not {}", quote(text));
    let delay = duration::parse(text).ok_or_else(|| invalid(DELAY, &form()))?;
    if delay <= MAX_DELAY { Ok(delay) } else { Err(too_long(DELAY, "the delay", MAX_DELAY)) }
}

/// Reads an instant, in milliseconds since the Unix epoch: the next whole one, so that nothing comes early.
pub fn instant(text: &str) -> Result<i64, Invalid> {
    attributes::check_time(DELIVER_AT, text)?;
    let form = || format!("must be an RFC 3339 instant such as 2026-01-01T09:00:00Z, not {}", quote(text));
    let instant: Timestamp = text.parse().map_err(|_| invalid(DELIVER_AT, &form()))?;
    let over = instant.as_nanosecond().rem_euclid(1_000_000) > 0;
    Ok(instant.as_nanosecond().div_euclid(1_000_000) as i64 + i64::from(over))
}

/// A tag or a key, without the space around it.
fn word<'a>(name: &str, text: &'a str) -> Result<&'a str, Invalid> {
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid(name, "has an empty word between its commas"));
    }
    if text.len() > MAX_WORD {
        return Err(invalid(name, &format!("has a word of {} bytes; {MAX_WORD} are allowed", text.len())));
    }
    attributes::check_text(name, text)?;
    Ok(text)
}

/// Reads a key. Quotes around it, which a header of structured values has, are no part of it.
pub fn idempotency_key(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() {
        return Err(invalid(IDEMPOTENCY_KEY, "has no key"));
    }
    if text.len() > MAX_KEY {
        let problem = format!("has a key of {} bytes; {MAX_KEY} are allowed", text.len());
        return Err(invalid(IDEMPOTENCY_KEY, &problem));
    }
    attributes::check_text(IDEMPOTENCY_KEY, text)?;
    Ok(text.to_owned())
}

fn max_attempts(text: &str) -> Result<u32, Invalid> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (1..=MAX_ATTEMPTS).contains(number));
    let detail = || format!("must be a number from 1 to {MAX_ATTEMPTS}, not {}", quote(text));
    number.ok_or_else(|| invalid("evhubmaxattempts", &detail()))
}

fn timeout(text: &str) -> Result<Duration, Invalid> {
    let span = duration::parse(text).filter(|span| (TIMEOUT.0..=TIMEOUT.1).contains(span));
    let detail = || format!("must be a duration from 1ms to 10m such as 2s, not {}", quote(text));
    span.ok_or_else(|| invalid("evhubtimeout", &detail()))
}

fn invalid(name: &str, problem: &str) -> Invalid {
    Invalid::new(Reason::InvalidControl, name, format!("{name} {problem}"))
}
