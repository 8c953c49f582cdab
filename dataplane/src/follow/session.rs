//! One connection to whoever serves control: hello, then an answer for each snapshot that comes. I/O.

use std::time::Duration;

use evhub_lifecycle::Drain;
use evhub_proto::control::{
    self, Applied, Hello, Refused, Report, control_client::ControlClient, report::What,
};
use evhub_routing::{
    Generation, Snapshot,
    wire::{self, Assembly, Digest, Invalid, Update},
};
use futures_util::stream::unfold;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::sync::{mpsc, watch};
use tonic::{
    Status,
    transport::{self, Endpoint},
};
use tracing::{debug, error, info};

use super::{Adopted, Follow, Source, observe, secure};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("cannot connect: {}", evhub_lifecycle::exit::line(.0))]
    Unreachable(transport::Error),
    #[error("cannot connect: {}", evhub_lifecycle::exit::line(.0))]
    Insecure(#[from] secure::Unusable),
    #[error("the stream failed: {}", .0.message())]
    Failed(#[from] Status),
    #[error("the stream ended")]
    Closed,
    #[error("this process stops")]
    Stopped,
}

/// The largest part, several times what parts are filled up to.
const PART: usize = 4 << 20;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a silent peer is asked whether it is there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

/// Follows until it ends, however that comes.
pub(super) async fn run(follow: &Follow, control: &Uri, drain: &Drain) -> Ended {
    tokio::select! {
        () = drain.begun() => Ended::Stopped,
        ended = follow_at(follow, control) => match ended {
            Ok(()) => Ended::Closed,
            Err(ended) => ended,
        },
    }
}

async fn follow_at(follow: &Follow, control: &Uri) -> Result<(), Ended> {
    let endpoint = Endpoint::from(control.clone())
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true);
    let channel = match &follow.settings.control_tls {
        None => endpoint.connect().await,
        Some(folder) => {
            // By the files as they are now: they may have been rotated since.
            let mut tcp = HttpConnector::new();
            tcp.set_nodelay(true);
            endpoint.connect_with_connector(secure::connector(folder, tcp)?).await
        }
    };
    let channel = channel.map_err(Ended::Unreachable)?;
    let mut client = ControlClient::new(channel).max_decoding_message_size(PART);
    let (reports, outgoing) = mpsc::channel(1);
    let reports = Reports(reports);
    let hello = Report { what: Some(What::Hello(hello(follow))) };
    let outgoing = unfold((Some(hello), outgoing), |(first, mut outgoing)| async {
        let report = match first {
            Some(hello) => hello,
            None => outgoing.recv().await?,
        };
        Some((report, (None, outgoing)))
    });
    let mut updates = client.follow(outgoing).await?.into_inner();
    follow.status.send_if_modified(super::Status::connected);
    info!(%control, "follows whoever serves control");
    let mut assembly = Assembly::default();
    let mut applied = follow.applied.subscribe();
    applied.mark_changed();
    let mut observed = follow.observed.subscribe();
    observed.mark_changed();
    let mut told = None;
    loop {
        tokio::select! {
            update = updates.message() => match update? {
                Some(update) => take(follow, &mut assembly, &mut applied, update, &reports).await?,
                None => return Ok(()),
            },
            changed = applied.changed() => {
                changed.map_err(|_| Ended::Closed)?;
                let now = applied.borrow_and_update().clone();
                if let Some(now) = now {
                    reports.send(What::Applied(now)).await?;
                }
            }
            changed = observed.changed() => {
                changed.map_err(|_| Ended::Closed)?;
                let Some(now) = observed.borrow_and_update().clone() else { continue };
                for said in observe::messages(told.as_ref(), &now) {
                    reports.send(What::Observed(said)).await?;
                }
                told = Some(now);
            }
        }
    }
}

fn hello(follow: &Follow) -> Hello {
    let snapshot = follow.snapshots.borrow();
    let runs = snapshot.generation != Generation::default();
    Hello {
        replica: follow.settings.replica.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running: runs.then(|| running(&snapshot)),
    }
}

/// What runs, as it is said.
pub(super) fn running(snapshot: &Snapshot) -> control::Running {
    control::Running {
        generation: Some(wire::generation(snapshot.generation)),
        digest: Digest::of(snapshot).bytes().to_vec().into(),
    }
}

/// Takes a part. What the last one completes runs, and is answered when it does; or it is refused, now.
async fn take(
    follow: &Follow,
    assembly: &mut Assembly,
    applied: &mut watch::Receiver<Option<Applied>>,
    update: Update,
    reports: &Reports,
) -> Result<(), Ended> {
    let generation = wire::generation_of(update.generation);
    let current = follow.snapshots.borrow().clone();
    let Some(ended) = assembly.take(&current, update) else { return Ok(()) };
    match ended.map_err(|error: Invalid| error.to_string()).map(|next| follow.adopt(next, Source::Control)) {
        Ok(Adopted::New) => {
            debug!(%generation, "taken");
            follow.status.send_if_modified(|status| status.took(generation));
        }
        Ok(Adopted::Same) => {
            // It may be ready for long; then nothing else would answer.
            follow.status.send_if_modified(|status| status.took(generation));
            applied.mark_changed();
        }
        Ok(Adopted::Refused(reason)) | Err(reason) => {
            error!(%generation, reason, running = %current.generation, "refused; what runs goes on");
            follow.status.send_if_modified(|status| status.refused(generation, reason.clone()));
            let generation = Some(wire::generation(generation));
            reports.send(What::Refused(Refused { generation, reason })).await?;
        }
    }
    Ok(())
}

/// Where reports go. There is room for one: whoever serves control takes them as they come, or has gone.
struct Reports(mpsc::Sender<Report>);

impl Reports {
    async fn send(&self, what: What) -> Result<(), Ended> {
        self.0.send(Report { what: Some(what) }).await.map_err(|_| Ended::Closed)
    }
}
