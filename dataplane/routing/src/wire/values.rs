//! Each value that a snapshot is made of, and its message. Pure.
//!
//! - `target`: where deliveries go; `policy`: how they are made; `ledger`: what is decided exactly once

mod ledger;
mod policy;
mod target;

use std::{fmt::Display, str::FromStr, time::Duration};

use evhub_messages as proto;

use super::Invalid;
use crate::{Brokers, EvhubName, Filter, Generation, Name, Processor, Producer, Removal, Route, Start};

/// A value with a message.
pub(super) trait Wire: Sized {
    /// The message.
    type Message;

    fn encode(&self) -> Self::Message;

    fn decode(message: Self::Message) -> Result<Self, Invalid>;
}

// === fields ===

/// What may not be missing.
fn needed<T: Wire>(field: &str, message: Option<T::Message>) -> Result<T, Invalid> {
    let message = message.ok_or_else(|| Invalid::new("is missing").within(field))?;
    T::decode(message).map_err(|error| error.within(field))
}

fn optional<T: Wire>(field: &str, message: Option<T::Message>) -> Result<Option<T>, Invalid> {
    message.map(|message| needed(field, Some(message))).transpose()
}

fn list<T: Wire>(field: &str, messages: Vec<T::Message>) -> Result<Vec<T>, Invalid> {
    messages.into_iter().map(|message| needed(field, Some(message))).collect()
}

fn parsed<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|error| Invalid::new(format!("{error} (got {text})")).within(field))
}

fn size(field: &str, bytes: u64) -> Result<usize, Invalid> {
    usize::try_from(bytes).map_err(|_| Invalid::new(format!("too large (got {bytes})")).within(field))
}

fn small(field: &str, number: u32) -> Result<u8, Invalid> {
    u8::try_from(number).map_err(|_| Invalid::new(format!("too large (got {number})")).within(field))
}

