//! The deliveries of one lane, first to last; nearly always it is one. Pure.

use std::collections::VecDeque;

use super::Place;

/// At least one place. One alone takes no memory of its own: where every event has another key, there are as many lines as
/// deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line {
    One(Place, bool),
    Many(Box<Many>),
}

/// Two at the least.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Many {
    places: VecDeque<Place>,
    logged: usize,
}

impl Line {
    /// One delivery, which has no other home than the log, or has.
    pub(super) fn of(place: Place, logged: bool) -> Self {
        Self::One(place, logged)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Many(many) => many.places.len(),
        }
    }

    /// How many of them have no other home than the log, and are not on their way to one.
    pub(super) fn logged(&self) -> usize {
        match self {
            Self::One(_, logged) => usize::from(*logged),
            Self::Many(many) => many.logged,
        }
    }

    pub(super) fn front(&self) -> Place {
        match self {
            Self::One(place, _) => *place,
            Self::Many(many) => many.places[0],
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Place> {
        let (one, many) = match self {
            Self::One(place, _) => (Some(*place), None),
            Self::Many(many) => (None, Some(many.places.iter().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(super) fn push(&mut self, place: Place, logged: bool) {
        match self {
            Self::One(first, one) => {
                let places = VecDeque::from([*first, place]);
                *self =
                    Self::Many(Box::new(Many { places, logged: usize::from(*one) + usize::from(logged) }));
            }
            Self::Many(many) => {
                many.places.push_back(place);
                many.logged += usize::from(logged);
            }
        }
    }

    /// One of them is on its way to another home than the log.
    pub(super) fn move_one(&mut self) {
        match self {
            Self::One(_, logged) => *logged = false,
            Self::Many(many) => many.logged -= 1,
        }
    }

    /// Takes a place out; gives back which is the first then, or `None` when none is left.
    pub(super) fn remove(&mut self, place: Place, logged: bool) -> Option<Place> {
        let many = match self {
            Self::One(only, _) => return Some(*only).filter(|only| *only != place),
            Self::Many(many) => many,
        };
        many.logged -= usize::from(logged);
        if many.places[0] == place {
            many.places.pop_front();
        } else {
            many.places.retain(|other| *other != place);
        }
        let first = many.places[0];
        if many.places.len() == 1 {
            *self = Self::One(first, many.logged == 1);
        }
        Some(first)
    }
}
