//! What a Processor comes to: routes, a target and a policy, unless something is wrong with it or missing.

mod delivery;
mod target;

use std::sync::Arc;

use evhub_crds::{Kind, ProcessorSpec, Reason, StartFrom, processor, rules, schema};
use evhub_routing::{Cel, Filter, Name, Policy, Processor, Producer, Route, Start, Target};

use crate::{
    Compiled, common, names,
    verdict::{Finding, Verdict, acceptable},
    world::{Kept, Resource, Settings},
};

/// Decides on each Processor; the Producers have been decided on.
pub(crate) fn compile(settings: &Settings, processors: &[&Resource], compiled: &mut Compiled) {
    for resource in processors {
        let findings = decide(settings, resource, compiled);
        compiled.verdicts.push(Verdict::new(resource, findings));
    }
}

fn decide(settings: &Settings, resource: &Resource, compiled: &mut Compiled) -> Vec<Finding> {
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
    let parts = parts(settings, resource, &spec).map_err(|wrong| findings.extend(wrong)).ok();
    let producers = resolve(resource, &spec, compiled);
    let partitions = producers.as_ref().ok().and_then(|found| found.first()).map(|first| first.partitions);
    findings.extend(narrowed(resource, partitions));
    let accepted = acceptable(&findings);
    if accepted {
        let partitions = partitions.or(resource.kept.partitions);
        let kept = Kept { partitions, start_from: Some(spec.start_from.clone()), ..Kept::default() };
        compiled.kept.insert((Kind::Processor, resource.name.clone()), kept);
    }
    match (producers, parts) {
        (Ok(producers), Some(parts)) if accepted => {
            let processor = routing(settings, resource, &spec, parts, &producers);
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
}

/// All of them, or what is wrong with any.
fn parts(settings: &Settings, resource: &Resource, spec: &ProcessorSpec) -> Result<Parts, Vec<Finding>> {
    let filter = spec.filter.as_ref().map(filter).transpose();
    let policy = delivery::policy(&spec.delivery);
    let target = target::target(settings, &resource.name.namespace, &spec.target);
    match (target, filter, policy) {
        (Ok(target), Ok(filter), Ok(policy)) => Ok(Parts { filter, target, policy }),
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

fn invalid(field: &str, error: &dyn std::error::Error) -> Finding {
    Finding::new(Reason::Invalid, Some(field), error.to_string())
}

// === where from ===

/// The Producers, or why there is no delivering from them.
fn resolve(
    resource: &Resource,
    spec: &ProcessorSpec,
    compiled: &Compiled,
) -> Result<Vec<Arc<Producer>>, Vec<Finding>> {
    let mut found = Vec::new();
    let mut findings = Vec::new();
    for (index, reference) in spec.producers.iter().enumerate() {
        let name = Name::new(resource.name.namespace.as_str(), reference.name.as_str());
        match compiled.snapshot.producers.get(&name) {
            Some(producer) => found.push(Arc::clone(producer)),
            None => findings.push(unresolved(index, &name, compiled)),
        }
    }
    findings.extend(differing(&found));
    if findings.is_empty() { Ok(found) } else { Err(findings) }
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
    parts: Parts,
    producers: &[Arc<Producer>],
) -> Processor {
    let Parts { filter, target, policy } = parts;
    let name = &resource.name;
    let own = |what| names::own(&settings.prefix, name, what);
    Processor {
        name: name.clone(),
        uid: resource.uid.clone(),
        generation: resource.generation,
        created: resource.created,
        group: names::group(&settings.prefix, name, &resource.uid),
        state_topic: own("state"),
        dead_topic: own("dead"),
        inbox_topic: own("inbox"),
        routes: producers
            .iter()
            .map(|producer| Route { producer: producer.name.clone(), topic: producer.topic.clone() })
            .collect(),
        partitions: producers.first().map_or(0, |producer| producer.partitions),
        event_bytes: producers.iter().map(|producer| producer.event_bytes).max().unwrap_or(0),
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
    }
}
