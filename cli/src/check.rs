//! `evhub check`: the verdicts on manifests, without a hub. Reads files and writes to standard output.

mod matches;
mod upcoming;

use std::{fmt::Write as _, path::PathBuf};

use evhub_compile::{
    Apps, Compiled, Egress, Grant, Log, Secrets, Services, Settings, Verdict, World, compile,
};
use evhub_crds::Instant;

use crate::{
    exit::{Configuration, Exit, Usage},
    identity, manifests, output,
    style::{Style, Tone},
};

/// Say what a hub would make of these manifests
///
/// Exits 0 when everything is accepted and resolved, 1 when something is not or there is nothing to check at all, 64 when
/// no file is named and 78 when one cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  evhub check examples/quickstart
  evhub check orders.yaml billing.yaml -o json
  evhub check examples/quickstart --event order.json
  evhub check orders.yaml --now 2026-12-31T23:00:00Z")]
pub(crate) struct Args {
    /// Manifests, or directories of them
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say instead which Processors would receive this event (CloudEvents JSON), and why; what is wrong with the manifests
    /// goes to standard error
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
    /// Say also when the schedules fire next, the first ten times after this instant (RFC 3339), had they been made then
    #[arg(long, value_name = "INSTANT", conflicts_with = "event")]
    now: Option<Instant>,
    #[command(flatten)]
    output: output::Options,
}

/// Checks, and says what came of it.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let Args { files, event, now, output: output::Options { output } } = args;
    if files.is_empty() {
        let hint = "no file to check; name manifests or directories: evhub check examples/quickstart";
        return Err(Usage(hint.to_owned()).into());
    }
    let loaded =
        manifests::load(&files).map_err(|manifests::Unreadable { problems }| Configuration(problems))?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let now = now.as_ref().map(Instant::millis);
    let compiled = verdicts(loaded.objects, now);
    match (event, now) {
        (None, None) => {
            output::value(output, &compiled.verdicts, || table(&compiled.verdicts, Style::stdout()))?;
        }
        (None, Some(now)) => {
            let checked = upcoming::find(&compiled.verdicts, &compiled.snapshot, now);
            output::value(output, &checked, || {
                let style = Style::stdout();
                table(&compiled.verdicts, style) + &upcoming::table(&checked, style)
            })?;
        }
        (Some(file), _) => {
            eprint!("{}", findings(&compiled.verdicts, Style::none()));
            let matches = matches::find(&compiled.snapshot, &matches::read(&file)?);
            output::value(output, &matches, || matches::table(&matches, Style::stdout()))?;
        }
    }
    // Whoever checks nothing has named the wrong folder, and should hear it before a hub runs without resources.
    let sound = compiled.is_sound() && !compiled.verdicts.is_empty();
    Ok(if sound { Exit::Success } else { Exit::Failed })
}

/// As `evhub dev` would decide on a first start: at this very moment, or another one.
fn verdicts(mut objects: Vec<evhub_compile::Object>, now: Option<i64>) -> Compiled {
    identity::fixed(&mut objects, now.unwrap_or_else(|| jiff::Timestamp::now().as_millisecond()));
    let settings = Settings {
        prefix: "evhub".into(),
        egress: Egress::Loopback,
        apps: Apps::Any,
        services: Services::Assumed,
        secrets: Secrets::Assumed,
        // Where a hub will keep its events nobody knows here.
        log: Log::Kafka(vec![Grant::ANY]),
    };
    compile(&World::new(settings, objects))
}

fn table(verdicts: &[Verdict], style: Style) -> String {
    if verdicts.is_empty() {
        return "nothing to check: no Producer and no Processor (apiVersion evhub.dev/v1alpha1) is in these files\n".into();
    }
    let mut table = output::Table::new(["KIND", "NAME", "VERDICT", "WHERE"]);
    for verdict in verdicts {
        let (tone, word) = word(verdict);
        let kind = output::or_dash(verdict.kind);
        let place = output::or_dash(verdict.origin.as_ref());
        table.row(tone, [kind, name(verdict), word.into(), place]);
    }
    table.render(style) + &findings(verdicts, style) + &summary(verdicts)
}

fn findings(verdicts: &[Verdict], style: Style) -> String {
    let mut text = String::new();
    for verdict in verdicts.iter().filter(|verdict| !verdict.findings.is_empty()) {
        let place = output::or_dash(verdict.origin.as_ref());
        let _ = writeln!(text, "\n{}", style.paint(Tone::Strong, &format!("{place} {}", name(verdict))));
        for finding in &verdict.findings {
            let field = finding.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
            let line = output::printable(&format!("{field}{}", finding.message));
            let tone = if finding.stands_in_the_way() { Tone::Bad } else { Tone::Warning };
            let reason = style.paint(tone, &format!("{}/{}", finding.condition, finding.reason));
            let _ = writeln!(text, "  {reason}  {line}");
        }
    }
    text
}

