//! A dataplane that only acknowledges: takes what it is told, and says that it runs.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use evhub_proto::control::{
    Applied, Hello, Observed, Report, Running, control_client::ControlClient, report::What,
};
use evhub_routing::{
    Snapshot,
    wire::{self, Assembly, Digest},
};
use futures_util::stream::unfold;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tonic::transport::{Channel, Endpoint};

const PATIENCE: Duration = Duration::from_mins(1);

/// Follows until nobody wants to know any more; tells what it runs.
pub(crate) async fn follow(name: &str, control: SocketAddr) -> Result<watch::Receiver<Arc<Snapshot>>> {
    let mut client = ControlClient::new(connect(control).await?).max_decoding_message_size(4 << 20);
    let (reports, outgoing) = mpsc::channel(8);
    let hello = Hello { replica: name.to_owned(), version: "bench".to_owned(), running: None };
    reports.send(Report { what: Some(What::Hello(hello)) }).await?;
    let outgoing = unfold(outgoing, |mut outgoing| async { Some((outgoing.recv().await?, outgoing)) });
    let mut updates = client.follow(outgoing).await?.into_inner();
    let (sender, receiver) = watch::channel(Arc::new(Snapshot::default()));
    tokio::spawn(async move {
        let mut assembly = Assembly::default();
        let mut is_first = true;
        while let Ok(Some(update)) = updates.message().await {
            let current = Arc::clone(&sender.borrow());
            let Some(next) = assembly.take(&current, update) else { continue };
            let Ok(next) = next else { return };
            let running = Running {
                generation: Some(wire::generation(next.generation)),
                digest: Digest::of(&next).bytes().to_vec().into(),
            };
            sender.send_replace(Arc::new(next));
            let applied = Applied { running: Some(running), unready: Vec::new(), untold: 0 };
            let mut says = vec![What::Applied(applied)];
            if std::mem::take(&mut is_first) {
                says.push(What::Observed(Observed { whole: true, processors: Vec::new() }));
            }
            for what in says {
                if reports.send(Report { what: Some(what) }).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(receiver)
}

/// Tries until somebody leads.
async fn connect(control: SocketAddr) -> Result<Channel> {
    let endpoint: Endpoint = format!("http://{control}").parse()?;
    let began = Instant::now();
    loop {
        match endpoint.clone().tcp_nodelay(true).connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) if began.elapsed() > PATIENCE => return Err(error).context("follow the operator"),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}
