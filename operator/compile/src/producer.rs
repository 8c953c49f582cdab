//! What a Producer comes to: a topic and a name for EvHub's clients, unless something is wrong with it.

mod ledger;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evhub_crds::{
    self as crds, Kind, ProcessorSpec, ProducerSpec, Reason, delivery::Order, processor::ProducerRef,
    producer::DeletionPolicy, rules, schema,
};
use evhub_routing::{Brokers, EvhubName, Ledger, Name, Producer, Removal};
use serde_json::Value;

use crate::{
    Compiled,
    annotations::ALLOW_ORDER_BREAK,
    common, names,
    verdict::{Finding, Verdict, acceptable, is_resolved},
    world::{Apps, Kept, Log, Removals, Resource, Settings, World},
};

/// Which other namespaces' Processors may read each Producer that says so; `*` is any.
pub(crate) type Grants = BTreeMap<Name, BTreeSet<String>>;

/// What can be had once in a hub, and who has it.
#[derive(Default)]
struct Taken<'a> {
    names: BTreeMap<EvhubName, &'a Name>,
    topics: BTreeMap<String, &'a Name>,
}

/// Decides on each Producer. Processors matter to one that grows.
pub(crate) fn compile(
    World { settings, removals, .. }: &World,
    producers: &[&Resource],
    processors: &[&Resource],
    compiled: &mut Compiled,
) -> Grants {
    let mut owners = Taken::default();
    let mut grants = Grants::new();
    // The oldest first, so that a name that EvHub's clients use stays with whom it was.
    let mut producers = producers.to_vec();
    producers.sort_by_key(|resource| (resource.created, &resource.name));
    for resource in producers {
        let mut findings = common(resource);
        match schema::decode::<ProducerSpec>(Kind::Producer, resource.spec.as_ref()) {
            Err(problems) => findings.extend(problems.iter().map(Finding::from)),
            Ok(spec) => {
                findings.extend(spec.violations().into_iter().map(Finding::from));
                findings.extend(resized(resource, &spec, processors));
                let evhub = evhub_name(resource, &spec);
                findings.extend(renamed(resource, &evhub));
                findings.extend(foreign(&settings.apps, resource, &evhub));
                findings.extend(owners.names.get(&evhub).map(|owner| taken(&evhub, owner)));
                let topic = topic(settings, resource, &spec);
                findings.extend(moved(resource, &topic));
                findings.extend(denied(settings, resource, &spec));
                findings.extend(owners.topics.get(&topic).map(|owner| occupied(&topic, owner)));
                findings.extend(condemned(removals, &topic));
                findings.extend(unheard(settings, resource));
                let ledger = ledger::ledger(settings, resource, &spec).unwrap_or_else(|wrong| {
                    findings.extend(wrong);
                    Ledger::default()
                });
                if acceptable(&findings) {
                    owners.names.insert(evhub.clone(), &resource.name);
                    owners.topics.insert(topic.clone(), &resource.name);
                    let kept = Kept {
                        partitions: Some(spec.topic.partitions),
                        evhub: Some(evhub.clone()),
                        topic: Some(topic.clone()),
                        ..Kept::default()
                    };
                    if let Some(others) = granted(&spec) {
                        grants.insert(resource.name.clone(), others);
                    }
                    let topics = (topic, names::due(&settings.prefix, &resource.name));
                    let producer = routing(resource, &spec, evhub, topics, ledger);
                    compiled.admit_producer(resource, is_resolved(&findings).then_some(producer), kept);
                }
            }
        }
        compiled.verdicts.push(Verdict::new(resource, findings));
    }
    grants
}

/// Who else may read it.
fn granted(spec: &ProducerSpec) -> Option<BTreeSet<String>> {
    let others = spec.access.as_ref()?.processors.as_ref()?;
    Some(others.namespaces.iter().cloned().collect())
}

/// The topic that is its.
fn topic(settings: &Settings, resource: &Resource, spec: &ProducerSpec) -> String {
    spec.topic.name.clone().unwrap_or_else(|| names::events(&settings.prefix, &resource.name))
}

const TOPIC: Option<&str> = Some("spec.topic.name");

/// What is wrong with another topic than before.
fn moved(resource: &Resource, now: &str) -> Option<Finding> {
    let before = resource.kept.topic.as_deref().filter(|before| *before != now)?;
    let message = format!("{} (was {before}, got {now})", rules::TOPIC_IMMUTABLE);
    Some(Finding::new(Reason::FieldImmutable, TOPIC, message))
}

