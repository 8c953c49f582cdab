//! Every verb against a hub that runs: how it exits, and which fields programs find in what it prints.

use std::{fs, process::Stdio, thread};

use serde_json::Value;

use crate::{
    process::{eventually, evhub, exits, json, out},
    site::{Hub, PRODUCER, Sink, Site, processor},
};

/// A list's fields of one item, as `name name …`, in order of the alphabet.
#[track_caller]
fn names(value: &Value) -> String {
    let one = value.as_array().map_or(value, |items| items.first().expect("an item"));
    let names: Vec<&str> = one.as_object().expect("an object").keys().map(String::as_str).collect();
    names.join(" ")
}

const LETTER: &str =
    "attempts cause eventId firstAttempt id key lastAttempt offset partition reason source topic type";
const WHOLE: &str = "attempts cause causes dataBase64 eventId firstAttempt generation headers id key lastAttempt offset \
    partition processorUid reason source topic type";
const ID: &str = "evhub.shop.orders:0:0";

#[test]
fn each_verb_exits_as_documented_and_prints_the_documented_fields() {
    let sink = Sink::start(&["--status", "400"]);
    let site = Site::new(&format!("{PRODUCER}---\n{}", processor(&sink.address, "")));
    let hub = site.start();
    let event = ["publish", "orders", "--key", "k", "--data", "{\"n\": 1}", "-o", "json"];
    let receipt = json(&mut hub.ask(&event));
    assert_eq!(names(&receipt), "id offset partition producer");
    eventually("there is a dead letter", || {
        let list = json(&mut hub.ask(&["dead", "list", "billing", "-o", "json"]));
        list.as_array().is_some_and(|list| !list.is_empty()).then_some(())
    });

    let rows: &[(&[&str], i32, &str)] = &[
        (&["status"], 0, "processors producers"),
        (&["dead", "list", "billing"], 0, LETTER),
        (&["dead", "list", "nobody"], 1, ""),
        (&["dead", "show", "billing", ID], 0, WHOLE),
        (&["dead", "show", "billing", "nothing"], 1, ""),
        (&["dead", "redrive", "billing", "--all", "--dry-run"], 0, "id matched"),
        (&["dead", "redrive", "nobody", "--all"], 1, ""),
        (&["resume", "billing"], 0, "name namespace suspendedItself"),
        (&["resume", "nobody"], 1, ""),
        (&["publish", "nobody"], 1, "detail id outcome reason"),
        (&["tail", "nobody"], 1, ""),
        (&["listen", "nobody", "--forward-to", "http://127.0.0.1:9/"], 1, ""),
        (&["version"], 0, "arch os version"),
        (&["status", "-o", "table", "-o", "xml"], 64, ""),
        (&["status", "--server", "http://127.0.0.1:1"], 69, ""),
    ];
    for (line, code, fields) in rows {
        let with_output = if *code == 64 { &[][..] } else { &["-o", "json"] };
        let output = exits(*code, hub.ask(line).args(with_output));
        if fields.is_empty() {
            assert_eq!(out(&output), "", "{line:?}");
            assert!(!output.stderr.is_empty(), "{line:?} says why");
            continue;
        }
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(names(&value), *fields, "{line:?}: {value}");
        // YAML says the same, and a table says something.
        let yaml = exits(*code, hub.ask(line).args(["-o", "yaml"]));
        let first = fields.split(' ').next().unwrap();
        assert!(out(&yaml).contains(first), "{line:?}: {}", out(&yaml));
        assert!(!exits(*code, &mut hub.ask(line)).stderr.is_empty() || *code == 0, "{line:?}");
    }
    let text = out(&exits(0, &mut hub.ask(&["dead", "show", "billing", ID]))).to_owned();
    assert!(text.contains("  data           {\"n\": 1}\n"), "data that is text is shown as text: {text}");
    streams(&hub);
    hub.stop();
}

