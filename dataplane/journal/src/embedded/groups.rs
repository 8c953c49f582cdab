//! Who belongs to which group, and who owns what. Pure: what members do in, what members hear out.
//!
//! As Kafka's classic protocol with range assignment: when a member joins or leaves, or a topic grows, everybody is asked
//! for everything; commits of the old generation count until the last one has given up what it had; then a new generation
//! begins, in which member *i* of *n* owns the *i*-th of *n* ranges. Who does not give up in time loses.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// A member's number; grows, so that members are in the order of their joining.
pub(super) type MemberId = u64;

/// What a member hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Assigned { generation: u64, partitions: Vec<u32> },
    Revoked(Vec<u32>),
    Lost(Vec<u32>),
}

/// Every group that has members.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, Group>);

#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<MemberId, Member>,
    /// Since when members are being asked to give up.
    since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Member {
    topics: Vec<String>,
    owned: BTreeSet<u32>,
    /// What of it is to be given up.
    asked: BTreeSet<u32>,
}

/// What comes of a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) said: Vec<(MemberId, Said)>,
    /// The generation that begins.
    pub(super) generation: Option<u64>,
}

impl Groups {
    pub(super) fn join(&mut self, name: &str, id: MemberId, topics: Vec<String>, now: Now<'_>) -> Change {
        let group = self.0.entry(name.to_owned()).or_default();
        group.members.insert(id, Member { topics, ..Member::default() });
        group.rebalance(now)
    }

    pub(super) fn leave(&mut self, name: &str, id: MemberId, now: Now<'_>) -> Change {
        let Some(group) = self.0.get_mut(name) else { return Change::default() };
        if group.members.remove(&id).is_none() {
            return Change::default();
        }
        let change = group.rebalance(now);
        if group.members.is_empty() {
            self.0.remove(name);
        }
        change
    }

    /// A member has given up what it was asked for. What it was not asked for stays its.
    pub(super) fn release(&mut self, name: &str, id: MemberId, partitions: &[u32], now: Now<'_>) -> Change {
        let Some(group) = self.0.get_mut(name) else { return Change::default() };
        let Some(member) = group.members.get_mut(&id) else { return Change::default() };
        for partition in partitions {
            if member.asked.remove(partition) {
                member.owned.remove(partition);
            }
        }
        group.settle(now)
    }

    /// A topic has more partitions.
    pub(super) fn grown(
        &mut self,
        topic: &str,
        at: Instant,
        generation: &dyn Fn(&str) -> u64,
        partitions: &dyn Fn(&str) -> u32,
    ) -> Vec<(String, Change)> {
        let reads = |group: &Group| group.members.values().any(|m| m.topics.iter().any(|name| name == topic));
        let mut changed = Vec::new();
        for (name, group) in self.0.iter_mut().filter(|(_, group)| reads(group)) {
            let now = Now { at, generation: generation(name), partitions };
            // While the topics of a member differ, its partitions are the least of theirs: nothing changes.
            if group.count(now) != group.handed_out() {
                changed.push((name.clone(), group.rebalance(now)));
            }
        }
        changed
    }

    /// Somebody has waited for too long: who still holds what it was asked for loses it.
    pub(super) fn evict(&mut self, name: &str, patience: Duration, now: Now<'_>) -> Change {
        let Some(group) = self.0.get_mut(name) else { return Change::default() };
        let late = |since: Instant| now.at.saturating_duration_since(since) >= patience;
        if !group.since.is_some_and(late) {
            return Change::default();
        }
        let slow = |member: &Member| !member.asked.is_empty();
        let ids: Vec<MemberId> = group.members.iter().filter(|(_, m)| slow(m)).map(|(id, _)| *id).collect();
        let mut change = group.lose(&ids);
        let settled = group.settle(now);
        change.said.extend(settled.said);
        Change { generation: settled.generation, ..change }
    }

    /// Nobody knows which generation is durable: everybody must join anew.
    pub(super) fn dissolve(&mut self, name: &str) -> Change {
        let Some(mut group) = self.0.remove(name) else { return Change::default() };
        let all: Vec<MemberId> = group.members.keys().copied().collect();
        group.lose(&all)
    }
}

/// What is so while a change is made.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) at: Instant,
    /// The group's generation before the change.
    pub(super) generation: u64,
    /// How many partitions a topic has.
    pub(super) partitions: &'a dyn Fn(&str) -> u32,
}

impl Group {
    fn rebalance(&mut self, now: Now<'_>) -> Change {
        self.since.get_or_insert(now.at);
        let mut said = Vec::new();
        for (id, member) in &mut self.members {
            if member.asked.is_empty() && !member.owned.is_empty() {
                member.asked.clone_from(&member.owned);
                said.push((*id, Said::Revoked(member.owned.iter().copied().collect())));
            }
        }
        let settled = self.settle(now);
        said.extend(settled.said);
        Change { said, generation: settled.generation }
    }

    /// Begins a generation when nobody owns anything any more.
    fn settle(&mut self, now: Now<'_>) -> Change {
        if self.since.is_none() || self.members.values().any(|member| !member.owned.is_empty()) {
            return Change::default();
        }
        self.since = None;
        let (generation, count) = (now.generation + 1, self.count(now));
        let members = self.members.len() as u32;
        let mut said = Vec::new();
        for (index, (id, member)) in (0..).zip(&mut self.members) {
            let (each, more) = (count / members, count % members);
            let from = index * each + index.min(more);
            let to = from + each + u32::from(index < more);
            member.owned = (from..to).collect();
            said.push((*id, Said::Assigned { generation, partitions: (from..to).collect() }));
        }
        Change { said, generation: Some(generation) }
    }

    fn lose(&mut self, ids: &[MemberId]) -> Change {
        let lost = ids.iter().filter_map(|id| Some((*id, self.members.remove(id)?)));
        let said = lost.map(|(id, member)| (id, Said::Lost(member.owned.into_iter().collect())));
        Change { said: said.collect(), generation: None }
    }

    fn count(&self, now: Now<'_>) -> u32 {
        let topics = self.members.values().flat_map(|member| &member.topics);
        topics.map(|topic| (now.partitions)(topic)).min().unwrap_or(0)
    }

    fn handed_out(&self) -> u32 {
        self.members.values().map(|member| member.owned.len() as u32).sum()
    }
}

#[cfg(test)]
mod tests;
