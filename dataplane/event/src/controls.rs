//! Controls: what a publisher may set on one event beside the event itself. Pure.
//!
//! A control comes as an extension whose name begins with `evhub`, in every mode and protocol. It is taken out of the
//! event, so that no target receives it, and kept as a header of the record. Headers of a record may be written by
//! strangers, so what does not read there controls nothing.
//!
//! | extension | what it says | limits |
//! |---|---|---|
//! | `evhubtags` | `a,b`: what filters by tags look at | 64 tags of 128 bytes |
//! | `evhubdelaykeys` | `reminder=10m,escalate=1h`: how long a Processor with that `delayKey` waits | 32 keys of 128 bytes, 9600h |
//! | `evhubmaxattempts` | how many attempts it gets where its Processor allows more | 1 to 1000 |
//! | `evhubtimeout` | how long one attempt may take where its Processor allows longer | 1ms to 10m |

use std::time::Duration;

use bytes::Bytes;

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
/// The longest delay: 400 days.
pub const MAX_DELAY: Duration = Duration::from_hours(9600);
/// The most attempts that can be asked for: what a Processor can say at the most.
const MAX_ATTEMPTS: u32 = 1000;
/// The shortest and longest time-out: what a Processor can say.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_mins(10));

/// Heads the headers in which a record keeps them.
const RECORD_PREFIX: &str = "evhub-";

const TAGS: &str = "evhubtags";
const DELAY_KEYS: &str = "evhubdelaykeys";

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
}

impl Controls {
    /// Takes the controls out of an event. A control that is not known, or not taken by this version, is refused:
    /// ignoring one would deliver at once what should wait.
    pub fn take(event: &mut Event) -> Result<Self, Invalid> {
        let mut controls = Self::default();
        let reserved = |(name, _): &mut (String, String)| name.starts_with(RESERVED_PREFIX);
        for (name, value) in event.extensions.extract_if(.., reserved) {
            controls.set(&name, &value)?;
        }
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

    fn set(&mut self, name: &str, value: &str) -> Result<(), Invalid> {
        match name {
            TAGS => self.tags = tags(value)?,
            DELAY_KEYS => self.delay_keys = delay_keys(value)?,
            "evhubmaxattempts" => self.max_attempts = Some(max_attempts(value)?),
            "evhubtimeout" => self.timeout = Some(timeout(value)?),
            _ => return Err(reserved(name)),
        }
        Ok(())
    }
}

/// The extension that a header of a single event stands for. `None` for other headers; an error for one whose control is
/// not taken.
pub(crate) fn alias(header: &str) -> Option<Result<&'static str, Invalid>> {
    match header {
        "evhub-tags" => Some(Ok(TAGS)),
        "evhub-delay-keys" => Some(Ok(DELAY_KEYS)),
        "evhub-delay" => Some(Err(reserved("Evhub-Delay"))),
        "evhub-deliver-at" => Some(Err(reserved("Evhub-Deliver-At"))),
        "idempotency-key" => Some(Err(reserved("Idempotency-Key"))),
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
        if delay > MAX_DELAY {
            let limit = duration::write(MAX_DELAY);
            return Err(invalid(DELAY_KEYS, &format!("delays {} longer than {limit}", quote(key))));
        }
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