/// What is wrong with a topic that the administrator keeps to himself.
fn denied(settings: &Settings, resource: &Resource, spec: &ProducerSpec) -> Option<Finding> {
    let (name, namespace) = (spec.topic.name.as_ref()?, &resource.name.namespace);
    let message = if name.strip_prefix(&settings.prefix).is_some_and(|rest| rest.starts_with('.')) {
        format!("topics that begin with {}. are the hub's own (got {name})", settings.prefix)
    } else {
        match &settings.log {
            Log::Kafka(grants) if !grants.iter().any(|grant| grant.permits(namespace, name)) => format!(
                "the administrator does not let namespace {namespace} bring topic {name}; \
                 --allow-topics {namespace}={name} would"
            ),
            Log::Kafka(_) | Log::Embedded => return None,
        }
    };
    Some(Finding::new(Reason::TopicDenied, TOPIC, message))
}

fn occupied(topic: &str, owner: &Name) -> Finding {
    let message = format!("topic {topic} is that of Producer {owner}, which is older: use another");
    Finding::new(Reason::TopicTaken, TOPIC, message)
}

/// What is wrong with a topic that is being deleted: whoever had it before is gone, and what is published to it now would go as
/// well.
fn condemned(removals: &Removals, topic: &str) -> Option<Finding> {
    let has = |removal: &&Arc<Removal>| removal.topic == topic || removal.due_topic == topic;
    let owner = &removals.values().find(has)?.name;
    let message = format!(
        "topic {topic} is being deleted with the Producer {owner} that had it and is gone; this one begins anew when that is done"
    );
    Some(Finding::new(Reason::TopicTaken, TOPIC, message))
}

/// What is written and not obeyed here: where there are no brokers, so that a cluster's manifests run unchanged and nobody
/// believes that there are three copies; and where a topic stays.
fn unheard(settings: &Settings, resource: &Resource) -> Vec<Finding> {
    const ONE: &str = "there are no brokers here: the embedded log has one copy, and this is not obeyed";
    let told = [
        ("replicas", ONE),
        ("minInSyncReplicas", ONE),
        (
            "config",
            "there are no brokers here: the embedded log has none of Kafka's settings, and this is not obeyed",
        ),
    ];
    let is_said = |value: &&Value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty());
    let said = |field: &str| resource.spec.as_ref()?.get("topic")?.get(field).filter(is_said);
    let is_embedded = settings.log == Log::Embedded;
    let told = told.into_iter().filter(|(field, _)| is_embedded && said(field).is_some());
    let deletes = said("deletionPolicy").is_some_and(|policy| policy == "Delete");
    let stays = deletes.then(|| stays(settings, said("name").is_some())).flatten();
    let finding = |(field, message): (&str, &str)| {
        Finding::new(Reason::NotObeyed, Some(&format!("spec.topic.{field}")), message.to_owned())
    };
    told.chain(stays.map(|why| ("deletionPolicy", why))).map(finding).collect()
}

/// Why a topic stays although it is to go with its Producer, if it does.
fn stays(settings: &Settings, has_name: bool) -> Option<&'static str> {
    match settings.log {
        Log::Embedded => {
            Some("the embedded log keeps the topic until its events are as old as retention says")
        }
        Log::Kafka(_) if has_name => {
            Some("a topic with a name of its own may be somebody else's as well, and stays")
        }
        Log::Kafka(_) if settings.services.are_told() => {
            Some("a folder does not tell a deletion from a file that is missing for now, and the topic stays")
        }
        Log::Kafka(_) => None,
    }
}

/// How EvHub's clients call it.
fn evhub_name(resource: &Resource, spec: &ProducerSpec) -> EvhubName {
    let crds::producer::EvhubName { app_id, topic_id } = spec.evhub.clone().unwrap_or_default();
    EvhubName {
        app_id: app_id.unwrap_or_else(|| resource.name.namespace.clone()),
        topic_id: topic_id.unwrap_or_else(|| resource.name.name.clone()),
    }
}

