//! What a Processor comes to: routes, a target and a policy, unless something is wrong with it or missing.

mod delivery;
pub(crate) mod target;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evhub_crds::{Kind, ProcessorSpec, Reason, StartFrom, processor, rules, schema};
use evhub_routing::{Brokers, Cel, Filter, Name, Policy, Processor, Producer, Route, Start, Target};

use crate::{
    Compiled, common, names,
    producer::{Grants, referred},
    verdict::{Finding, Verdict, acceptable},
    world::{Kept, Resource, Settings},
};

/// What EvHub's administrators call Processors, and which.
type Dispatchers<'a> = BTreeMap<String, &'a Name>;

/// Decides on each Processor; the Producers have been decided on, and which of them may be read from other namespaces.
pub(crate) fn compile(
    settings: &Settings,
    processors: &[&Resource],
    grants: &Grants,
    compiled: &mut Compiled,
) {
    // The oldest first, so that what somebody is called stays with whom it was.
    let mut processors = processors.to_vec();
    processors.sort_by_key(|resource| (resource.created, &resource.name));
    let mut dispatchers = Dispatchers::new();
    for resource in processors {
        let findings = decide(settings, resource, grants, &mut dispatchers, compiled);
        compiled.verdicts.push(Verdict::new(resource, findings));
    }
}

fn decide<'a>(
    settings: &Settings,
    resource: &'a Resource,
    grants: &Grants,
    dispatchers: &mut Dispatchers<'a>,
    compiled: &mut Compiled,
) -> Vec<Finding> {
    let mut findings = common(resource);
    let spec: ProcessorSpec = match schema::decode(Kind::Processor, resource.spec.as_ref()) {
        Ok(spec) => spec,
        Err(problems) => {
            findings.extend(problems.iter().map(Finding::from));
            return findings;
        }
    };
    findings.extend(spec.violations().into_iter().map(Finding::from));
    findings.extend(moved(resource, &spec));
    findings.extend(twice(resource, &spec));
    let dispatcher = dispatcher(resource, &spec);
    findings.extend(renamed(resource, &dispatcher));
    findings.extend(dispatchers.get(&dispatcher).map(|owner| taken(&dispatcher, owner)));
    let parts = parts(settings, resource, &spec).map_err(|wrong| findings.extend(wrong)).ok();
    let producers = resolve(resource, &spec, grants, compiled);
    let partitions = producers.as_ref().ok().and_then(|found| found.first()).map(|first| first.partitions);
    findings.extend(narrowed(resource, partitions));
    let accepted = acceptable(&findings);
    if accepted {
        let partitions = partitions.or(resource.kept.partitions);
        dispatchers.insert(dispatcher.clone(), &resource.name);
        let kept = Kept {
            partitions,
            start_from: Some(spec.start_from.clone()),
            dispatcher: Some(dispatcher.clone()),
            ..Kept::default()
        };
        compiled.kept.insert((Kind::Processor, resource.name.clone()), kept);
    }
    match (producers, parts) {
        (Ok(producers), Some(mut parts)) if accepted => {
            findings.append(&mut parts.degraded);
            let processor = routing(settings, resource, &spec, dispatcher, parts, &producers);
            compiled.snapshot.processors.insert(resource.name.clone(), Arc::new(processor));
        }
        (Ok(_), _) => {}
        (Err(unresolved), _) => findings.extend(unresolved),
    }
    findings
}

/// What is wrong with another start than before.
fn moved(resource: &Resource, spec: &ProcessorSpec) -> Option<Finding> {
    let before = resource.kept.start_from.as_ref().filter(|before| **before != spec.start_from)?;
    let message = format!("{} (was {before}, got {})", rules::START_FROM_IMMUTABLE, spec.start_from);
    Some(Finding::new(Reason::FieldImmutable, Some("spec.startFrom"), message))
}

