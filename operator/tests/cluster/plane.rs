//! A dataplane as it should be, as far as its operator can tell: runs what it is told, and says so.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use evhub_proto::control::{
    Applied, Hello, Kind, Name, Observed, Progress, Refused, Report, Running, Unready,
    control_client::ControlClient, report::What,
};
use evhub_routing::{
    Generation, Snapshot,
    wire::{self, Assembly, Digest},
};
use futures_util::stream::unfold;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tonic::transport::Channel;

use super::site::PATIENCE;

/// It follows until this is dropped.
pub(crate) struct Plane {
    runs: watch::Receiver<Arc<Snapshot>>,
    reports: mpsc::Sender<Report>,
    unready: Arc<Mutex<Vec<Unready>>>,
    task: JoinHandle<()>,
}

impl Plane {
    pub(crate) async fn follow(name: &str, control: SocketAddr) -> Self {
        Self::begin(name, control, Snapshot::default()).await
    }

    /// One that ran something when it connected.
    pub(crate) async fn begin(name: &str, control: SocketAddr, runs: Snapshot) -> Self {
        let channel = Channel::from_shared(format!("http://{control}")).unwrap().connect().await.unwrap();
        let mut client = ControlClient::new(channel);
        let (reports, outgoing) = mpsc::channel(8);
        let ran = runs.generation != Generation::default();
        let running = ran.then(|| running(&runs));
        let hello = Hello { replica: name.to_owned(), version: "test".to_owned(), running };
        reports.send(Report { what: Some(What::Hello(hello)) }).await.unwrap();
        let outgoing = unfold(outgoing, |mut outgoing| async { Some((outgoing.recv().await?, outgoing)) });
        let mut updates = timeout(PATIENCE, client.follow(outgoing)).await.unwrap().unwrap().into_inner();
        let (sender, receiver) = watch::channel(Arc::new(runs));
        let unready = Arc::new(Mutex::new(Vec::new()));
        let (answers, says) = (reports.clone(), Arc::clone(&unready));
        let task = tokio::spawn(async move {
            let mut assembly = Assembly::default();
            while let Ok(Some(update)) = updates.message().await {
                let current = Arc::clone(&sender.borrow());
                let Some(next) = assembly.take(&current, update) else { continue };
                let next = next.unwrap();
                if next.generation < current.generation {
                    let generation = Some(wire::generation(next.generation));
                    let refused = Refused { generation, reason: "it is lower than what runs".to_owned() };
                    if answers.send(Report { what: Some(What::Refused(refused)) }).await.is_err() {
                        return;
                    }
                    continue;
                }
                let report = applied(&next, &says.lock().unwrap());
                sender.send_replace(Arc::new(next));
                if answers.send(report).await.is_err() {
                    return;
                }
            }
        });
        Self { runs: receiver, reports, unready, task }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.runs.borrow())
    }

    /// Waits until what it runs is like this.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut runs = self.runs.clone();
        let found = timeout(PATIENCE, runs.wait_for(|snapshot| holds(snapshot))).await;
        let found = found.unwrap_or_else(|_| panic!("waited in vain until {what}"));
        Arc::clone(&found.expect("it follows"))
    }

    /// Says from now on that this Processor is not ready, or that all is.
    pub(crate) async fn lacks(&self, processor: Option<(&str, &str)>, reason: &str) {
        self.says(Kind::Processor, processor, reason).await;
    }

    /// Says from now on that the topic of this Producer is not as it is to be, or that all is.
    pub(crate) async fn lacks_topic(&self, producer: Option<(&str, &str)>, reason: &str) {
        self.says(Kind::Producer, producer, reason).await;
    }

    async fn says(&self, kind: Kind, which: Option<(&str, &str)>, reason: &str) {
        let unready = which.map(|(namespace, name)| Unready {
            kind: kind.into(),
            name: Some(Name { namespace: namespace.to_owned(), name: name.to_owned() }),
            reason: reason.to_owned(),
        });
        let report = {
            let mut says = self.unready.lock().unwrap();
            *says = unready.into_iter().collect();
            applied(&self.snapshot(), &says)
        };
        self.reports.send(report).await.unwrap();
    }

    /// Says how these are doing, and that all others are at rest.
    pub(crate) async fn observes(&self, processors: Vec<Progress>) {
        let observed = Observed { whole: true, processors };
        self.reports.send(Report { what: Some(What::Observed(observed)) }).await.unwrap();
    }

    /// Whether its operator has let it go, or went.
    pub(crate) async fn is_alone(&mut self) {
        timeout(PATIENCE + Duration::from_secs(1), &mut self.task).await.expect("it is let go").unwrap();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn running(snapshot: &Snapshot) -> Running {
    Running {
        generation: Some(wire::generation(snapshot.generation)),
        digest: Digest::of(snapshot).bytes().to_vec().into(),
    }
}

fn applied(snapshot: &Snapshot, unready: &[Unready]) -> Report {
    let applied = Applied { running: Some(running(snapshot)), unready: unready.to_vec(), untold: 0 };
    Report { what: Some(What::Applied(applied)) }
}