/// What is wrong with another name than before.
fn renamed(resource: &Resource, now: &EvhubName) -> Option<Finding> {
    let before = resource.kept.evhub.as_ref().filter(|before| *before != now)?;
    let message = format!("{} (was {}, got {})", rules::EVHUB_IMMUTABLE, shown(before), shown(now));
    Some(Finding::new(Reason::FieldImmutable, Some("spec.evhub"), message))
}

/// What is wrong with an application that is not its namespace.
fn foreign(apps: &Apps, resource: &Resource, now: &EvhubName) -> Option<Finding> {
    let (own, got) = (&resource.name.namespace, &now.app_id);
    let granted = match apps {
        Apps::Any => true,
        Apps::Granted(grants) => got == own || grants.iter().any(|grant| grant.permits(own, got)),
    };
    (!granted).then(|| {
        let message = format!(
            "the administrator does not let namespace {own} have application {got}; leave appId out, or have              --allow-app-id {own}={got} given"
        );
        Finding::new(Reason::EvhubAppDenied, Some("spec.evhub.appId"), message)
    })
}

fn taken(name: &EvhubName, owner: &Name) -> Finding {
    let message =
        format!("EvHub's clients call Producer {owner}, which is older, {}: use another", shown(name));
    Finding::new(Reason::EvhubNameTaken, Some("spec.evhub"), message)
}

fn shown(EvhubName { app_id, topic_id }: &EvhubName) -> String {
    format!("appId {app_id} topicId {topic_id}")
}

fn routing(
    resource: &Resource,
    spec: &ProducerSpec,
    evhub: EvhubName,
    (topic, due_topic): (String, String),
    ledger: Ledger,
) -> Producer {
    Producer {
        name: resource.name.clone(),
        uid: resource.uid.clone(),
        evhub,
        topic,
        partitions: spec.topic.partitions,
        retention: Some(spec.topic.retention.get()),
        retention_bytes: spec.topic.retention_bytes.map(evhub_crds::Quantity::bytes),
        event_bytes: spec.limits.event_bytes.bytes() as usize,
        batch_events: spec.limits.batch_events as usize,
        batch_bytes: spec.limits.batch_bytes.bytes() as usize,
        events_per_second: spec.limits.events_per_second,
        max_delay: spec.limits.max_delay.get(),
        ledger,
        due_topic,
        pending_timers: spec.limits.pending_timers.into(),
        brokers: Brokers {
            replicas: spec.topic.replicas,
            min_in_sync_replicas: spec.topic.min_in_sync_replicas,
            config: spec.topic.config.clone(),
            adopt: spec.topic.adopt,
            delete: spec.topic.deletion_policy == DeletionPolicy::Delete,
        },
    }
}

/// What is wrong with another number of partitions than before.
fn resized(resource: &Resource, spec: &ProducerSpec, processors: &[&Resource]) -> Option<Finding> {
    let (before, now) = (resource.kept.partitions?, spec.topic.partitions);
    let field = Some("spec.topic.partitions");
    if now < before {
        let message = format!("{} (its topic has {before}, got {now})", rules::PARTITIONS_SHRINK);
        return Some(Finding::new(Reason::FieldImmutable, field, message));
    }
    if now == before || resource.asked.order_break {
        return None;
    }
    let keeper = processors.iter().find(|processor| keeps_order(processor, &resource.name))?;
    let message = format!(
        "growing from {before} to {now} partitions sends keys to other partitions, and Processor {} keeps an order: \
         annotate this Producer with {ALLOW_ORDER_BREAK}: \"true\" to accept that order breaks once",
        keeper.name
    );
    Some(Finding::new(Reason::OrderBreak, field, message))
}

/// Whether this Processor, of whichever namespace, reads the Producer in an order. One that may not read it now may have
/// parked events of it.
fn keeps_order(processor: &Resource, producer: &Name) -> bool {
    let reads = |spec: &ProcessorSpec| {
        spec.producers.iter().any(|reference| referred(&processor.name.namespace, reference) == *producer)
    };
    schema::decode::<ProcessorSpec>(Kind::Processor, processor.spec.as_ref())
        .is_ok_and(|spec| spec.delivery.order != Order::None && reads(&spec))
}

/// The Producer that is meant by a Processor of this namespace.
pub(crate) fn referred(namespace: &str, reference: &ProducerRef) -> Name {
    let namespace = Some(reference.namespace.as_str()).filter(|own| !own.is_empty()).unwrap_or(namespace);
    Name::new(namespace, reference.name.as_str())
}