/// What comes as it comes: one event each, in every form.
fn streams(hub: &Hub) {
    let target = Sink::start(&[]);
    let url = format!("http://{}/", target.address);
    let rows: [(&[&str], &str); 2] = [
        (&["tail", "orders", "--count", "1"], "event key offset partition time"),
        (&["listen", "orders", "--count", "1", "--forward-to", &url], "eventId offset partition status type"),
    ];
    for (line, fields) in rows {
        for (format, wanted) in [("json", fields), ("yaml", "offset:"), ("table", "  ")] {
            let mut command = hub.ask(line);
            let mut child =
                command.args(["-o", format]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let said = child.stdout.take().unwrap();
            let heard = thread::spawn(move || std::io::read_to_string(said).unwrap());
            // It watches from some moment on, so there must be an event after that.
            let status = eventually("it has seen an event", || {
                exits(0, &mut hub.ask(&["publish", "orders", "--key", "k", "--type", "t"]));
                child.try_wait().unwrap()
            });
            assert_eq!(status.code(), Some(0), "{line:?} {format}");
            let heard = heard.join().unwrap();
            match format {
                "json" => {
                    assert_eq!(heard.lines().count(), 1, "{heard}");
                    assert_eq!(names(&serde_json::from_str(&heard).unwrap()), wanted, "{line:?}");
                }
                _ => assert!(heard.contains(wanted), "{line:?} {format}: {heard}"),
            }
        }
    }
}

#[test]
fn a_suspended_processor_is_resumed() {
    let sink = Sink::start(&["--status", "400"]);
    let site = Site::new(&format!("{PRODUCER}---\n{}", processor(&sink.address, "onExhausted: Suspend")));
    let hub = site.start();
    let told = exits(0, &mut hub.ask(&["resume", "billing"]));
    assert_eq!(out(&told), "shop/billing had not suspended itself; there was nothing to resume\n");
    exits(0, &mut hub.ask(&["publish", "orders", "--id", "stuck"]));
    eventually("it is suspended", || {
        let status = json(&mut hub.ask(&["status", "-o", "json"]));
        (status["processors"][0]["suspended"] == true).then_some(())
    });
    let address = sink.address.clone();
    drop(sink);
    let mut sink = Sink::at(&address, &[]);
    assert_eq!(out(&exits(0, &mut hub.ask(&["resume", "billing"]))), "shop/billing goes on\n");
    assert!(sink.attempt("stuck").ends_with("attempt 2  200"));
    hub.stop();
}

#[test]
fn a_check_of_nothing_fails_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    for file in [None, Some("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x }\n")] {
        if let Some(text) = file {
            fs::write(folder.path().join("a.yaml"), text).unwrap();
        }
        let output = exits(1, evhub().args(["check", &path]));
        assert!(
            out(&output).starts_with("nothing to check: no Producer and no Processor"),
            "{}",
            out(&output)
        );
        assert_eq!(out(&exits(1, evhub().args(["check", &path, "-o", "json"]))), "[]\n");
    }
    fs::write(folder.path().join("b.yaml"), PRODUCER).unwrap();
    exits(0, evhub().args(["check", &path]));
}

#[test]
fn colours_are_for_terminals_alone() {
    let site = Site::new(PRODUCER);
    for output in [exits(0, evhub().arg("check").arg(site.dir())), exits(0, evhub().arg("--help"))] {
        assert!(!out(&output).contains('\u{1b}'), "{}", out(&output));
    }
    // `script` gives it a terminal, forty columns wide; not every machine has it.
    let line =
        format!("stty cols 40 rows 20; {} check {}", env!("CARGO_BIN_EXE_evhub"), site.dir().display());
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm");
    for (no_colour, coloured) in [("", true), ("1", false)] {
        let Ok(output) = terminal.env("NO_COLOR", no_colour).stdin(Stdio::null()).output() else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.contains('\u{1b}'), coloured, "{text}");
        let row = text.lines().find(|line| line.contains("Producer ")).unwrap_or_else(|| panic!("{text}"));
        assert!(row.contains('…'), "a long row is cut to the terminal: {row}");
    }
}
