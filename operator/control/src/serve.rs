//! The service: one task for each dataplane that follows, which sends what its follower says and folds what it answers. I/O.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use evhub_lifecycle::Drain;
use evhub_proto::control::{
    Hello, Report, Update,
    control_server::{self, ControlServer},
    report::What,
};
use evhub_routing::Snapshot;
use futures_util::{Stream, stream::unfold};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::timeout,
};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tracing::{debug, info};

use crate::{Control, Security, follower::Follower, secure};

/// How many dataplanes may follow at once; more are refused, and come again.
const FOLLOWERS: usize = 1024;
/// How many of them are sent to at once. Each holds all its parts meanwhile, so this bounds the memory that they take.
const SENDING: usize = 4;
/// How long it may take a follower to be sent everything. One that takes nothing would hold up the others.
const SEND: Duration = Duration::from_secs(30);
/// How long a new one may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);
/// The largest report: all of what fifty thousand resources have to say does not fit, and is not needed.
const REPORT: usize = 1 << 20;
/// How often a silent peer is asked whether it is there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

/// The listener failed.
#[derive(Debug, thiserror::Error)]
#[error("could not serve the control stream")]
pub struct Error(#[source] tonic::transport::Error);

/// Serves until the drain begins; then ends every stream, which dataplanes take for no more than that.
pub async fn serve(
    listener: TcpListener,
    security: Security,
    control: Control,
    drain: Drain,
) -> Result<(), Error> {
    let incoming = secure::incoming(listener, security, drain.clone());
    let service = Service {
        control,
        drain: drain.clone(),
        sessions: Arc::default(),
        seats: Arc::new(Semaphore::new(FOLLOWERS)),
        sending: Arc::new(Semaphore::new(SENDING)),
    };
    let service = ControlServer::new(service).max_decoding_message_size(REPORT);
    Server::builder()
        .http2_keepalive_interval(Some(PING.0))
        .http2_keepalive_timeout(Some(PING.1))
        .max_concurrent_streams(4)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, drain.begun())
        .await
        .map_err(Error)
}

struct Service {
    control: Control,
    drain: Drain,
    /// Counts them, so that of two of one name the newer one is known.
    sessions: Arc<AtomicU64>,
    seats: Arc<Semaphore>,
    sending: Arc<Semaphore>,
}

#[tonic::async_trait]
impl control_server::Control for Service {
    type FollowStream = std::pin::Pin<Box<dyn Stream<Item = Result<Update, Status>> + Send>>;

    async fn follow(
        &self,
        request: Request<Streaming<Report>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let seat = Arc::clone(&self.seats).try_acquire_owned();
        let seat =
            seat.map_err(|_| Status::resource_exhausted(format!("{FOLLOWERS} dataplanes follow already")))?;
        let mut reports = request.into_inner();
        let hello = hello(&mut reports).await?;
        // One: what it takes is asked of the follower as it can be sent.
        let (sender, receiver) = mpsc::channel(1);
        let session = Session {
            number: self.sessions.fetch_add(1, Relaxed),
            replica: hello.replica.clone(),
            control: self.control.clone(),
            sending: Arc::clone(&self.sending),
            updates: sender,
            _seat: seat,
        };
        info!(replica = session.replica, version = hello.version, "a dataplane follows");
        self.control.rollout.send_modify(|rollout| rollout.joined(session.number, hello));
        let drain = self.drain.clone();
        tokio::spawn(async move {
            let why = tokio::select! {
                () = drain.begun() => "nobody serves it any more".to_owned(),
                why = session.run(reports) => why,
            };
            info!(replica = session.replica, why, "a dataplane has gone");
            session.control.rollout.send_modify(|rollout| rollout.left(session.number, &session.replica));
        });
        let updates = unfold(receiver, |mut receiver| async { Some((Ok(receiver.recv().await?), receiver)) });
        Ok(Response::new(Box::pin(updates)))
    }
}

async fn hello(reports: &mut Streaming<Report>) -> Result<Hello, Status> {
    let first = timeout(HELLO, reports.message()).await;
    let first =
        first.map_err(|_| Status::deadline_exceeded("said nothing; the first report is a hello"))??;
    match first.and_then(|report| report.what) {
        Some(What::Hello(hello)) if !hello.replica.is_empty() => Ok(hello),
        _ => Err(Status::invalid_argument("the first report must be a hello that names the replica")),
    }
}

/// One dataplane while it is connected.
struct Session {
    number: u64,
    replica: String,
    control: Control,
    sending: Arc<Semaphore>,
    updates: mpsc::Sender<Update>,
    _seat: OwnedSemaphorePermit,
}

impl Session {
    /// Until it ends; says why.
    async fn run(&self, mut reports: Streaming<Report>) -> String {
        let mut follower = Follower::default();
        let mut newest = self.control.newest.subscribe();
        loop {
            if let Err(why) = self.send(&mut follower, &mut newest).await {
                return why;
            }
            tokio::select! {
                changed = newest.changed() => if changed.is_err() {
                    return "nobody publishes any more".to_owned();
                },
                report = reports.message() => match report {
                    Ok(Some(report)) => self.hear(&mut follower, report),
                    Ok(None) => return "it said goodbye".to_owned(),
                    Err(status) => return status.message().to_owned(),
                }
            }
        }
    }

    async fn send(
        &self,
        follower: &mut Follower,
        newest: &mut watch::Receiver<Option<Arc<Snapshot>>>,
    ) -> Result<(), String> {
        if newest.borrow_and_update().is_none() {
            return Ok(());
        }
        let _turn = self.sending.acquire().await;
        // What is the newest by now.
        let Some(snapshot) = newest.borrow_and_update().clone() else { return Ok(()) };
        let updates = follower.next(&snapshot);
        if updates.is_empty() {
            return Ok(());
        }
        debug!(replica = self.replica, generation = %snapshot.generation, parts = updates.len(), "sends");
        let all = async {
            for update in updates {
                self.updates.send(update).await.map_err(|_| "it hears no more".to_owned())?;
            }
            Ok(())
        };
        timeout(SEND, all)
            .await
            .unwrap_or_else(|_| Err(format!("it did not take everything within {SEND:?}")))
    }

    fn hear(&self, follower: &mut Follower, report: Report) {
        match &report.what {
            Some(What::Applied(applied)) => follower.applied(applied),
            Some(What::Refused(refused)) => follower.refused(refused),
            Some(What::Observed(_)) => {}
            Some(What::Hello(_)) | None => return,
        }
        self.control.rollout.send_if_modified(|rollout| {
            let before = rollout.clone();
            rollout.said(self.number, &self.replica, report);
            *rollout != before
        });
    }
}
