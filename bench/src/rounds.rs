//! What several rounds come to: medians, spreads, and ratios of what was measured in one round. Pure.

use std::fmt;

/// Some figures of one kind, a round each.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<f64>);

/// The middle, the lowest and the highest of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

impl Rounds {
    /// Adds a round's figure.
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// How many rounds there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What they come to; zeros without rounds.
    pub fn spread(&self) -> Spread {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        Spread { median: at(sorted.len() / 2), lowest: at(0), highest: at(sorted.len().saturating_sub(1)) }
    }

    /// Each round's figure divided by that of another kind in the same round.
    #[must_use]
    pub fn over(&self, floor: &Self) -> Self {
        Self(self.0.iter().zip(&floor.0).map(|(ours, floor)| ours / floor).collect())
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { median, lowest, highest } = self;
        write!(f, "{median:.digits$} ({lowest:.digits$}–{highest:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let (mut ours, mut floor) = (Rounds::default(), Rounds::default());
        for (one, other) in [(1.0, 2.0), (30.0, 10.0), (8.0, 8.0)] {
            ours.add(one);
            floor.add(other);
        }
        assert_eq!(format!("{:.1}", ours.over(&floor).spread()), "1.0 (0.5–3.0)");
    }
}
