//! What a process asks of whoever leads a shard, and hears: here, or on its way to another process. Pure.

use bytes::Bytes;
use evhub_cron::Progress;
use prost::Message as _;

use crate::{
    Answer, Command, Listed, TimerId,
    claim::Receipt,
    half::{HalfListed, Which},
    ledger::Slot,
    series::{Dynamic, Kept},
    state::Unreadable,
    wire::{self, Asked},
};

/// A question about one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What became of the command at this offset?
    Ask(u64, Box<Command>),
    /// What is known of this timer?
    Look(TimerId),
    /// Which timers of this Producer are pending behind a place, so many at the most?
    List(String, Option<Slot>, usize),
    /// Which schedules are there?
    Series,
    /// Which schedules did somebody put for this Producer? Of one of them the event as well.
    Dynamic(String, Option<TimerId>),
    /// What is known of this half message?
    LookHalf(TimerId),
    /// Which half messages of this Producer are undecided behind a place, so many at the most?
    Halves(String, Which, Option<Slot>, usize),
}

/// What is said to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What became of it, or why there is nothing to tell.
    Answer(Answer),
    /// The timers, and their places.
    Listed(Vec<(Slot, Listed)>),
    /// The schedules.
    Series(Vec<Kept>),
    /// The schedules that somebody put.
    Dynamic(Vec<Dynamic>),
    /// The half messages, and their places.
    Halves(Vec<(Slot, HalfListed)>),
}

/// The words for answers on the wire, by their numbers; one that comes with an instant is 0.
const WORDS: [Answer; 10] = [
    Answer::Conflict,
    Answer::TooMany,
    Answer::TooLong,
    Answer::Cancelled,
    Answer::AlreadyFired,
    Answer::Unknown,
    Answer::Unreadable,
    Answer::TooManyKeys,
    Answer::Stuck,
    Answer::TooLate,
];
/// The word of an answer that comes with a receipt.
const CLAIMED: u32 = 20;

impl Question {
    /// As bytes, of a shard.
    pub fn encode(self, shard: u32) -> Bytes {
        let asked = match self {
            Self::Ask(offset, command) => {
                // The event is in the log.
                Asked::Ask(wire::Ask { offset, command: Some((*command).without_event().into()) })
            }
            Self::Series => Asked::Series(wire::Empty {}),
            Self::Dynamic(producer, id) => {
                let id = id.map(|id| Bytes::copy_from_slice(id.as_bytes()));
                Asked::Dynamic(wire::AskDynamic { producer, id })
            }
            Self::LookHalf(id) => Asked::LookHalf(Bytes::copy_from_slice(id.as_bytes())),
            Self::Halves(producer, which, after, most) => {
                let after = after.map(|(due, seq)| wire::Slot { due, seq });
                Asked::Halves(wire::ListHalves { producer, after, most: most as u64, which: which.into() })
            }
            Self::Look(id) => Asked::Look(Bytes::copy_from_slice(id.as_bytes())),
            Self::List(producer, after, most) => {
                let after = after.map(|(due, seq)| wire::Slot { due, seq });
                Asked::List(wire::List { producer, after, most: most as u64 })
            }
        };
        wire::Question { shard, asked: Some(asked) }.encode_to_vec().into()
    }

    /// Reads a question, and of which shard; `None` if it is none.
    pub fn decode(bytes: Bytes) -> Option<(u32, Self)> {
        let wire::Question { shard, asked } = wire::Question::decode(bytes).ok()?;
        let question = match asked? {
            Asked::Ask(wire::Ask { offset, command }) => {
                Self::Ask(offset, Box::new(Command::try_from(command?).ok()?))
            }
            Asked::Look(id) => Self::Look(TimerId::from_bytes(&id)?),
            Asked::Series(wire::Empty {}) => Self::Series,
            Asked::Dynamic(wire::AskDynamic { producer, id: None }) => Self::Dynamic(producer, None),
            Asked::Dynamic(wire::AskDynamic { producer, id: Some(id) }) => {
                Self::Dynamic(producer, Some(TimerId::from_bytes(&id)?))
            }
            Asked::LookHalf(id) => Self::LookHalf(TimerId::from_bytes(&id)?),
            Asked::Halves(wire::ListHalves { producer, after, most, which }) => {
                let after = after.map(|slot| (slot.due, slot.seq));
                Self::Halves(producer, wire::which(which)?, after, usize::try_from(most).ok()?)
            }
            Asked::List(wire::List { producer, after, most }) => {
                Self::List(producer, after.map(|slot| (slot.due, slot.seq)), usize::try_from(most).ok()?)
            }
        };
        Some((shard, question))
    }
}