/// A word that this version does not know, or none.
fn unknown(field: &str, number: i32) -> Invalid {
    Invalid::new(format!("unknown here (got number {number}); run the sender's version")).within(field)
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

// === values ===

impl Wire for Generation {
    type Message = proto::Generation;

    fn encode(&self) -> proto::Generation {
        let Self { epoch, revision } = *self;
        proto::Generation { epoch, revision }
    }

    fn decode(proto::Generation { epoch, revision }: proto::Generation) -> Result<Self, Invalid> {
        Ok(Self { epoch, revision })
    }
}

impl Wire for Name {
    type Message = proto::Name;

    fn encode(&self) -> proto::Name {
        let Self { namespace, name } = self.clone();
        proto::Name { namespace, name }
    }

    fn decode(proto::Name { namespace, name }: proto::Name) -> Result<Self, Invalid> {
        Ok(Self { namespace, name })
    }
}

impl Wire for Duration {
    type Message = proto::Span;

    fn encode(&self) -> proto::Span {
        proto::Span { seconds: self.as_secs(), nanos: self.subsec_nanos() }
    }

    fn decode(proto::Span { seconds, nanos }: proto::Span) -> Result<Self, Invalid> {
        // More would carry into the seconds, and could overflow.
        if nanos >= 1_000_000_000 {
            return Err(Invalid::new(format!("must be below a second (got {nanos})")).within("nanos"));
        }
        Ok(Self::new(seconds, nanos))
    }
}

impl Wire for Removal {
    type Message = proto::Removal;

    fn encode(&self) -> proto::Removal {
        let Self { name, uid, topic, due_topic } = self.clone();
        proto::Removal { name: Some(name.encode()), uid, topic, due_topic }
    }

    fn decode(message: proto::Removal) -> Result<Self, Invalid> {
        let proto::Removal { name, uid, topic, due_topic } = message;
        Ok(Self { name: needed("name", name)?, uid, topic, due_topic })
    }
}

impl Wire for Producer {
    type Message = proto::Producer;

    fn encode(&self) -> proto::Producer {
        let EvhubName { app_id, topic_id } = self.evhub.clone();
        proto::Producer {
            name: Some(self.name.encode()),
            uid: self.uid.clone(),
            evhub_app_id: app_id,
            evhub_topic_id: topic_id,
            topic: self.topic.clone(),
            partitions: self.partitions,
            retention: self.retention.as_ref().map(Wire::encode),
            retention_bytes: self.retention_bytes,
            event_bytes: self.event_bytes as u64,
            batch_events: self.batch_events as u64,
            batch_bytes: self.batch_bytes as u64,
            events_per_second: self.events_per_second,
            max_delay: Some(self.max_delay.encode()),
            due_topic: self.due_topic.clone(),
            pending_timers: self.pending_timers,
            brokers: Some(self.brokers.encode()),
            // One that says nothing is as before there were any: what an earlier version kept stays good.
            ledger: (!self.ledger.says_nothing()).then(|| self.ledger.encode()),
        }
    }

    fn decode(message: proto::Producer) -> Result<Self, Invalid> {
        Ok(Self {
            name: needed("name", message.name)?,
            uid: message.uid,
            evhub: EvhubName { app_id: message.evhub_app_id, topic_id: message.evhub_topic_id },
            topic: message.topic,
            partitions: message.partitions,
            retention: optional("retention", message.retention)?,
            retention_bytes: message.retention_bytes,
            event_bytes: size("eventBytes", message.event_bytes)?,
            batch_events: size("batchEvents", message.batch_events)?,
            batch_bytes: size("batchBytes", message.batch_bytes)?,
            events_per_second: message.events_per_second,
            max_delay: needed("maxDelay", message.max_delay)?,
            due_topic: message.due_topic,
            pending_timers: message.pending_timers,
            brokers: needed("brokers", message.brokers)?,
            ledger: optional("ledger", message.ledger)?.unwrap_or_default(),
        })
    }
}

impl Wire for Brokers {
    type Message = proto::Brokers;

    fn encode(&self) -> proto::Brokers {
        let Self { replicas, min_in_sync_replicas, config, adopt, delete } = self.clone();
        proto::Brokers { replicas, min_in_sync_replicas, config, adopt, delete }
    }

    fn decode(message: proto::Brokers) -> Result<Self, Invalid> {
        let proto::Brokers { replicas, min_in_sync_replicas, config, adopt, delete } = message;
        Ok(Self { replicas, min_in_sync_replicas, config, adopt, delete })
    }
}

impl Wire for Processor {
    type Message = proto::Processor;

    fn encode(&self) -> proto::Processor {
        proto::Processor {
            name: Some(self.name.encode()),
            uid: self.uid.clone(),
            generation: self.generation,
            created: self.created,
            dispatcher_id: self.dispatcher_id.clone(),
            group: self.group.clone(),
            state_topic: self.state_topic.clone(),
            dead_topic: self.dead_topic.clone(),
            inbox_topic: self.inbox_topic.clone(),
            routes: self.routes.iter().map(Wire::encode).collect(),
            partitions: self.partitions,
            event_bytes: self.event_bytes as u64,
            replicas: self.replicas,
            min_in_sync_replicas: self.min_in_sync_replicas,
            filter: self.filter.as_ref().map(Wire::encode),
            delay_key: self.delay_key.clone(),
            target: Some(self.target.encode()),
            policy: Some(self.policy.encode()),
            start: Some(self.start.encode()),
            suspend: self.suspend,
            resume: self.resume,
        }
    }

    fn decode(message: proto::Processor) -> Result<Self, Invalid> {
        Ok(Self {
            name: needed("name", message.name)?,
            uid: message.uid,
            generation: message.generation,
            created: message.created,
            dispatcher_id: message.dispatcher_id,
            group: message.group,
            state_topic: message.state_topic,
            dead_topic: message.dead_topic,
            inbox_topic: message.inbox_topic,
            routes: list("routes", message.routes)?,
            partitions: message.partitions,
            event_bytes: size("eventBytes", message.event_bytes)?,
            replicas: message.replicas,
            min_in_sync_replicas: message.min_in_sync_replicas,
            filter: optional("filter", message.filter)?,
            delay_key: message.delay_key,
            target: needed("target", message.target)?,
            policy: needed("policy", message.policy)?,
            start: needed("start", message.start)?,
            suspend: message.suspend,
            resume: message.resume,
        })
    }
}

impl Wire for Route {
    type Message = proto::Route;

    fn encode(&self) -> proto::Route {
        let (topic, due_topic) = (self.topic.clone(), self.due_topic.clone());
        proto::Route { producer: Some(self.producer.encode()), topic, due_topic }
    }

    fn decode(message: proto::Route) -> Result<Self, Invalid> {
        let proto::Route { producer, topic, due_topic } = message;
        Ok(Self { producer: needed("producer", producer)?, topic, due_topic })
    }
}

impl Wire for Filter {
    type Message = proto::Filter;

    fn encode(&self) -> proto::Filter {
        let Self { tags, types, cel } = self;
        let cel = cel.as_ref().map(|cel| cel.source().to_owned());
        proto::Filter { tags: tags.clone(), types: strings(types), cel }
    }

    fn decode(message: proto::Filter) -> Result<Self, Invalid> {
        let types = message.types.iter().map(|text| parsed("types", text)).collect::<Result<_, _>>()?;
        let cel = message.cel.map(|text| parsed("cel", &text)).transpose()?;
        Ok(Self { tags: message.tags, types, cel })
    }
}

impl Wire for Start {
    type Message = proto::Start;

    fn encode(&self) -> proto::Start {
        let at = match self {
            Self::Latest => proto::start::At::Latest(true),
            Self::Earliest => proto::start::At::Earliest(true),
            Self::Committed => proto::start::At::Committed(true),
            Self::At(instant) => proto::start::At::Instant(*instant),
        };
        proto::Start { at: Some(at) }
    }

    fn decode(message: proto::Start) -> Result<Self, Invalid> {
        match message.at {
            Some(proto::start::At::Latest(_)) => Ok(Self::Latest),
            Some(proto::start::At::Earliest(_)) => Ok(Self::Earliest),
            Some(proto::start::At::Committed(_)) => Ok(Self::Committed),
            Some(proto::start::At::Instant(instant)) => Ok(Self::At(instant)),
            None => Err(unknown("at", 0)),
        }
    }
}
