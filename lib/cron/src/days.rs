//! Which days of a month a crontab means: both of its day fields, and how they go together. Pure.

use jiff::civil::Date;

/// Both day fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Days {
    /// `d#k`: bit 7 × (k - 1) + weekday.
    pub nth: u64,
    /// Days of the month, bit 1 the first.
    pub dates: u32,
    /// `nW`: the weekday nearest to these.
    pub nearest: u32,
    /// Weekdays, bit 0 Sunday.
    pub weekdays: u8,
    /// `dL`: the last such weekday.
    pub last_weekdays: u8,
    /// `L`: the last day of the month.
    pub last: bool,
    /// `LW`: its last day from Monday to Friday.
    pub last_workday: bool,
    /// How the two go together.
    pub joined: Joined,
}

/// How the day of the month and the day of the week go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Joined {
    /// Neither says anything.
    #[default]
    Every,
    /// The day of the month decides.
    Date,
    /// The day of the week decides.
    Weekday,
    /// One of them is enough.
    Either,
    /// Both must hold.
    Both,
}

const SATURDAY: u32 = 6;
const SUNDAY: u32 = 0;

// === impl Days ===

impl Days {
    /// Those of one month, bit 1 the first.
    pub(crate) fn of(&self, year: i16, month: i8) -> u32 {
        let Ok(first) = Date::new(year, month, 1) else { return 0 };
        let month = Month {
            length: u32::from(first.days_in_month().unsigned_abs()),
            first: u32::from(first.weekday().to_sunday_zero_offset().unsigned_abs()),
        };
        match self.joined {
            Joined::Every => month.all(),
            Joined::Date => self.by_date(&month),
            Joined::Weekday => self.by_weekday(&month),
            Joined::Either => self.by_date(&month) | self.by_weekday(&month),
            Joined::Both => self.by_date(&month) & self.by_weekday(&month),
        }
    }

    fn by_date(&self, month: &Month) -> u32 {
        let mut days = self.dates & month.all();
        for day in bits(self.nearest & month.all()) {
            days |= 1 << month.nearest_workday(day);
        }
        if self.last {
            days |= 1 << month.length;
        }
        if self.last_workday {
            days |= 1 << month.nearest_workday(month.length);
        }
        days
    }

    fn by_weekday(&self, month: &Month) -> u32 {
        let mut days = 0;
        for weekday in bits(u32::from(self.weekdays)) {
            days |= month.weekdays(weekday);
        }
        for weekday in bits(u32::from(self.last_weekdays)) {
            let all = month.weekdays(weekday);
            days |= 1 << (all.ilog2());
        }
        let mut nth = self.nth;
        while nth != 0 {
            let bit = nth.trailing_zeros();
            nth &= nth - 1;
            let day = month.first_of(bit % 7) + bit / 7 * 7;
            days |= (1_u64 << day) as u32 & month.all();
        }
        days
    }
}

/// One month: how many days, and which weekday its first is.
struct Month {
    length: u32,
    first: u32,
}

impl Month {
    fn all(&self) -> u32 {
        ((1_u64 << (self.length + 1)) - 2) as u32
    }

    /// The first day of this weekday.
    fn first_of(&self, weekday: u32) -> u32 {
        1 + (weekday + 7 - self.first) % 7
    }

    /// All days of this weekday.
    fn weekdays(&self, weekday: u32) -> u32 {
        const WEEKLY: u32 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;
        ((u64::from(WEEKLY) << self.first_of(weekday)) as u32) & self.all()
    }

    /// The day from Monday to Friday that is nearest and in the same month.
    fn nearest_workday(&self, day: u32) -> u32 {
        match (self.first + day - 1) % 7 {
            SATURDAY if day == 1 => 3,
            SATURDAY => day - 1,
            SUNDAY if day == self.length => day - 2,
            SUNDAY => day + 1,
            _ => day,
        }
    }
}

/// The bits that are set, the lowest first.
fn bits(mut mask: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros())?;
        mask &= mask - 1;
        Some(bit)
    })
}