impl Reply {
    /// As bytes.
    pub fn encode(self) -> Bytes {
        let reply = match self {
            Self::Answer(Answer::Scheduled(due)) => {
                let answer = wire::Answer { due, ..wire::Answer::default() };
                wire::Reply { answer: Some(answer), ..wire::Reply::default() }
            }
            Self::Answer(Answer::Claimed(receipt)) => {
                let receipt = Some((*receipt).into());
                let answer = wire::Answer { word: CLAIMED, receipt, ..wire::Answer::default() };
                wire::Reply { answer: Some(answer), ..wire::Reply::default() }
            }
            Self::Answer(Answer::Half(standing)) => {
                let answer = wire::Answer { standing: Some(standing.into()), ..wire::Answer::default() };
                wire::Reply { answer: Some(answer), ..wire::Reply::default() }
            }
            Self::Answer(answer) => {
                let word = WORDS.iter().position(|known| *known == answer).map_or(0, |word| word as u32 + 1);
                let answer = wire::Answer { word, ..wire::Answer::default() };
                wire::Reply { answer: Some(answer), ..wire::Reply::default() }
            }
            Self::Listed(listed) => {
                wire::Reply { listed: listed.into_iter().map(listed_to).collect(), ..wire::Reply::default() }
            }
            Self::Series(kept) => {
                let series = Some(wire::AllKept { kept: kept.into_iter().map(kept_to).collect() });
                wire::Reply { series, ..wire::Reply::default() }
            }
            Self::Dynamic(dynamic) => {
                let dynamic = dynamic.into_iter().map(Into::into).collect();
                wire::Reply { dynamic: Some(wire::AllDynamic { dynamic }), ..wire::Reply::default() }
            }
            Self::Halves(halves) => {
                let halves = wire::HalvesListed { halves: halves.into_iter().map(Into::into).collect() };
                wire::Reply { halves: Some(halves), ..wire::Reply::default() }
            }
        };
        reply.encode_to_vec().into()
    }

    /// Reads a reply; `None` if it is none.
    pub fn decode(bytes: Bytes) -> Option<Self> {
        let wire::Reply { answer, listed, series, dynamic, halves } = wire::Reply::decode(bytes).ok()?;
        if let Some(wire::AllDynamic { dynamic }) = dynamic {
            let dynamic = dynamic.into_iter().map(|one| one.try_into().ok());
            return dynamic.collect::<Option<_>>().map(Self::Dynamic);
        }
        if let Some(wire::HalvesListed { halves }) = halves {
            let halves = halves.into_iter().map(wire::HalfListedOf::read);
            return halves.collect::<Option<_>>().map(Self::Halves);
        }
        if let Some(wire::AllKept { kept }) = series {
            return kept.into_iter().map(kept_of).collect::<Option<_>>().map(Self::Series);
        }
        match answer {
            Some(wire::Answer { word: CLAIMED, receipt, .. }) => {
                let receipt = Receipt::try_from(receipt?).ok()?;
                Some(Self::Answer(Answer::Claimed(Box::new(receipt))))
            }
            Some(wire::Answer { standing: Some(standing), .. }) => {
                standing.read().map(|standing| Self::Answer(Answer::Half(standing)))
            }
            Some(wire::Answer { word: 0, due, .. }) => Some(Self::Answer(Answer::Scheduled(due))),
            Some(wire::Answer { word, .. }) => WORDS.get(word as usize - 1).cloned().map(Self::Answer),
            None => listed.into_iter().map(listed_of).collect::<Option<_>>().map(Self::Listed),
        }
    }
}

