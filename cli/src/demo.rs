//! `evhub dev examples/quickstart --demo`: a small story, told while it happens.
//!
//! The service that shop/billing delivers to is a sink in this process, which fails as the script says. Each scene waits
//! for what it shows, never for a time. Publishes, listens and writes to standard output.

mod script;

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use evhub_routing::{Name, Snapshot};
use http::uri::Authority;
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use self::script::{Never, Script, Seen};
use crate::{
    client::{Client, Server},
    dead::{self, Letter},
    output::{self, or_dash, printable},
    publish::Draft,
    sink::{Answer, Attempt, Sink},
    style::{Style, Tone},
};

/// Where the quickstart's Processor delivers to.
const SERVICE: &str = "127.0.0.1:8089";
/// The api listener that the tool looks for by itself.
const USUAL_API: &str = "127.0.0.1:8083";
/// Far beyond what any step takes, so that whoever waits longer learns that something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between scenes, so that one can read.
const PAUSE: Duration = Duration::from_millis(700);
/// How often the hub is asked whether the dead letter is there.
const POLL: Duration = Duration::from_millis(50);

/// Where the hub listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// For publishers.
    pub(crate) http: SocketAddr,
    /// For tools.
    pub(crate) api: SocketAddr,
}

/// The service, listening, and what it will see: everything that the story needs besides a hub.
pub(crate) struct Stage {
    sink: Sink<Box<Decision>>,
    script: Script,
    seen: mpsc::Receiver<Seen>,
}

type Decision = dyn Fn(&Attempt) -> Answer + Send + Sync;

/// Why the story cannot be told, as `path: problem (got …, allowed …)`.
pub(crate) struct Unsuitable(pub(crate) String);

/// What to say when the hub has stopped.
pub(crate) fn farewell(data: &Path) -> anyhow::Result<()> {
    output::text(&format!(
        "\nThe hub has stopped. What it keeps is in {}; the same command goes on from there.\n",
        data.display()
    ))
}

// === impl Stage ===

impl Stage {
    /// Takes the service's address, for a hub that is to run this.
    pub(crate) async fn set(snapshot: &Snapshot) -> Result<Self, Unsuitable> {
        suits(snapshot)?;
        let (script, seen) = Script::new();
        let decision: Box<Decision> = Box::new(script.decision());
        let sink = Sink::bind(SERVICE, decision).await.map_err(|error| {
            Unsuitable(format!(
                "--demo: could not play the service of shop/billing on {SERVICE}: {error} (if another sink or demo \
                 listens there, stop it and start again)"
            ))
        })?;
        Ok(Self { sink, script, seen })
    }

    /// Tells the story to a hub that is ready, then shows whatever else is delivered until `stop`.
    pub(crate) async fn play(self, hub: Addresses, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { sink, script, seen } = self;
        let (trigger, drain) = evhub_lifecycle::channel();
        let serving = tokio::spawn(sink.serve(drain));
        let mut story = Story::new(hub, script, seen);
        let outcome = tokio::select! {
            biased;
            () = stop => Ok(()),
            outcome = story.tell() => outcome,
        };
        trigger.begin();
        serving.await.context("the sink ended badly")?;
        outcome
    }
}

/// The story is about two resources that deliver to one address; it cannot be told of others.
fn suits(snapshot: &Snapshot) -> Result<(), Unsuitable> {
    let (producer, processor) = (producer(), processor());
    let got = match snapshot.processors.get(&processor) {
        None => Some(format!("no accepted Processor {processor}")),
        Some(found) if !found.routes.iter().any(|route| route.producer == producer) => {
            Some(format!("a Processor {processor} without the Producer {producer}"))
        }
        Some(found) if found.target.url.authority().map(Authority::as_str) != Some(SERVICE) => {
            Some(format!("a Processor {processor} that delivers to {}", found.target.url))
        }
        Some(_) => None,
    };
    got.map_or(Ok(()), |got| {
        let allowed = "allowed DIR with the resources of examples/quickstart";
        Err(Unsuitable(format!("--demo: there is another story to tell (got {got}, {allowed})")))
    })
}

fn producer() -> Name {
    Name::new("shop", "orders")
}

fn processor() -> Name {
    Name::new("shop", "billing")
}

