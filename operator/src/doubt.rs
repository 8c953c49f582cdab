//! When a status that is not as it should be is worth writing. Pure; the time is handed in.
//!
//! A dataplane that is rolled, or an operator that has only begun to lead, makes every resource look unready for a moment. To
//! write that down and take it back would be two writes for each of thousands, and tell nobody anything. So what is worse only
//! because of what dataplanes say is written when it has lasted; what is better, and what follows from an edit, at once.

use std::{collections::BTreeMap, time::Duration};

use evhub_backoff::Backoff;
use evhub_crds::{Reason, condition::Status};
use tokio::time::Instant;

use crate::told::Told;

/// How long what dataplanes say must last before it is told that something is worse.
pub const LASTS: Duration = Duration::from_secs(15);

/// How long dataplanes may take to run something, before it is told that they do not yet. Mostly they are quicker, and one
/// write tells it all; meanwhile the generation that was observed last says that there is more to come.
pub const SOON: Duration = Duration::from_secs(1);

/// What is in doubt, by the identity of the resource.
#[derive(Debug, Default)]
pub struct Doubts {
    since: BTreeMap<String, Instant>,
    /// What failed, how often, and when to try again.
    failed: BTreeMap<String, (u32, Instant)>,
    /// What was written and is not there: an API server drops what its CRDs do not have, when they are older than we are. To
    /// write it again would do no good.
    futile: BTreeMap<String, Told>,
}

/// `Ready` as it was told last.
pub type Ready = Option<(Status, String)>;

impl Doubts {
    /// Whether to write this status now.
    pub fn is_certain(
        &mut self,
        uid: &str,
        before: &Ready,
        next: &Told,
        is_older: bool,
        now: Instant,
    ) -> bool {
        let is_futile = self.futile.get(uid).is_some_and(|futile| futile.says_the_same(next));
        if is_futile || self.failed.get(uid).is_some_and(|(_, again)| now < *again) {
            return false;
        }
        let lasts = if !is_older && is_worse(before, next) {
            LASTS
        } else if next.ready() == Some((Status::Unknown, Reason::Programming.as_str())) {
            SOON
        } else {
            self.since.remove(uid);
            return true;
        };
        let since = *self.since.entry(uid.to_owned()).or_insert(now);
        now.duration_since(since) >= lasts
    }

    /// Whether anything of it is in doubt.
    pub fn is_about(&self, uid: &str) -> bool {
        self.since.contains_key(uid)
    }

    /// These are as they should be: what was in doubt has passed.
    pub fn calm(&mut self, uids: &[String]) {
        for uid in uids {
            self.since.remove(uid);
        }
    }

    /// This was written, and that is there.
    pub fn settled(&mut self, uid: &str, told: Told, there: &Told) {
        self.since.remove(uid);
        self.failed.remove(uid);
        if told.says_the_same(there) {
            self.futile.remove(uid);
        } else {
            self.futile.insert(uid.to_owned(), told);
        }
    }

    /// It could not be written. Says whether that is worth telling: the first time.
    pub fn failed(&mut self, uid: &str, now: Instant) -> bool {
        let (failures, again) = self.failed.entry(uid.to_owned()).or_insert((0, now));
        *failures += 1;
        *again = now + backoff().wait(*failures, fastrand::u64(..));
        *failures == 1
    }

    /// Forgets what is not there any more.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.since.retain(|uid, _| is_there(uid));
        self.failed.retain(|uid, _| is_there(uid));
        self.futile.retain(|uid, _| is_there(uid));
    }
}

/// Whether it was ready, and only what dataplanes say, or who is behind a Service, makes that different.
fn is_worse(before: &Ready, next: &Told) -> bool {
    let was_ready = matches!(before, Some((Status::True, _)));
    let passing = [
        Reason::Programming,
        Reason::NoDataplane,
        Reason::NotListening,
        Reason::TopicNotReady,
        Reason::NoEndpoints,
    ];
    let is_passing = |(status, reason): (Status, &str)| {
        status != Status::True && passing.iter().any(|passing| passing.as_str() == reason)
    };
    was_ready && next.ready().is_some_and(is_passing)
}

fn backoff() -> Backoff {
    Backoff::exponential(Duration::from_secs(1), Duration::from_secs(30), 2, 20)
        .expect("the first wait is above zero and below the longest")
}

#[cfg(test)]
mod tests;