impl From<Receipt> for wire::Receipt {
    fn from(Receipt { event_id, timer }: Receipt) -> Self {
        let (timer, due) =
            timer.map_or((None, 0), |(id, due)| (Some(Bytes::copy_from_slice(id.as_bytes())), due));
        Self { event_id, timer, due }
    }
}

impl TryFrom<wire::Receipt> for Receipt {
    type Error = Unreadable;

    fn try_from(wire::Receipt { event_id, timer, due }: wire::Receipt) -> Result<Self, Unreadable> {
        let timer = timer.map(|id| TimerId::from_bytes(&id).map(|id| (id, due)).ok_or(Unreadable::Malformed));
        Ok(Self { event_id, timer: timer.transpose()? })
    }
}

impl From<Dynamic> for wire::Dynamic {
    fn from(Dynamic { series, record }: Dynamic) -> Self {
        Self { series: Some(series.into()), event: record.map(Into::into) }
    }
}

impl TryFrom<wire::Dynamic> for Dynamic {
    type Error = Unreadable;

    fn try_from(wire::Dynamic { series, event }: wire::Dynamic) -> Result<Self, Unreadable> {
        let series = series.ok_or(Unreadable::Malformed)?.try_into()?;
        Ok(Self { series, record: event.map(Into::into) })
    }
}

fn kept_to(Kept { id, producer, due, progress, dynamic }: Kept) -> wire::Kept {
    let (id, Progress { done, fired, skipped }) = (Bytes::copy_from_slice(id.as_bytes()), progress);
    wire::Kept { id, producer, due, done, fired, skipped, dynamic }
}

fn kept_of(kept: wire::Kept) -> Option<Kept> {
    let wire::Kept { id, producer, due, done, fired, skipped, dynamic } = kept;
    let (id, progress) = (TimerId::from_bytes(&id)?, Progress { done, fired, skipped });
    Some(Kept { id, producer, due, progress, dynamic })
}

fn listed_to(((due, seq), listed): (Slot, Listed)) -> wire::Listed {
    let Listed { id, producer, event_id, due: _, key } = listed;
    let id = Bytes::copy_from_slice(id.as_bytes());
    wire::Listed { slot: Some(wire::Slot { due, seq }), id, producer, event_id, key }
}

