//! Between dataplanes and brokers: passes everything on, but for chosen answers, which it loses or holds back: the request took
//! effect, and whoever made it cannot know. It can be cut, too: then nothing comes through in either direction, and nobody is told,
//! as where packets are dropped.
//!
//! It reads no more than what every request of Kafka's protocol begins with: its kind, its version, and the number that its answer
//! repeats.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// How long a port may be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest request or answer that is passed on.
const LARGEST: usize = 64 << 20;

/// Whose answers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Records are written.
    Produce,
    /// A group's offsets are committed.
    OffsetCommit,
}

/// What happens to a chosen answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is lost, and the connection with it.
    Lose,
    /// It comes so much later, and what comes behind it as well.
    Hold(Duration),
}

/// Which answers are chosen, and what happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Answers to this.
    pub api: Api,
    /// Each that is a multiple of this, counted from when the rule was made.
    pub every: u64,
    /// What happens to them.
    pub act: Act,
}

/// Proxies before all brokers. Dropping them ends them, connections and all.
#[derive(Debug)]
pub struct Proxies {
    shared: Arc<Shared>,
    cuts: Vec<watch::Sender<bool>>,
    _accepting: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    rule: Mutex<Option<Rule>>,
    /// Requests that the rule is for, and how many of them were struck.
    seen: AtomicU64,
    struck: AtomicU64,
}

impl Proxies {
    /// Listens where each broker says it does, and passes on to where it does.
    pub async fn start(fronts: &[(u16, u16)]) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (mut accepting, mut cuts) = (JoinSet::new(), Vec::new());
        for (front, back) in fronts.iter().copied() {
            let listener = listen(front).await.context("listen as a broker")?;
            let (cut, is_cut) = watch::channel(false);
            cuts.push(cut);
            accepting.spawn(accept(listener, back, (Arc::clone(&shared), is_cut)));
        }
        Ok(Self { shared, cuts, _accepting: accepting })
    }

    /// From now on this is the rule, or none.
    pub fn choose(&self, rule: Option<Rule>) {
        self.shared.seen.store(0, Relaxed);
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = rule;
    }

    /// From now on nothing comes through to this broker, or from it; or everything again, what was kept back first.
    pub fn cut(&self, broker: usize, is_cut: bool) {
        if let Some(cut) = self.cuts.get(broker) {
            cut.send_replace(is_cut);
        }
    }

    /// How many answers were struck so far.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Relaxed)
    }
}

impl Shared {
    /// What happens to the answer to a request of this kind.
    fn strike(&self, kind: i16) -> Option<Act> {
        let rule = (*self.rule.lock().unwrap_or_else(PoisonError::into_inner))?;
        let number = match rule.api {
            Api::Produce => 0,
            Api::OffsetCommit => 8,
        };
        if kind != number || !(self.seen.fetch_add(1, Relaxed) + 1).is_multiple_of(rule.every) {
            return None;
        }
        self.struck.fetch_add(1, Relaxed);
        Some(rule.act)
    }
}

/// Listens at a port, which those before may not have given up yet: a task that is dropped ends a moment later.
async fn listen(port: u16) -> io::Result<TcpListener> {
    let since = Instant::now();
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && since.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(10)).await;
            }
            bound => return bound,
        }
    }
}

/// What is done to a connection: the rule of all, and whether its broker is cut off.
type Line = (Arc<Shared>, watch::Receiver<bool>);

async fn accept(listener: TcpListener, back: u16, line: Line) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(pass(client, back, line.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What happens to answers that are to come, by the numbers of their requests.
type Struck = Arc<Mutex<HashMap<[u8; 4], Act>>>;

/// Passes on until either side ends, which then ends the other.
async fn pass(client: TcpStream, back: u16, (shared, is_cut): Line) {
    let Ok(broker) = TcpStream::connect(("127.0.0.1", back)).await else { return };
    for stream in [&client, &broker] {
        // It is as quick without.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let struck = Struck::default();
    tokio::select! {
        _ = requests(from_client, to_broker, (&shared, is_cut.clone()), &struck) => {}
        _ = answers(from_broker, to_client, is_cut, &struck) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (shared, mut is_cut): (&Shared, watch::Receiver<bool>),
    struck: &Struck,
) -> io::Result<()> {
    loop {
        let frame = frame(&mut from).await?;
        // Length, kind, version, number.
        if let [_, _, _, _, a, b, _, _, c, d, e, f, ..] = frame[..]
            && let Some(act) = shared.strike(i16::from_be_bytes([a, b]))
        {
            struck.lock().unwrap_or_else(PoisonError::into_inner).insert([c, d, e, f], act);
        }
        // The proxies are gone when nobody can say any more that it is not.
        let _ = is_cut.wait_for(|cut| !cut).await;
        to.write_all(&frame).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut is_cut: watch::Receiver<bool>,
    struck: &Struck,
) -> io::Result<()> {
    loop {
        let frame = frame(&mut from).await?;
        let act = match frame[..] {
            [_, _, _, _, c, d, e, f, ..] => {
                struck.lock().unwrap_or_else(PoisonError::into_inner).remove(&[c, d, e, f])
            }
            _ => None,
        };
        match act {
            None => {}
            Some(Act::Hold(time)) => sleep(time).await,
            Some(Act::Lose) => return Ok(()),
        }
        // The proxies are gone when nobody can say any more that it is not.
        let _ = is_cut.wait_for(|cut| !cut).await;
        to.write_all(&frame).await?;
    }
}

/// A request or an answer, with its length before it.
async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).await?;
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    if length > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}
