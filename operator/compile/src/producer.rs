//! What a Producer comes to: a topic and a name for EvHub's clients, unless something is wrong with it.

use std::collections::BTreeMap;

use evhub_crds::{self as crds, Kind, ProcessorSpec, ProducerSpec, Reason, delivery::Order, rules, schema};
use evhub_routing::{EvhubName, Name, Producer};

use crate::{
    Compiled, common, names,
    verdict::{Finding, Verdict, acceptable},
    world::{ALLOW_ORDER_BREAK, Apps, Kept, Resource, Settings},
};

/// Decides on each Producer. Processors matter to one that grows.
pub(crate) fn compile(
    settings: &Settings,
    producers: &[&Resource],
    processors: &[&Resource],
    compiled: &mut Compiled,
) {
    let mut names: BTreeMap<EvhubName, &Name> = BTreeMap::new();
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
                findings.extend(foreign(settings.apps, resource, &evhub));
                findings.extend(names.get(&evhub).map(|owner| taken(&evhub, owner)));
                if acceptable(&findings) {
                    names.insert(evhub.clone(), &resource.name);
                    let partitions = Some(spec.topic.partitions);
                    let kept = Kept { partitions, evhub: Some(evhub.clone()), ..Kept::default() };
                    compiled.admit_producer(resource, routing(settings, resource, &spec, evhub), kept);
                }
            }
        }
        compiled.verdicts.push(Verdict::new(resource, findings));
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
fn foreign(apps: Apps, resource: &Resource, now: &EvhubName) -> Option<Finding> {
    let own = &resource.name.namespace;
    let denied = apps == Apps::Own && now.app_id != *own;
    denied.then(|| {
        let message = format!(
            "the administrator allows no application but the namespace itself (got {}, allowed {own})",
            now.app_id
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

fn routing(settings: &Settings, resource: &Resource, spec: &ProducerSpec, evhub: EvhubName) -> Producer {
    Producer {
        name: resource.name.clone(),
        uid: resource.uid.clone(),
        evhub,
        topic: names::events(&settings.prefix, &resource.name),
        partitions: spec.topic.partitions,
        retention: Some(spec.topic.retention.get()),
        retention_bytes: spec.topic.retention_bytes.map(evhub_crds::Quantity::bytes),
        event_bytes: spec.limits.event_bytes.bytes() as usize,
        batch_events: spec.limits.batch_events as usize,
        batch_bytes: spec.limits.batch_bytes.bytes() as usize,
        events_per_second: spec.limits.events_per_second,
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
    if now == before || resource.allow_order_break {
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

fn keeps_order(processor: &Resource, producer: &Name) -> bool {
    processor.name.namespace == producer.namespace
        && schema::decode::<ProcessorSpec>(Kind::Processor, processor.spec.as_ref()).is_ok_and(|spec| {
            spec.delivery.order != Order::None && spec.producers.iter().any(|p| p.name == producer.name)
        })
}
