//! Who owns what, as tables of what happens and what is heard.

use proptest::{collection::vec, prelude::*};

use super::*;

const PATIENCE: Duration = Duration::from_mins(1);

struct World {
    groups: Groups,
    generation: u64,
    partitions: u32,
    begun: Instant,
    seconds: u64,
}

impl World {
    fn new(partitions: u32) -> Self {
        Self { groups: Groups::default(), generation: 0, partitions, begun: Instant::now(), seconds: 0 }
    }

    fn change(&mut self, change: impl FnOnce(&mut Groups, Now<'_>) -> Change) -> Vec<(MemberId, Said)> {
        let partitions = self.partitions;
        let at = self.begun + Duration::from_secs(self.seconds);
        let change =
            change(&mut self.groups, Now { at, generation: self.generation, partitions: &|_| partitions });
        if let Some(generation) = change.generation {
            assert_eq!(generation, self.generation + 1);
            self.generation = generation;
        }
        change.said
    }

    fn join(&mut self, id: MemberId) -> Vec<(MemberId, Said)> {
        self.change(|groups, now| groups.join("g", id, vec!["t".into()], now))
    }

    fn leave(&mut self, id: MemberId) -> Vec<(MemberId, Said)> {
        self.change(|groups, now| groups.leave("g", id, now))
    }

    fn release(&mut self, id: MemberId, partitions: &[u32]) -> Vec<(MemberId, Said)> {
        self.change(|groups, now| groups.release("g", id, partitions, now))
    }

    fn evict(&mut self) -> Vec<(MemberId, Said)> {
        self.change(|groups, now| groups.evict("g", PATIENCE, now))
    }

    fn grow(&mut self, partitions: u32) -> Vec<(MemberId, Said)> {
        self.partitions = partitions;
        let (at, generation) = (self.begun, self.generation);
        let changed = self.groups.grown("t", at, &|_| generation, &|_| partitions);
        let mut said = Vec::new();
        for (_, change) in changed {
            self.generation = change.generation.unwrap_or(self.generation);
            said.extend(change.said);
        }
        said
    }
}

fn assigned(generation: u64, partitions: impl IntoIterator<Item = u32>) -> Said {
    Said::Assigned { generation, partitions: partitions.into_iter().collect() }
}

#[test]
fn ranges_are_handed_out_when_everything_was_given_up() {
    let mut world = World::new(5);
    assert_eq!(world.join(1), [(1, assigned(1, 0..5))]);
    assert_eq!(world.join(2), [(1, Said::Revoked(vec![0, 1, 2, 3, 4]))]);
    assert_eq!(world.release(1, &[0, 1, 2]), []);
    assert_eq!(world.join(3), [], "asked once, and whoever comes meanwhile is taken in");
    assert_eq!(
        world.release(1, &[3, 4]),
        [(1, assigned(2, 0..2)), (2, assigned(2, 2..4)), (3, assigned(2, 4..5))]
    );
    assert_eq!(world.release(2, &[2]), [], "nobody asked for it");
    let asked = world.leave(2);
    assert_eq!(asked, [(1, Said::Revoked(vec![0, 1])), (3, Said::Revoked(vec![4]))]);
    world.release(1, &[0, 1]);
    assert_eq!(world.release(3, &[4]), [(1, assigned(3, 0..3)), (3, assigned(3, 3..5))]);
    world.leave(1);
    world.release(3, &[3, 4]);
    assert_eq!((world.leave(3), world.generation), (vec![], 5));
}

#[test]
fn more_members_than_partitions_leave_some_with_none() {
    let mut world = World::new(1);
    world.join(1);
    world.join(2);
    assert_eq!(world.release(1, &[0]), [(1, assigned(2, 0..1)), (2, assigned(2, []))]);
}

#[test]
fn who_does_not_give_up_in_time_loses() {
    let mut world = World::new(2);
    world.join(1);
    world.join(2);
    world.seconds = 59;
    assert_eq!(world.evict(), [], "too early");
    world.seconds = 60;
    assert_eq!(world.evict(), [(1, Said::Lost(vec![0, 1])), (2, assigned(2, 0..2))]);
    assert_eq!(world.release(1, &[0, 1]), [], "it is no member any more");
    assert_eq!(world.evict(), []);
}

#[test]
fn growth_is_a_rebalance_once_every_topic_has_grown() {
    let mut world = World::new(1);
    world.join(1);
    assert_eq!(world.grow(1), []);
    assert_eq!(world.grow(3), [(1, Said::Revoked(vec![0]))]);
    assert_eq!(world.release(1, &[0]), [(1, assigned(2, 0..3))]);
}

#[test]
fn a_group_that_nobody_can_vouch_for_is_dissolved() {
    let mut world = World::new(2);
    world.join(1);
    assert_eq!(world.change(|groups, _| groups.dissolve("g")), [(1, Said::Lost(vec![0, 1]))]);
    assert_eq!(world.join(2), [(2, assigned(2, 0..2))]);
}

proptest! {
    /// Whatever happens, no partition is given to two, and when all is quiet every partition is somebody's.
    #[test]
    fn no_partition_has_two_owners(steps in vec((0..4_u64, 0..6_u64), 0..60)) {
        let mut world = World::new(7);
        let mut owned: BTreeMap<MemberId, BTreeSet<u32>> = BTreeMap::new();
        let mut asked: BTreeMap<MemberId, Vec<u32>> = BTreeMap::new();
        let hear = |said: Vec<(MemberId, Said)>, owned: &mut BTreeMap<MemberId, BTreeSet<u32>>, asked: &mut BTreeMap<MemberId, Vec<u32>>| {
            for (id, said) in said {
                match said {
                    Said::Assigned { partitions, .. } => drop(owned.insert(id, partitions.into_iter().collect())),
                    Said::Revoked(partitions) => drop(asked.insert(id, partitions)),
                    Said::Lost(_) => { owned.remove(&id); asked.remove(&id); }
                }
            }
        };
        for (step, id) in steps {
            world.seconds += 25;
            let said = match step {
                0 if !owned.contains_key(&id) => { owned.insert(id, BTreeSet::new()); world.join(id) }
                1 => { owned.remove(&id); asked.remove(&id); world.leave(id) }
                2 => {
                    let given = asked.remove(&id).unwrap_or_default();
                    if !given.is_empty() { owned.insert(id, BTreeSet::new()); }
                    world.release(id, &given)
                }
                3 => world.evict(),
                _ => vec![],
            };
            hear(said, &mut owned, &mut asked);
            let all: Vec<u32> = owned.values().flatten().copied().collect();
            let distinct: BTreeSet<u32> = all.iter().copied().collect();
            prop_assert_eq!(all.len(), distinct.len(), "{:?}", owned);
            if asked.is_empty() && !owned.is_empty() {
                prop_assert_eq!(distinct.len(), 7, "{:?}", owned);
            }
        }
    }
}
