//! What runs beside the hub, each in a process of its own: it says one line when it is ready, and what it measured when
//! it ends. Does I/O.
//!
//! - [`server`]: a server that does nothing, and a sink that counts
//! - [`receiver`]: the same of deliveries that come on a gRPC stream
//! - [`load`]: publishers over HTTP
//! - [`stream`]: publishers over gRPC
//! - [`client`]: a client that does nothing else
//! - [`nats`]: publishers to NATS `JetStream`
//! - [`ledger`]: a process that leads a whole ledger
//! - [`raw`]: transactions and nothing else
//! - [`produce`]: a Kafka producer and nothing else

pub(crate) mod client;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod nats;
pub(crate) mod produce;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod server;
pub(crate) mod stream;

use std::future::Future;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// What a publisher came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// How many events were accepted in the measured time.
    pub(crate) events: u64,
    /// The measured time.
    pub(crate) seconds: f64,
    /// Seconds of processor time that its process used in all.
    pub(crate) used: f64,
    /// Microseconds that the answers took, at 50 %, 99 %, 99.9 % and at the most; where they were measured.
    pub(crate) latency: Option<[u64; 4]>,
}

/// Plays the role that these words ask for.
pub(crate) fn play(words: &[&str]) -> Result<()> {
    match *words {
        ["bare"] => many(server::bare()),
        ["sink", micros] => many(server::sink(micros.parse()?)),
        ["receiver", micros] => many(receiver::serve(micros.parse()?)),
        ["load", address, connections, seconds] => {
            one(load::closed(address.parse()?, connections.parse()?, seconds.parse()?))
        }
        ["open", address, connections, rate, seconds] => {
            one(load::open(address.parse()?, connections.parse()?, rate.parse()?, seconds.parse()?))
        }
        ["fill", address, count] => one(stream::fill(address.parse()?, count.parse()?, stream::KEYS)),
        ["fill", address, count, keys] => one(stream::fill(address.parse()?, count.parse()?, keys.parse()?)),
        ["stream", address, streams, batch, window, seconds] => one(stream::closed(
            address.parse()?,
            stream::Shape {
                streams: streams.parse()?,
                batch: batch.parse()?,
                window: window.parse()?,
                keys: stream::KEYS,
            },
            seconds.parse()?,
        )),
        ["nats", address, publishers, seconds] => {
            one(nats::closed(address.parse()?, publishers.parse()?, seconds.parse()?))
        }
        ["client", address, concurrency, count] => {
            many(client::run(address.parse()?, concurrency.parse()?, count.parse()?))
        }
        ["ledger", on, place, prefix, ref words @ ..] => many(ledger::play(on, place, prefix, words)),
        ["produce", bootstrap, topic, seconds] => produce::play(bootstrap, topic, seconds.parse()?),
        ["raw", on, place, prefix, ref words @ ..] => raw::play(on, place, prefix, words),
        _ => bail!("there is no such role: {words:?}"),
    }
}

/// On one thread: what makes load should leave the rest of the machine to what bears it.
fn one(role: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(role)
}

/// On as many threads as the hub has.
fn many(role: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(role)
}