fn summary(verdicts: &[Verdict]) -> String {
    let wrong = verdicts.iter().filter(|verdict| verdict.obstacle().is_some()).count();
    match wrong {
        0 => format!("\n{} checked, nothing to mend. Next: evhub dev DIR\n", verdicts.len()),
        _ => format!(
            "\n{} checked, {wrong} to mend. Mend what is listed above, then check again.\n",
            verdicts.len()
        ),
    }
}

fn word(verdict: &Verdict) -> (Tone, &'static str) {
    match (verdict.accepted, verdict.is_resolved()) {
        (true, true) => (Tone::Good, "accepted"),
        (true, false) => (Tone::Warning, "unresolved"),
        (false, _) => (Tone::Bad, "refused"),
    }
}

fn name(verdict: &Verdict) -> String {
    match (&verdict.namespace, &verdict.name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SOUND: &str = "\
apiVersion: evhub.dev/v1alpha1
kind: Producer
metadata: { name: orders }
spec: {}
";

    const UNRESOLVED: &str = "\
apiVersion: evhub.dev/v1alpha1
kind: Processor
metadata: { name: billing, namespace: shop }
spec: { producers: [{ name: orders }], target: { url: 'http://127.0.0.1/' } }
";

    pub(super) fn manifests(text: &str) -> Vec<evhub_compile::Object> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), text).unwrap();
        manifests::load(&[dir.path().to_owned()]).unwrap().objects
    }

    fn checked(text: &str) -> Compiled {
        let mut compiled = verdicts(manifests(text), None);
        for origin in compiled.verdicts.iter_mut().filter_map(|verdict| verdict.origin.as_mut()) {
            origin.file = "a.yaml".into();
        }
        compiled
    }

    #[test]
    fn sound_files_are_told_what_is_next() {
        let compiled = checked(SOUND);
        assert!(compiled.is_sound());
        assert_eq!(
            table(&compiled.verdicts, Style::none()),
            "KIND      NAME            VERDICT   WHERE\n\
             Producer  default/orders  accepted  a.yaml:1\n\
             \n1 checked, nothing to mend. Next: evhub dev DIR\n"
        );
    }

    #[test]
    fn findings_follow_with_their_place() {
        let compiled = checked(&format!("{SOUND}---\n{UNRESOLVED}"));
        assert!(!compiled.is_sound());
        assert_eq!(
            table(&compiled.verdicts, Style::none()),
            "KIND       NAME            VERDICT     WHERE\n\
             Producer   default/orders  accepted    a.yaml:1\n\
             Processor  shop/billing    unresolved  a.yaml:6\n\
             \na.yaml:6 shop/billing\n  ResolvedRefs/NotFound  spec.producers[0].name: there is no Producer \
             shop/orders; deliveries begin when there is\n\
             \n2 checked, 1 to mend. Mend what is listed above, then check again.\n"
        );
    }

    #[test]
    fn an_event_is_held_against_every_processor() {
        let resolved = UNRESOLVED.replace("shop", "default");
        let compiled = checked(&format!("{SOUND}---\n{resolved}"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("event.json");
        fs::write(&file, r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","evhubtags":"a"}"#)
            .unwrap();
        let found = matches::find(&compiled.snapshot, &matches::read(&file).unwrap());
        assert_eq!(
            matches::table(&found, Style::none()),
            "PROCESSOR        RECEIVES  WHY                                       PRODUCERS\n\
             default/billing  yes       it receives every event of its Producers  default/orders\n"
        );
        fs::write(&file, "{}").unwrap();
        assert!(matches::read(&file).is_err());
        assert!(matches::read(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn the_shape_for_programs() {
        let found = serde_json::to_value(&checked(&format!("a: [\n---\n{UNRESOLVED}")).verdicts).unwrap();
        let [undecodable, unresolved] = &found.as_array().unwrap()[..] else { panic!("{found}") };
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(undecodable), ["accepted", "file", "findings"]);
        assert_eq!(undecodable["findings"][0]["reason"], "Undecodable");
        assert_eq!(
            *unresolved,
            serde_json::json!({
                "kind": "Processor", "namespace": "shop", "name": "billing", "accepted": true,
                "findings": [{
                    "condition": "ResolvedRefs", "reason": "NotFound", "field": "spec.producers[0].name",
                    "message": "there is no Producer shop/orders; deliveries begin when there is",
                }],
            })
        );
    }
}