struct Story {
    hub: Addresses,
    http: Client,
    api: Client,
    producer: Name,
    processor: Name,
    /// Tells this run's events from those that an earlier run left in the log.
    run: String,
    script: Script,
    seen: mpsc::Receiver<Seen>,
    style: Style,
}

impl Story {
    fn new(hub: Addresses, script: Script, seen: mpsc::Receiver<Seen>) -> Self {
        // The last characters of such a UUID are random; its first are the time.
        let uuid = uuid::Uuid::now_v7().simple().to_string();
        Self {
            hub,
            http: Client::new(&Server::from(hub.http)),
            api: Client::new(&Server::from(hub.api)),
            producer: producer(),
            processor: processor(),
            run: uuid[uuid.len() - 6..].to_owned(),
            script,
            seen,
            style: Style::stdout(),
        }
    }

    async fn tell(&mut self) -> anyhow::Result<()> {
        let Self { producer, processor, .. } = self;
        output::text(&format!(
            "\nEvents published to {producer} are delivered to {processor}, whose service is played at {SERVICE}.\n"
        ))?;
        self.delivery().await?;
        self.retry().await?;
        self.order().await?;
        let letter = self.dead_letter().await?;
        // From here on the service is in good health, so that a redrive succeeds.
        self.script.forget();
        output::text(&next_steps(&program(), self.hub, &letter.id, self.style))?;
        while let Some(seen) = self.seen.recv().await {
            output::text(&seen.line(None, self.style))?;
        }
        Ok(())
    }

    async fn delivery(&mut self) -> anyhow::Result<()> {
        self.heading("1  A delivery: published, in the log, at the service of shop/billing")?;
        let id = self.publish("hello", "ada", 0).await?;
        self.watch(|all| all.iter().any(|seen| seen.ends(&id))).await?;
        Ok(())
    }

    async fn retry(&mut self) -> anyhow::Result<()> {
        self.heading("2  A retry that succeeds: the service answers 503 twice, and each wait is longer")?;
        let id = self.publish("flaky", "ada", 2).await?;
        self.watch(|all| all.iter().any(|seen| seen.ends(&id))).await?;
        Ok(())
    }

    async fn order(&mut self) -> anyhow::Result<()> {
        self.heading("3  Order per key: ada's first event fails once, her others wait, and bob's flow past")?;
        let mut ids = Vec::new();
        for n in 1..=3 {
            ids.push(self.publish(&format!("ada-{n}"), "ada", u32::from(n == 1)).await?);
            ids.push(self.publish(&format!("bob-{n}"), "bob", 0).await?);
        }
        let all = self.watch(|all| ids.iter().all(|id| all.iter().any(|seen| seen.ends(id)))).await?;
        let ended = |key| all.iter().filter(move |seen| seen.key == key && seen.status.is_success());
        let order: Vec<_> = ended("ada").map(|seen| &seen.id).collect();
        ensure!(order.is_sorted(), "ada's events came out of order: {order:?}");
        let first = ended("ada").map(|seen| seen.time).next();
        let past = ended("bob").filter(|seen| Some(seen.time) < first).count();
        self.say(
            Tone::Good,
            &format!("ada's events came in order; {past} of bob's 3 were delivered meanwhile"),
        )
    }

    async fn dead_letter(&mut self) -> anyhow::Result<Letter> {
        self.heading(
            "4  A dead letter: this event fails until its attempts are used up, and is kept with the reason",
        )?;
        let id = self.publish("doomed", "eve", Never::SUCCEEDS).await?;
        let first = self.watch(|all| all.iter().any(|seen| seen.id == id)).await?;
        // Its further attempts are shown while the hub is asked; which is the last one is the hub's to say.
        let letter = timeout(PATIENCE, self.buried(&id, first)).await;
        let letter = letter.map_err(|_| anyhow!("{id} is no dead letter after {PATIENCE:?}"))??;
        let (attempts, cause) = (letter.attempts, printable(&or_dash(letter.cause.as_ref())));
        let text = format!(
            "dead letter {}: {} after {attempts} attempts, the last: {cause}",
            letter.id, letter.reason
        );
        self.say(Tone::Warning, &text)?;
        Ok(letter)
    }

