//! What runs, since when, and what stays as it was.

use evhub_compile::{Apps, Asked, Egress, Log};

use super::*;
use crate::{index::Change, index::Mirror, told::Told};

fn settings() -> Settings {
    Settings {
        prefix: "evhub".into(),
        egress: Egress::Only(Vec::new()),
        apps: Apps::Granted(Vec::new()),
        services: Services::Assumed,
        secrets: Secrets::Assumed,
        log: Log::Kafka(Vec::new()),
    }
}

fn services() -> BTreeMap<Name, Service> {
    let ports = vec![(Some("http".to_owned()), 80)];
    BTreeMap::from([(Name::new("shop", "billing"), Service { ports, is_external: false })])
}

struct Site {
    mirrors: BTreeMap<Kind, Mirror<Stored>>,
    decided: Decided,
}

fn stored(uid: &str, generation: i64, spec: &Value) -> Stored {
    Stored {
        uid: uid.to_owned(),
        created: 1,
        generation,
        version: generation.to_string(),
        spec: Some(spec.to_string().into_boxed_str()),
        asked: Asked::default(),
        told: Told::default(),
        kept: Kept::default(),
        accepted: false,
        before: None,
    }
}

impl Site {
    fn new() -> Self {
        let mut site = Self {
            mirrors: Kind::ALL.map(|kind| (kind, Mirror::default())).into(),
            decided: Decided::default(),
        };
        site.write(Kind::Producer, "orders", stored("p", 1, &json!({ "topic": { "partitions": 4 } })));
        let spec =
            json!({ "producers": [{ "name": "orders" }], "target": { "service": { "name": "billing" } } });
        site.write(Kind::Processor, "billing", stored("r", 1, &spec));
        site
    }

    fn write(&mut self, kind: Kind, name: &str, stored: Stored) {
        self.mirrors.get_mut(&kind).unwrap().take(Change::Applied(Name::new("shop", name), stored));
    }

    fn decide(&mut self, epoch: u64) -> bool {
        let objects = self.mirrors.iter().flat_map(|(kind, mirror)| {
            mirror.objects().map(|(name, stored)| ((*kind, name.clone()), stored))
        });
        let changed =
            self.decided.decide(&settings(), services(), Arc::default(), objects, Removals::new(), epoch);
        for (kind, mirror) in &mut self.mirrors {
            for (name, stored) in mirror.objects_mut() {
                stored.learn(self.decided.learned(&(*kind, name.clone())));
            }
        }
        changed
    }

    fn since(&self, kind: Kind, name: &str) -> Option<Generation> {
        self.decided.since.get(&(kind, Name::new("shop", name))).copied()
    }

    fn partitions(&self) -> Option<u32> {
        self.decided.snapshot().producers.get(&Name::new("shop", "orders")).map(|one| one.partitions)
    }
}

#[test]
fn a_change_touches_what_changed() {
    let mut site = Site::new();
    assert!(site.decide(3));
    let first = Generation { epoch: 3, revision: 1 };
    assert_eq!(site.since(Kind::Processor, "billing"), Some(first));
    assert!(!site.decide(3), "nothing is different");
    let spec = json!({ "topic": { "partitions": 4 }, "limits": { "eventsPerSecond": 5 } });
    site.write(Kind::Producer, "orders", stored("p", 2, &spec));
    assert!(site.decide(3));
    assert_eq!(site.since(Kind::Producer, "orders"), Some(Generation { epoch: 3, revision: 2 }));
    assert_eq!(site.since(Kind::Processor, "billing"), Some(first));
    assert!(site.decide(5), "another leader speaks");
    assert_eq!(site.since(Kind::Processor, "billing"), Some(Generation { epoch: 5, revision: 1 }));
}

#[test]
fn what_is_refused_runs_on_as_it_was() {
    let mut site = Site::new();
    site.decide(1);
    // More partitions would break the order that the Processor keeps.
    site.write(Kind::Producer, "orders", stored("p", 2, &json!({ "topic": { "partitions": 8 } })));
    assert!(!site.decide(1));
    assert_eq!(site.partitions(), Some(4));
}

#[test]
fn a_new_leader_keeps_a_producer_that_it_cannot_let_grow() {
    let mut site = Site::new();
    let mut grown = stored("p", 2, &json!({ "topic": { "partitions": 8 } }));
    grown.kept.partitions = Some(4);
    let producers = site.mirrors.get_mut(&Kind::Producer).unwrap();
    *producers.get_mut(&Name::new("shop", "orders")).unwrap() = grown;
    site.decide(1);
    assert_eq!(site.partitions(), Some(4), "its status says so");
}
