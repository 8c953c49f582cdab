//! What is known is what there is, whatever happened to the watch meanwhile.

use proptest::prelude::*;

use super::*;

/// An object with nothing but what tells versions apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Thing {
    uid: String,
    created: i64,
    generation: i64,
    version: u64,
}

impl Versioned for Thing {
    fn uid(&self) -> &str {
        &self.uid
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn generation(&self) -> i64 {
        self.generation
    }

    fn succeed(&mut self, _before: Self) {}
}

/// What happens to an API server, or to the watch of it.
#[derive(Clone, Debug)]
enum Step {
    Write {
        name: u8,
    },
    Edit {
        name: u8,
    },
    Delete {
        name: u8,
    },
    /// So many events arrive.
    Hear {
        count: usize,
    },
    /// The watch breaks, and goes on where it was.
    Resume,
    /// The watch breaks, all that was under way is lost, and it lists anew; what is listed changes while it is read.
    Relist {
        meanwhile: Option<u8>,
    },
    /// An event comes again that came already.
    Replay {
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..4u8;
    prop_oneof![
        3 => name.clone().prop_map(|name| Step::Write { name }),
        3 => name.clone().prop_map(|name| Step::Edit { name }),
        3 => name.clone().prop_map(|name| Step::Delete { name }),
        4 => (0..4usize).prop_map(|count| Step::Hear { count }),
        1 => Just(Step::Resume),
        1 => prop::option::of(name).prop_map(|meanwhile| Step::Relist { meanwhile }),
        2 => any::<usize>().prop_map(|which| Step::Replay { which }),
    ]
}

#[derive(Default)]
struct Server {
    things: BTreeMap<Name, Thing>,
    writes: u64,
    /// What was not heard yet.
    pending: Vec<Change<Thing>>,
    heard: Vec<Change<Thing>>,
}

impl Server {
    fn write(&mut self, name: u8) {
        self.writes += 1;
        let (key, version) = (named(name), self.writes);
        let made = || Thing { uid: format!("u{version}"), created: version as i64, generation: 0, version };
        let thing = self.things.entry(key.clone()).or_insert_with(made);
        (thing.generation, thing.version) = (thing.generation + 1, version);
        self.pending.push(Change::Applied(key, thing.clone()));
    }

    /// A write that is none of its author's: of its status.
    fn edit(&mut self, name: u8) {
        self.writes += 1;
        let key = named(name);
        if let Some(thing) = self.things.get_mut(&key) {
            thing.version = self.writes;
            self.pending.push(Change::Applied(key, thing.clone()));
        }
    }

    fn delete(&mut self, name: u8) {
        let key = named(name);
        if let Some(thing) = self.things.remove(&key) {
            self.pending.push(Change::Deleted(key, thing));
        }
    }
}

fn named(name: u8) -> Name {
    Name::new("shop", format!("n{name}"))
}

fn play(steps: Vec<Step>) -> (Server, Mirror<Thing>) {
    let (mut server, mut mirror) = (Server::default(), Mirror::default());
    for change in [Change::Begun, Change::Done] {
        mirror.take(change);
    }
    for step in steps {
        match step {
            Step::Write { name } => server.write(name),
            Step::Edit { name } => server.edit(name),
            Step::Delete { name } => server.delete(name),
            Step::Hear { count } => {
                let count = count.min(server.pending.len());
                for change in server.pending.drain(..count) {
                    server.heard.push(change.clone());
                    mirror.take(change);
                }
            }
            Step::Relist { meanwhile } => {
                server.pending.clear();
                mirror.take(Change::Begun);
                for (name, thing) in &server.things {
                    mirror.take(Change::Listed(name.clone(), thing.clone()));
                }
                // What changes after the list was made is told after it.
                if let Some(name) = meanwhile {
                    server.delete(name);
                }
                mirror.take(Change::Done);
            }
            Step::Replay { which } if !server.heard.is_empty() => {
                mirror.take(server.heard[which % server.heard.len()].clone());
            }
            Step::Resume | Step::Replay { .. } => {}
        }
    }
    (server, mirror)
}

fn known(mirror: &Mirror<Thing>) -> BTreeMap<Name, (String, i64)> {
    mirror.objects().map(|(name, thing)| (name.clone(), (thing.uid.clone(), thing.generation))).collect()
}

fn there(server: &Server) -> BTreeMap<Name, (String, i64)> {
    server.things.iter().map(|(name, thing)| (name.clone(), (thing.uid.clone(), thing.generation))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn what_is_known_is_what_there_is(steps in prop::collection::vec(step(), 0..60)) {
        // Without replays of what was deleted, which nothing can tell from what is new.
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Replay { .. })).collect();
        let (mut server, mut mirror) = play(steps);
        for change in server.pending.drain(..) {
            mirror.take(change);
        }
        prop_assert_eq!(known(&mirror), there(&server));
    }

    #[test]
    fn what_comes_again_takes_nothing_back(steps in prop::collection::vec(step(), 0..60)) {
        let (mut server, mut mirror) = play(steps);
        for change in server.pending.drain(..) {
            mirror.take(change);
        }
        let known = known(&mirror);
        for (name, thing) in there(&server) {
            prop_assert_eq!(known.get(&name), Some(&thing), "{}", name);
        }
    }
}

fn stored(uid: &str, generation: i64, spec: &str, accepted: bool) -> Stored {
    Stored {
        uid: uid.to_owned(),
        created: 1,
        generation,
        version: format!("{uid}-{generation}"),
        spec: Some(spec.into()),
        asked: Asked::default(),
        told: Told::default(),
        kept: Kept::default(),
        accepted,
        before: None,
    }
}

#[test]
fn what_was_accepted_last_is_remembered_until_something_else_is() {
    let name = Name::new("shop", "orders");
    let mut mirror = Mirror::default();
    let change = |stored| Change::Applied(Name::new("shop", "orders"), stored);
    mirror.take(change(stored("a", 1, "one", true)));
    mirror.take(change(stored("a", 2, "two", false)));
    let before =
        |mirror: &Mirror<Stored>| mirror.get(&name).unwrap().before.clone().map(|one| one.generation);
    assert_eq!(before(&mirror), Some(1));
    mirror.take(change(stored("a", 3, "three", false)));
    assert_eq!(before(&mirror), Some(1), "the second was never accepted");
    // A list that was made meanwhile forgets nothing of the same object.
    for change in [Change::Begun, Change::Listed(name.clone(), stored("a", 4, "four", false)), Change::Done] {
        mirror.take(change);
    }
    assert_eq!(before(&mirror), Some(1));
    mirror.get_mut(&name).unwrap().learn(Learned { kept: None, accepted: true });
    assert_eq!(before(&mirror), None);
    // Another one of its name shares nothing with it.
    let later = Stored { created: 2, ..stored("b", 1, "one", false) };
    mirror.take(change(later));
    assert_eq!(before(&mirror), None);
    assert!(!mirror.get(&name).unwrap().accepted);
}