/// What is wrong with a Producer that is named twice, once with and once without its namespace.
fn twice(resource: &Resource, spec: &ProcessorSpec) -> Option<Finding> {
    let mut seen = BTreeSet::new();
    let names = spec.producers.iter().map(|reference| referred(&resource.name.namespace, reference));
    let (index, name) = names.enumerate().find(|(_, name)| !seen.insert(name.clone()))?;
    let field = format!("spec.producers[{index}]");
    Some(Finding::new(
        Reason::Invalid,
        Some(&field),
        format!("Producer {name} is named before; leave it out"),
    ))
}

/// What EvHub's administrators call it.
fn dispatcher(resource: &Resource, spec: &ProcessorSpec) -> String {
    let given = spec.evhub.as_ref().and_then(|evhub| evhub.dispatcher_id.clone());
    given.unwrap_or_else(|| format!("{}.{}", resource.name.namespace, resource.name.name))
}

const DISPATCHER: Option<&str> = Some("spec.evhub.dispatcherId");

/// What is wrong with another name than before.
fn renamed(resource: &Resource, now: &str) -> Option<Finding> {
    let before = resource.kept.dispatcher.as_deref().filter(|before| *before != now)?;
    let message = format!("{} (dispatcherId was {before}, got {now})", rules::DISPATCHER_IMMUTABLE);
    Some(Finding::new(Reason::FieldImmutable, DISPATCHER, message))
}

fn taken(name: &str, owner: &Name) -> Finding {
    let message = format!("Processor {owner}, which is older, has dispatcherId {name}: use another");
    Finding::new(Reason::EvhubNameTaken, DISPATCHER, message)
}

/// What is wrong with fewer partitions than before: what is parked in the others would never be looked at again.
fn narrowed(resource: &Resource, now: Option<u32>) -> Option<Finding> {
    let (before, now) = (resource.kept.partitions?, now?);
    let message = format!("{} (it has {before}, got {now})", rules::FEWER_PARTITIONS);
    (now < before).then(|| Finding::new(Reason::FieldImmutable, Some("spec.producers"), message))
}

/// The parts of a Processor that a schema cannot check.
struct Parts {
    filter: Option<Filter>,
    target: Target,
    policy: Policy,
    /// What is not as it should be, and does not stand in the way.
    degraded: Vec<Finding>,
}

/// All of them, or what is wrong with any.
fn parts(settings: &Settings, resource: &Resource, spec: &ProcessorSpec) -> Result<Parts, Vec<Finding>> {
    let filter = spec.filter.as_ref().map(filter).transpose();
    let policy = delivery::policy(&spec.delivery);
    let target = target::target(settings, &resource.name.namespace, &spec.target);
    match (target, filter, policy) {
        (Ok((target, degraded)), Ok(filter), Ok(policy)) => Ok(Parts { filter, target, policy, degraded }),
        (target, filter, policy) => {
            let others = [filter.err(), policy.err()].into_iter().flatten();
            Err(target.err().into_iter().flatten().chain(others).collect())
        }
    }
}

// === which ===

fn filter(spec: &processor::Filter) -> Result<Filter, Finding> {
    let processor::Filter { tags, types, cel } = spec;
    let types = types.iter().flatten().enumerate().map(|(index, text)| {
        text.parse().map_err(|error| invalid(&format!("spec.filter.types[{index}]"), &error))
    });
    let cel = cel.as_ref().map(|text| text.parse::<Cel>()).transpose();
    Ok(Filter {
        tags: tags.clone().unwrap_or_default(),
        types: types.collect::<Result<_, _>>()?,
        cel: cel.map_err(|error| invalid("spec.filter.cel", &error))?,
    })
}

pub(crate) fn invalid(field: &str, error: &dyn std::error::Error) -> Finding {
    Finding::new(Reason::Invalid, Some(field), error.to_string())
}

// === where from ===

/// The Producers, or why there is no delivering from them.
fn resolve(
    resource: &Resource,
    spec: &ProcessorSpec,
    grants: &Grants,
    compiled: &Compiled,
) -> Result<Vec<Arc<Producer>>, Vec<Finding>> {
    let own = resource.name.namespace.as_str();
    let mut found = Vec::new();
    let mut findings = Vec::new();
    for (index, reference) in spec.producers.iter().enumerate() {
        let name = referred(own, reference);
        if name.namespace != own && !permitted(grants, &name, own) {
            findings.push(not_permitted(index, &name, own));
            continue;
        }
        match compiled.snapshot.producers.get(&name) {
            Some(producer) => found.push(Arc::clone(producer)),
            None => findings.push(unresolved(index, &name, compiled)),
        }
    }
    findings.extend(differing(&found));
    if findings.is_empty() { Ok(found) } else { Err(findings) }
}

