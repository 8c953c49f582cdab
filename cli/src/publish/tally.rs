//! What became of the events of one run: printed as it is known, summed up at the end. Writes to standard output, and to
//! standard error when that is a terminal.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write as _},
    time::{Duration, Instant},
};

use evhub_routing::Name;
use serde::Serialize;

use super::Receipt;
use crate::{
    client::{self, Outcome},
    exit::Exit,
    output::{self, Format, or_dash, printable},
};

/// Often enough to look alive, seldom enough to cost nothing.
const PROGRESS: Duration = Duration::from_millis(200);

/// Counts and prints.
pub(super) struct Tally {
    producer: Name,
    count: u64,
    format: Format,
    accepted: u64,
    failed: BTreeMap<Outcome, u64>,
    first: Option<client::Error>,
    started: Instant,
    shown: Option<Instant>,
}

/// One event's ending, as `-o json` has it.
#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Accepted(Receipt),
    Failed {
        id: String,
        outcome: Outcome,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        detail: String,
    },
}

impl Tally {
    /// A tally of so many events.
    pub(super) fn new(producer: Name, count: u64, format: Format) -> Self {
        // Progress belongs to work that one waits for on a terminal where nothing else is printed meanwhile.
        let watched = count > 1 && format == Format::Table && io::stderr().is_terminal();
        let now = Instant::now();
        let shown = watched.then_some(now);
        Self {
            producer,
            count,
            format,
            accepted: 0,
            failed: BTreeMap::new(),
            first: None,
            started: now,
            shown,
        }
    }

    /// To be called before the first event.
    pub(super) fn begin(&self) -> anyhow::Result<()> {
        if self.is_array() { output::text("[") } else { Ok(()) }
    }

    /// Takes in one event's ending.
    pub(super) fn add(&mut self, id: String, result: Result<Receipt, client::Error>) -> anyhow::Result<()> {
        let first = self.done() == 0;
        let item = match result {
            Ok(receipt) => {
                self.accepted += 1;
                Item::Accepted(receipt)
            }
            Err(error) => {
                *self.failed.entry(error.outcome()).or_default() += 1;
                let item = Item::failed(id, &error);
                self.first.get_or_insert(error);
                item
            }
        };
        let text = self.print(&item, first)?;
        self.progress();
        output::text(&text)
    }

    /// To be called after the last event.
    pub(super) fn finish(mut self) -> anyhow::Result<Exit> {
        self.clear();
        if self.is_array() {
            output::text("\n]\n")?;
        } else if self.count > 1 && self.format == Format::Table {
            output::text(&self.summary())?;
        }
        match self.first.take() {
            None => Ok(Exit::Success),
            Some(error) => Err(anyhow::Error::new(error).context(self.failure())),
        }
    }

    fn print(&self, item: &Item, first: bool) -> anyhow::Result<String> {
        match self.format {
            Format::Table if self.count > 1 => Ok(String::new()),
            Format::Table => Ok(item.line()),
            Format::Json if self.is_array() => {
                Ok(format!("{}\n  {}", if first { "" } else { "," }, serde_json::to_string(item)?))
            }
            Format::Json => output::json(item),
            Format::Yaml if self.count > 1 => output::yaml(&[item]),
            Format::Yaml => output::yaml(item),
        }
    }

    fn summary(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = self.accepted as f64 / seconds.max(f64::EPSILON);
        format!("accepted {} of {} events in {seconds:.2} s, {rate:.0} a second\n", self.accepted, self.count)
    }

    fn failure(&self) -> String {
        let outcomes: Vec<_> = self.failed.keys().map(Outcome::to_string).collect();
        if self.count == 1 {
            return format!(
                "could not publish the event to {} (outcome: {})",
                self.producer,
                outcomes.join("")
            );
        }
        let mut parts: Vec<_> = self.failed.iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
        let unsent = self.count - self.done();
        if unsent > 0 {
            parts.push(format!("{unsent} not sent"));
        }
        let failed = self.count - self.accepted;
        format!(
            "could not publish {failed} of {} events to {} ({})",
            self.count,
            self.producer,
            parts.join(", ")
        )
    }

    fn done(&self) -> u64 {
        self.accepted + self.failed.values().sum::<u64>()
    }

    fn is_array(&self) -> bool {
        self.format == Format::Json && self.count > 1
    }

