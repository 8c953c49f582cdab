//! What a Processor comes to: routes, a target and a policy, unless something is wrong with it or missing.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use evhub_crds::{
    Kind, ProcessorSpec, Reason,
    processor::{self, BackoffPolicy, StartFrom},
    rules, schema,
};
use evhub_routing::{
    Backoff, Growth, Name, OnExhausted, Order, Policy, Processor, Producer, Protocol, Retry, RetryAfter,
    RetryOn, Route, Start, Target,
};
use http::Uri;

use crate::{
    Compiled, common, names,
    verdict::{Finding, Verdict, acceptable},
    world::{Egress, Kept, Resource, Settings},
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
    let url = url(settings.egress, &spec.target.url).map_err(|finding| findings.push(finding)).ok();
    let accepted = acceptable(&findings);
    if accepted {
        let kept = Kept { start_from: Some(spec.start_from), ..Kept::default() };
        compiled.kept.insert((Kind::Processor, resource.name.clone()), kept);
    }
    match (resolve(resource, &spec, compiled), url) {
        (Ok(producers), Some(url)) if accepted => {
            let processor = routing(settings, resource, &spec, url, &producers);
            compiled.snapshot.processors.insert(resource.name.clone(), Arc::new(processor));
        }
        (Ok(_), _) => {}
        (Err(unresolved), _) => findings.extend(unresolved),
    }
    findings
}

/// What is wrong with another start than before.
fn moved(resource: &Resource, spec: &ProcessorSpec) -> Option<Finding> {
    let before = resource.kept.start_from.filter(|before| *before != spec.start_from)?;
    let message = format!("{} (was {before:?}, got {:?})", rules::START_FROM_IMMUTABLE, spec.start_from);
    Some(Finding::new(Reason::FieldImmutable, Some("spec.startFrom"), message))
}

// === where to ===

const URL: &str = "spec.target.url";

fn url(egress: Egress, text: &str) -> Result<Uri, Finding> {
    let invalid = |what: &str| Finding::new(Reason::Invalid, Some(URL), format!("not a URL: {what}"));
    let url: Uri = text.parse().map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))?;
    let host = url.host().ok_or_else(|| invalid("it names no host"))?;
    // A port out of range reads as none at all.
    let port = url.authority().and_then(|authority| authority.as_str().strip_prefix(host));
    if port.is_some_and(|port| !port.is_empty()) && url.port_u16().is_none_or(|port| port == 0) {
        return Err(invalid("a port is between 1 and 65535"));
    }
    match egress {
        Egress::Loopback if is_loopback(host) => Ok(url),
        Egress::Loopback => {
            Err(denied(host, "deliveries go to this machine alone: 127.0.0.0/8, [::1] or localhost"))
        }
        Egress::Denied => Err(denied(host, "the administrator allows no URL targets")),
    }
}

/// Only literal addresses count: what a name resolves to may change after this was decided.
fn is_loopback(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

fn denied(host: &str, rule: &str) -> Finding {
    let host: String = host.chars().take(64).collect();
    Finding::new(Reason::EgressDenied, Some(URL), format!("{rule} (got host {host})"))
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
    url: Uri,
    producers: &[Arc<Producer>],
) -> Processor {
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
        filter: None,
        delay_key: None,
        target: target(&spec.target, url),
        policy: policy(&spec.delivery),
        start: match spec.start_from {
            StartFrom::Latest => Start::Latest,
            StartFrom::Earliest => Start::Earliest,
        },
        suspend: false,
    }
}

fn target(spec: &processor::Target, url: Uri) -> Target {
    let processor::Target { url: _, protocol: processor::Protocol::CloudEvents, timeout } = spec;
    Target { url, protocol: Protocol::CloudEvents, timeout: timeout.get(), headers: Vec::new(), tls: None }
}

fn policy(spec: &processor::Delivery) -> Policy {
    let processor::Delivery { order, max_in_flight, max_parked, retry, on_exhausted } = spec;
    let processor::OnExhausted::DeadLetter = on_exhausted;
    Policy {
        order: match order {
            processor::Order::Key => Order::Key,
            processor::Order::None => Order::None,
        },
        max_in_flight: *max_in_flight,
        max_parked: *max_parked,
        max_parked_bytes: 1 << 30,
        max_parked_per_key: 10_000,
        rate_limit: None,
        retry: Retry {
            max_attempts: retry.max_attempts,
            max_age: Duration::from_hours(24),
            backoff: backoff(&retry.backoff),
            retry_after: RetryAfter { honor: true, max: Duration::from_hours(1) },
            retry_on: RetryOn::default(),
        },
        on_exhausted: OnExhausted::DeadLetter,
        dead_letter_retention: Duration::from_hours(336),
    }
}

fn backoff(spec: &processor::Backoff) -> Backoff {
    let processor::Backoff { policy, initial, max, multiplier, jitter_percent } = spec;
    Backoff {
        growth: match policy {
            BackoffPolicy::Exponential => Growth::Exponential { multiplier: *multiplier },
            BackoffPolicy::Fixed => Growth::Fixed,
        },
        initial: initial.get(),
        max: max.get(),
        jitter_percent: *jitter_percent,
    }
}
