//! Repeated events: put again when they have fired, and taken from Processors that cancel them. Pure.

use super::{Draft, Shard, over};
use crate::{
    Answer, TimerId,
    command::Mute,
    leader::Deviation,
    timer::{End, Ended, Timer},
};

impl Shard {
    /// Puts a chain again that has fired, or ends it.
    pub(super) fn go_on(&mut self, timer: Timer, now: i64, draft: &mut Draft) {
        let next = timer.chain.as_deref().and_then(|chain| chain.after(timer.due, now));
        let Some((mut chain, due)) = next else {
            let Timer { id, due, digest, .. } = timer;
            return self.end(id, Ended { how: End::Fired, due, at: now, digest }, draft);
        };
        if self.is(Deviation::MutedForgotten) {
            chain.muted.clear();
        }
        self.put(Timer { due, chain: Some(Box::new(chain)), ..timer }, draft);
    }

    /// A Processor wants no more of a chain.
    pub(super) fn mute(&mut self, id: TimerId, mute: &Mute, taken: i64, draft: &mut Draft) -> Answer {
        let timer = self.timers.get(&id).and_then(|pending| pending.whole.as_deref());
        let Some(timer) = timer else {
            return self.ended.get(&id).map_or(Answer::Unknown, |ended| over(*ended));
        };
        let Some(chain) = timer.chain.as_deref() else { return Answer::Unknown };
        let (chain, goes_on, fits) = chain.without(&mute.processor, &mute.all);
        if !fits {
            return Answer::TooMany;
        }
        let (due, digest) = (timer.due, timer.digest);
        if goes_on {
            let timer = Timer { chain: Some(Box::new(chain)), ..timer.clone() };
            self.put(timer, draft);
        } else {
            draft.tally.cancelled += 1;
            self.end(id, Ended { how: End::Cancelled, due, at: taken, digest }, draft);
        }
        Answer::Cancelled
    }
}

#[cfg(test)]
mod tests;