    fn progress(&mut self) {
        if let Some(shown) = self.shown.filter(|shown| shown.elapsed() >= PROGRESS) {
            let (done, rate) = (self.done(), self.done() as f64 / self.started.elapsed().as_secs_f64());
            // Progress that cannot be shown harms nobody.
            let _ = write!(io::stderr(), "\r\x1b[K{done} of {}  {rate:.0} a second", self.count);
            self.shown = Some(shown + shown.elapsed());
        }
    }

    fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Item {
    fn failed(id: String, error: &client::Error) -> Self {
        let (reason, detail) = match error {
            client::Error::Refused(problem) => (problem.reason.clone(), problem.detail.clone()),
            other => (None, other.to_string()),
        };
        Self::Failed { id, outcome: error.outcome(), reason, detail }
    }

    /// For a person; what failed is told in the error at the end.
    fn line(&self) -> String {
        match self {
            Self::Failed { .. } => String::new(),
            Self::Accepted(receipt) => match (receipt.partition, receipt.offset) {
                (Some(partition), Some(offset)) => {
                    format!("accepted {} at partition {partition} offset {offset}\n", printable(&receipt.id))
                }
                (None, _) if receipt.due().is_some() => {
                    let (id, due) = (printable(&receipt.id), or_dash(receipt.due()));
                    format!("accepted {id} for {due}, timer {}\n", or_dash(receipt.timer()))
                }
                (None, None) => format!("accepted {}, once under its key\n", printable(&receipt.id)),
                (partition, _) => {
                    format!("accepted {} for partition {}\n", printable(&receipt.id), or_dash(partition))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::client::Problem;

    fn receipt() -> Receipt {
        serde_json::from_str(r#"{"id":"a","producer":"shop/orders","partition":3,"offset":17}"#).unwrap()
    }

    fn refusal() -> client::Error {
        let body = br#"{"reason":"EVENT_TOO_LARGE","detail":"at most 1 MiB","outcome":"rejected"}"#;
        client::Error::Refused(Problem::decode(StatusCode::PAYLOAD_TOO_LARGE, body))
    }

    fn tally(count: u64, format: Format) -> Tally {
        Tally::new(Name::new("shop", "orders"), count, format)
    }

    #[test]
    fn one_event_is_one_receipt() {
        let item = Item::Accepted(receipt());
        assert_eq!(
            tally(1, Format::Table).print(&item, true).unwrap(),
            "accepted a at partition 3 offset 17\n"
        );
        let json = tally(1, Format::Json).print(&item, true).unwrap();
        assert_eq!(
            json,
            "{\n  \"id\": \"a\",\n  \"producer\": \"shop/orders\",\n  \"partition\": 3,\n  \"offset\": 17\n}\n"
        );
    }

    #[test]
    fn several_are_one_document() {
        let items = [Item::Accepted(receipt()), Item::failed("b".to_owned(), &refusal())];
        let tally_json = tally(2, Format::Json);
        let parts: String =
            items.iter().zip([true, false]).map(|(i, f)| tally_json.print(i, f).unwrap()).collect();
        let document: serde_json::Value = serde_json::from_str(&format!("[{parts}\n]\n")).unwrap();
        let failed = serde_json::json!({
            "id": "b", "outcome": "rejected", "reason": "EVENT_TOO_LARGE", "detail": "at most 1 MiB"
        });
        assert_eq!(document[0]["offset"], 17);
        assert_eq!(document[1], failed);
        let yaml: String = items.iter().map(|i| tally(2, Format::Yaml).print(i, false).unwrap()).collect();
        assert!(yaml.starts_with("- id: a\n") && yaml.contains("\n- id: b\n"), "{yaml}");
    }

    #[test]
    fn a_failure_says_how_many_and_how() {
        let mut tally = tally(5, Format::Table);
        tally.add("a".to_owned(), Ok(receipt())).unwrap();
        tally.add("b".to_owned(), Err(refusal())).unwrap();
        assert_eq!(
            tally.failure(),
            "could not publish 4 of 5 events to shop/orders (1 rejected, 3 not sent)"
        );
        let error = tally.finish().unwrap_err();
        assert_eq!(error.root_cause().to_string(), "413 EVENT_TOO_LARGE: at most 1 MiB");
    }

    #[test]
    fn one_failed_event_names_its_outcome() {
        let mut tally = tally(1, Format::Table);
        tally.add("a".to_owned(), Err(refusal())).unwrap();
        assert_eq!(tally.failure(), "could not publish the event to shop/orders (outcome: rejected)");
    }
}
