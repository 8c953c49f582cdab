//! What is told of a folder, each thing once, however often it is found. Writes log lines.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use evhub_compile::Compiled;
use evhub_crds::Kind;
use evhub_dataplane::{Unserved, hub::Of};
use evhub_routing::Name;
use tracing::{error, warn};

use evhub_compile::settle::Settled;

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Telling {
    lines: Vec<Line>,
    /// Apart from the lines: what cannot be done now is tried again, which finds the same lines each time.
    failure: Option<String>,
}

/// Something to say: what is wrong, or worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Verdict {
        object: Option<String>,
        file: Option<String>,
        reason: String,
        field: Option<String>,
        message: String,
        /// Whether it does not run because of this.
        stops: bool,
    },
    Odd(String),
}

// === impl Telling ===

impl Telling {
    /// Tells what is wrong with what was found.
    pub(super) fn verdicts(&mut self, dir: &Path, settled: &Settled, warnings: Vec<String>) {
        for line in self.news(lines(dir, settled, warnings)) {
            match line {
                Line::Verdict { object, file, reason, field, message, stops: true } => {
                    error!(object, file, reason, field, "{message}");
                }
                Line::Verdict { object, file, reason, field, message, stops: false } => {
                    warn!(object, file, reason, field, "{message}");
                }
                Line::Odd(text) => warn!("{text}"),
            }
        }
    }

    /// Tells why what was found cannot run.
    pub(super) fn failure(&mut self, text: String) {
        if self.is_news(&text) {
            error!("{text}");
        }
        self.failure = Some(text);
    }

    /// What was found can run.
    pub(super) fn success(&mut self) {
        self.failure = None;
    }

    /// Those that were not told the last time.
    fn news(&mut self, lines: Vec<Line>) -> Vec<Line> {
        let news = lines.iter().filter(|line| !self.lines.contains(line)).cloned().collect();
        self.lines = lines;
        news
    }

    fn is_news(&self, failure: &str) -> bool {
        self.failure.as_deref() != Some(failure)
    }
}

fn lines(dir: &Path, settled: &Settled, warnings: Vec<String>) -> Vec<Line> {
    let mut lines: Vec<Line> = warnings.into_iter().map(Line::Odd).collect();
    for verdict in &settled.compiled.verdicts {
        let name = verdict.namespace.as_ref().zip(verdict.name.as_ref());
        let object = name.map(|(namespace, name)| format!("{namespace}/{name}"));
        let file = verdict.origin.as_ref().map(ToString::to_string);
        let stands = if settled.stands(verdict) { "; it runs on as it was accepted last" } else { "" };
        lines.extend(verdict.findings.iter().map(|finding| Line::Verdict {
            object: object.clone(),
            file: file.clone(),
            reason: format!("{}/{}", finding.condition, finding.reason),
            field: finding.field.clone(),
            message: format!("{}{}", finding.message, if finding.stands_in_the_way() { stands } else { "" }),
            stops: finding.stands_in_the_way(),
        }));
    }
    if settled.compiled.verdicts.is_empty() {
        let dir = dir.display();
        lines.push(Line::Odd(format!("{dir}: no Producer and no Processor there; nothing can be published")));
    }
    lines
}

/// Which Producers and Processors were written and do not run, and why.
pub(super) fn unserved(compiled: &Compiled) -> Arc<[Unserved]> {
    let mut all = BTreeMap::new();
    for verdict in &compiled.verdicts {
        let (Some(namespace), Some(name)) = (&verdict.namespace, &verdict.name) else { continue };
        let (Some(kind), Some(finding)) = (verdict.kind, verdict.obstacle()) else { continue };
        let name = Name::new(namespace, name);
        let (runs, of) = match kind {
            Kind::Producer => (compiled.snapshot.producers.contains_key(&name), Of::Producer),
            Kind::Processor => (compiled.snapshot.processors.contains_key(&name), Of::Processor),
        };
        // A second one of the same name is told of by its elder.
        if !runs {
            let (accepted, reason) = (verdict.accepted, finding.reason.to_string());
            all.entry((of, name.clone())).or_insert(Unserved { of, name, accepted, reason });
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each round finds the same verdicts and then fails again.
    #[test]
    fn what_is_tried_again_is_told_once() {
        let mut telling = Telling::default();
        let odd = |text: &str| vec![Line::Odd(text.to_owned())];
        assert_eq!(telling.news(odd("a")), odd("a"));
        assert!(telling.is_news("the disk is full"));
        telling.failure("the disk is full".to_owned());
        assert_eq!(telling.news(odd("a")), []);
        assert!(!telling.is_news("the disk is full"));
        telling.success();
        assert!(telling.is_news("the disk is full"), "a second time is another one");
        assert_eq!(telling.news(odd("b")), odd("b"));
    }
}