fn listed_of(listed: wire::Listed) -> Option<(Slot, Listed)> {
    let wire::Listed { slot, id, producer, event_id, key } = listed;
    let wire::Slot { due, seq } = slot?;
    let id = TimerId::from_bytes(&id)?;
    Some(((due, seq), Listed { id, producer, event_id, due, key }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evhub_event::Record;

    use super::*;
    use crate::{
        Submit, When,
        command::Verb,
        half::{Callback, Checked, Commit, Decide, Decision, Exhausted, Prepare, Standing, State},
        series::{NEVER, Pace, Rule, Series},
    };

    #[test]
    fn questions_and_replies_come_back_as_they_were() {
        let id = TimerId::of("p", None, "/s", "1", 4);
        let submit = Submit {
            producer: "p".to_owned(),
            topic: "t".to_owned(),
            event_id: "1".to_owned(),
            record: Record::default(),
            when: When::After(Duration::from_millis(5)),
            repeat: None,
            max_delay: Duration::from_secs(1),
            max_pending: 9,
            digest: 7,
        };
        for question in [
            Question::Ask(3, Box::new(Command { id, verb: Verb::Submit(Box::new(submit)) })),
            Question::Ask(4, Box::new(Command { id, verb: Verb::Reschedule(When::At(-1)) })),
            Question::Look(id),
            Question::Series,
            Question::Dynamic("p".to_owned(), None),
            Question::Dynamic("p".to_owned(), Some(id)),
            Question::LookHalf(id),
            Question::Halves("p".to_owned(), Which::Held, Some((-5, 6)), 10),
            Question::List("p".to_owned(), Some((-5, 6)), 10),
        ] {
            assert_eq!(Question::decode(question.clone().encode(3)), Some((3, question)));
        }
        let listed =
            Listed { id, producer: "p".to_owned(), event_id: "1".to_owned(), due: 5, key: Some("k".into()) };
        let standing = |state| Standing { state, at: -1, due: 2, first: state == State::Committed };
        let standings = [State::Prepared, State::Committed, State::RolledBack].map(standing);
        let halves = standings.map(Answer::Half);
        let answers = WORDS.into_iter().chain([Answer::Scheduled(-3)]).chain(halves).map(Reply::Answer);
        let lists = [Reply::Listed(vec![((5, 6), listed)]), Reply::Listed(Vec::new())];
        let half = HalfListed {
            id,
            producer: "p".to_owned(),
            event_id: "1".to_owned(),
            key: None,
            standing: standings[1],
            checks: 3,
            next: NEVER,
        };
        let halves = [Reply::Halves(vec![((5, 6), half)]), Reply::Halves(Vec::new())];
        for reply in answers.chain(lists).chain(halves) {
            assert_eq!(Reply::decode(reply.clone().encode()), Some(reply));
        }
    }

    #[test]
    fn what_is_said_of_schedules_comes_back_as_it_was() {
        let id = TimerId::of("p", None, "/s", "1", 4);
        let progress = Progress { done: -1, fired: 2, skipped: 3 };
        let kept = Kept { id, producer: "p".to_owned(), due: i64::MAX, progress, dynamic: None };
        let put = Kept { dynamic: Some("nightly".to_owned()), ..kept.clone() };
        let series = [Reply::Series(vec![kept, put]), Reply::Series(Vec::new())];
        let rule = Rule {
            pace: Pace::Every(-1, 1000),
            start: Some(3),
            end: None,
            missed: evhub_cron::MissedRuns::default(),
            jitter: Duration::ZERO,
            suspended: true,
        };
        let nightly = Series::begun("p", "nightly", rule, (1, 2), 5).unwrap().put(true).at(progress);
        let dynamic = |record| Dynamic { series: nightly.clone(), record };
        let dynamic = vec![dynamic(None), dynamic(Some(Record::default()))];
        let dynamic = [Reply::Dynamic(dynamic), Reply::Dynamic(Vec::new())];
        for reply in series.into_iter().chain(dynamic) {
            assert_eq!(Reply::decode(reply.clone().encode()), Some(reply));
        }
    }

    #[test]
    fn commands_on_half_messages_come_back_as_they_were() {
        let id = TimerId::half("p", Some(b"k"), "/s", "1", 4);
        let callback = Callback {
            way: 3,
            url: "http://a/".to_owned(),
            timeout: Duration::from_secs(5),
            interval: Duration::from_mins(2),
        };
        let prepare = Prepare {
            producer: "p".to_owned(),
            topic: "t".to_owned(),
            event_id: "1".to_owned(),
            record: Record::default(),
            when: Some(When::At(-7)),
            max_delay: Duration::from_secs(1),
            max_pending: 9,
            interval: Duration::from_secs(3),
            callback: Some(callback),
            digest: 7,
        };
        let commit = Commit {
            when: Some(When::After(Duration::from_millis(5))),
            delay_keys: vec![("reminder".to_owned(), Duration::from_secs(1))],
            repeat: Some(crate::command::Repeat {
                pace: evhub_event::controls::Pace::Crontab("@daily".to_owned()),
                until: evhub_event::controls::Until::Time(Some(5)),
            }),
        };
        let decision = |decide| Box::new(Decision { producer: "p".to_owned(), decide });
        let checked = |decide, on_exhausted| {
            let (interval, max_checks) = (Duration::from_secs(3), 15);
            Verb::Checked(Box::new(Checked { checks: 2, decide, interval, max_checks, on_exhausted }))
        };
        for verb in [
            Verb::Prepare(Box::new(prepare.clone())),
            Verb::Prepare(Box::new(Prepare { when: None, callback: None, ..prepare })),
            Verb::Decide(decision(Decide::Commit(commit.clone()))),
            Verb::Decide(decision(Decide::Commit(Commit::default()))),
            Verb::Decide(decision(Decide::Rollback)),
            checked(None, Exhausted::Hold),
            checked(Some(Decide::Rollback), Exhausted::Rollback),
            checked(Some(Decide::Commit(commit)), Exhausted::Commit),
        ] {
            let command = Command { id, verb };
            assert_eq!(Command::decode(&command.clone().encode()), Ok(command));
        }
    }
}