/// Whether this Producer lets Processors of this namespace read it.
fn permitted(grants: &Grants, producer: &Name, namespace: &str) -> bool {
    grants.get(producer).is_some_and(|others| others.contains(namespace) || others.contains("*"))
}

/// The same whether the Producer is there, is refused itself, or was never heard of: to whom it says nothing, not even that
/// is told.
fn not_permitted(index: usize, name: &Name, namespace: &str) -> Finding {
    let field = format!("spec.producers[{index}].namespace");
    let message = format!(
        "no Producer {name} lets namespace {namespace} read it; deliveries begin when one does \
         (spec.access.processors.namespaces)"
    );
    Finding::new(Reason::RefNotPermitted, Some(&field), message)
}

fn unresolved(index: usize, name: &Name, compiled: &Compiled) -> Finding {
    let field = format!("spec.producers[{index}].name");
    let refused = compiled.verdicts.iter().any(|verdict| {
        verdict.kind == Some(Kind::Producer)
            && verdict.namespace.as_ref() == Some(&name.namespace)
            && verdict.name.as_ref() == Some(&name.name)
    });
    let (reason, message) = if refused {
        (Reason::NotAccepted, format!("Producer {name} is not accepted; see what is wrong with it"))
    } else {
        (Reason::NotFound, format!("there is no Producer {name}; deliveries begin when there is"))
    };
    Finding::new(reason, Some(&field), message)
}

fn differing(producers: &[Arc<Producer>]) -> Option<Finding> {
    let first = producers.first()?;
    let other = producers.iter().find(|producer| producer.partitions != first.partitions)?;
    let message = format!(
        "all Producers of a Processor must have equally many partitions: {} has {}, {} has {}",
        first.name, first.partitions, other.name, other.partitions
    );
    Some(Finding::new(Reason::PartitionsDiffer, Some("spec.producers"), message))
}

// === what comes of it ===

fn routing(
    settings: &Settings,
    resource: &Resource,
    spec: &ProcessorSpec,
    dispatcher_id: String,
    parts: Parts,
    producers: &[Arc<Producer>],
) -> Processor {
    let Parts { filter, target, policy, degraded: _ } = parts;
    let name = &resource.name;
    let own = |what| names::own(&settings.prefix, name, what);
    // What is parked for later, or dead, is to be as safe as the event was.
    let most =
        |of: fn(&Brokers) -> u32| producers.iter().map(|producer| of(&producer.brokers)).max().unwrap_or(1);
    Processor {
        name: name.clone(),
        uid: resource.uid.clone(),
        generation: resource.generation,
        created: resource.created,
        dispatcher_id,
        group: names::group(&settings.prefix, name, &resource.uid),
        state_topic: own("state"),
        dead_topic: own("dead"),
        inbox_topic: own("inbox"),
        routes: producers
            .iter()
            .map(|producer| Route {
                producer: producer.name.clone(),
                topic: producer.topic.clone(),
                due_topic: producer.due_topic.clone(),
            })
            .collect(),
        partitions: producers.first().map_or(0, |producer| producer.partitions),
        event_bytes: producers.iter().map(|producer| producer.event_bytes).max().unwrap_or(0),
        replicas: most(|brokers| brokers.replicas),
        min_in_sync_replicas: most(|brokers| brokers.min_in_sync_replicas),
        filter,
        delay_key: spec.delay_key.clone(),
        target,
        policy,
        start: match &spec.start_from {
            StartFrom::Latest => Start::Latest,
            StartFrom::Earliest => Start::Earliest,
            StartFrom::Committed => Start::Committed,
            StartFrom::At(instant) => Start::At(instant.millis()),
        },
        suspend: spec.suspend,
        resume: resource.asked.resume,
    }
}