    /// Waits for a dead letter, and shows attempts meanwhile.
    async fn buried(&mut self, id: &str, mut all: Vec<Seen>) -> anyhow::Result<Letter> {
        loop {
            while let Ok(seen) = self.seen.try_recv() {
                self.show(seen, &mut all)?;
            }
            let letters =
                dead::list(&self.api, &self.processor).await.context("could not list dead letters")?;
            if let Some(letter) = letters.into_iter().find(|letter| letter.event_id.as_deref() == Some(id)) {
                return Ok(letter);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Publishes one event whose first attempts fail.
    async fn publish(&self, name: &str, key: &str, failures: u32) -> anyhow::Result<String> {
        let id = format!("{name}-{}", self.run);
        self.script.fail(&id, failures);
        let draft = Draft::new(&self.producer, "shop.order.placed")
            .with_key(key)
            .with_json(&json!({ "order": name }));
        let sent = draft.send(&self.http, &self.producer, &id).await;
        let receipt = sent.with_context(|| format!("could not publish {id} to {}", self.producer))?;
        let (partition, offset) = (or_dash(receipt.partition), or_dash(receipt.offset));
        self.say(
            Tone::Faint,
            &format!("published {id} with key {key}: partition {partition}, offset {offset}"),
        )?;
        Ok(id)
    }

    /// Shows attempts until the condition on all of them holds.
    async fn watch(&mut self, done: impl Fn(&[Seen]) -> bool) -> anyhow::Result<Vec<Seen>> {
        let mut all = Vec::<Seen>::new();
        while !done(&all) {
            let seen = timeout(PATIENCE, self.seen.recv()).await.map_err(|_| {
                anyhow!(
                    "{} was delivered nothing for {PATIENCE:?}; start again with EVHUB_LOG=info to see why",
                    self.processor
                )
            })?;
            let seen = seen.context("the sink ended")?;
            self.show(seen, &mut all)?;
        }
        tokio::time::sleep(PAUSE).await;
        Ok(all)
    }

    fn show(&self, seen: Seen, all: &mut Vec<Seen>) -> anyhow::Result<()> {
        let before = all.iter().rev().find(|earlier| earlier.id == seen.id).map(|earlier| earlier.time);
        output::text(&seen.line(before, self.style))?;
        all.push(seen);
        Ok(())
    }

    fn heading(&self, text: &str) -> anyhow::Result<()> {
        output::text(&format!("\n{}\n", self.style.paint(Tone::Strong, text)))
    }

    fn say(&self, tone: Tone, text: &str) -> anyhow::Result<()> {
        output::text(&format!("   {}\n", self.style.paint(tone, text)))
    }
}

/// How this program was called, so that what is printed can be pasted into a shell beside this one.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "evhub".to_owned())
}

fn next_steps(program: &str, hub: Addresses, letter: &str, style: Style) -> String {
    let server = if hub.api.to_string() == USUAL_API {
        String::new()
    } else {
        format!(" --server http://{}", hub.api)
    };
    let heading = style.paint(Tone::Strong, "The hub stays up until ctrl-c. From another terminal, try:");
    format!(
        "\n{heading}\n\
         \x20 {program}{server} publish -n shop orders --key ada --data '{{\"total\": 42}}'\n\
         \x20 {program}{server} dead list -n shop billing\n\
         \x20 {program}{server} dead show -n shop billing {letter}\n\
         \x20 {program}{server} dead redrive -n shop billing {letter}\n\
         \x20 {program}{server} status -n shop\n\
         \x20 curl -i http://{}/namespaces/shop/producers/orders/events -H 'content-type: application/json' -d '{{\"total\": 7}}'\n\n",
        hub.http
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(api: &str) -> String {
        let hub = Addresses { http: "127.0.0.1:8080".parse().unwrap(), api: api.parse().unwrap() };
        next_steps("evhub", hub, "evhub.shop.orders:0:7", Style::none())
    }

    #[test]
    fn the_next_steps_can_be_pasted() {
        let text = steps("127.0.0.1:8083");
        assert!(
            text.contains("\n  evhub publish -n shop orders --key ada --data '{\"total\": 42}'\n"),
            "{text}"
        );
        assert!(text.contains("\n  evhub dead redrive -n shop billing evhub.shop.orders:0:7\n"), "{text}");
        assert!(
            text.contains("\n  curl -i http://127.0.0.1:8080/namespaces/shop/producers/orders/events "),
            "{text}"
        );
    }

    #[test]
    fn a_hub_elsewhere_is_named() {
        assert!(
            steps("127.0.0.1:9083").contains("\n  evhub --server http://127.0.0.1:9083 status -n shop\n")
        );
    }
}
