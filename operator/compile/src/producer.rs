//! What a Producer comes to: a topic, unless something is wrong with it.

use evhub_crds::{Kind, ProcessorSpec, ProducerSpec, Reason, processor::Order, rules, schema};
use evhub_routing::{Name, Producer};

use crate::{
    Compiled, common, names,
    verdict::{Finding, Verdict, acceptable},
    world::{ALLOW_ORDER_BREAK, Kept, Resource, Settings},
};

/// Decides on each Producer. Processors matter to one that grows.
pub(crate) fn compile(
    settings: &Settings,
    producers: &[&Resource],
    processors: &[&Resource],
    compiled: &mut Compiled,
) {
    for resource in producers {
        let mut findings = common(resource);
        match schema::decode::<ProducerSpec>(Kind::Producer, resource.spec.as_ref()) {
            Err(problems) => findings.extend(problems.iter().map(Finding::from)),
            Ok(spec) => {
                findings.extend(spec.violations().into_iter().map(Finding::from));
                findings.extend(resized(resource, &spec, processors));
                if acceptable(&findings) {
                    let kept = Kept { partitions: Some(spec.topic.partitions), ..Kept::default() };
                    compiled.admit_producer(resource, routing(settings, resource, &spec), kept);
                }
            }
        }
        compiled.verdicts.push(Verdict::new(resource, findings));
    }
}

fn routing(settings: &Settings, resource: &Resource, spec: &ProducerSpec) -> Producer {
    Producer {
        name: resource.name.clone(),
        uid: resource.uid.clone(),
        topic: names::events(&settings.prefix, &resource.name),
        partitions: spec.topic.partitions,
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
        let message = format!("{} (was {before}, got {now})", rules::PARTITIONS_SHRINK);
        return Some(Finding::new(Reason::FieldImmutable, field, message));
    }
    if now == before || resource.allow_order_break {
        return None;
    }
    let keeper = processors.iter().find(|processor| keeps_order(processor, &resource.name))?;
    let message = format!(
        "growing from {before} to {now} partitions sends keys to other partitions, and Processor {} keeps order by key: \
         annotate this Producer with {ALLOW_ORDER_BREAK}: \"true\" to accept that order breaks once",
        keeper.name
    );
    Some(Finding::new(Reason::OrderBreak, field, message))
}

fn keeps_order(processor: &Resource, producer: &Name) -> bool {
    processor.name.namespace == producer.namespace
        && schema::decode::<ProcessorSpec>(Kind::Processor, processor.spec.as_ref()).is_ok_and(|spec| {
            spec.delivery.order == Order::Key && spec.producers.iter().any(|p| p.name == producer.name)
        })
}
