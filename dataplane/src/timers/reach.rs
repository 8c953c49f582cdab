//! Asking the process that leads a shard: one connection to each, kept while it works. I/O.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use evhub_ledger::ledger::Reach;
use evhub_proto::ledger::{AskRequest, shards_client::ShardsClient};
use tonic::transport::{Channel, Endpoint};
use tracing::debug;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a silent peer is asked whether it is there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3));
/// The longest reply: all schedules of a shard, of which about a hundred thousand fit.
const LONGEST: usize = 16 << 20;
/// How many peers are remembered: more than processes lead shards.
const MOST_PEERS: usize = 256;

/// The other processes of this installation.
#[derive(Debug, Default)]
pub struct Peers(Mutex<HashMap<String, Channel>>);

impl Peers {
    fn channel(&self, address: &str) -> Option<Channel> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = known.get(address) {
            return Some(channel.clone());
        }
        if known.len() >= MOST_PEERS {
            known.clear();
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let channel = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .connect_lazy();
        known.insert(address.to_owned(), channel.clone());
        Some(channel)
    }
}

impl Reach for Peers {
    fn ask(
        &self,
        address: String,
        question: Bytes,
    ) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        Box::pin(async move {
            let channel = self.channel(&address)?;
            let mut client = ShardsClient::new(channel).max_decoding_message_size(LONGEST);
            match client.ask(AskRequest { question }).await {
                Ok(answer) => Some(answer.into_inner().reply).filter(|reply| !reply.is_empty()),
                Err(error) => {
                    debug!(address, %error, "whoever led a shard of the ledger does not answer");
                    None
                }
            }
        })
    }
}
