//! Alerts and dashboard speak of metrics that there are, and every alert of a runbook that there is.

use std::{collections::BTreeSet, fs};

use evhub_charts::{chart, folder};
use regex_lite::Regex;
use serde_json::Value;

fn docs(name: &str) -> String {
    fs::read_to_string(folder().join("../docs").join(name)).unwrap()
}

fn alerts() -> Vec<Value> {
    let text = fs::read_to_string(chart().join("files/alerts.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The metrics that a text names; those of a histogram by its own name.
fn metrics(text: &str) -> BTreeSet<String> {
    let names = Regex::new(r"\bevhub_[a-z_]+").unwrap();
    let plain = |name: &str| name.trim_end_matches("_bucket").to_owned();
    names.find_iter(text).map(|found| plain(found.as_str())).collect()
}

/// Those of the operator, which its page names without what they begin with.
fn of_the_operator() -> Vec<String> {
    let page = docs("operator.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Metrics")).unwrap();
    let names = Regex::new("`([a-z_]+)`").unwrap();
    let whole = |found: regex_lite::Captures<'_>| format!("evhub_operator_{}", &found[1]);
    names.captures_iter(section).map(whole).collect()
}

#[track_caller]
fn exist(file: &str, at_least: usize) {
    let documented: BTreeSet<String> =
        metrics(&docs("metrics.md")).into_iter().chain(of_the_operator()).collect();
    let named = metrics(&fs::read_to_string(chart().join(file)).unwrap());
    assert!(named.len() >= at_least, "{named:?}");
    // The page has counters as they are registered; what is scraped ends in `_total`.
    let is_known =
        |name: &&String| documented.contains(*name) || documented.contains(name.trim_end_matches("_total"));
    let unknown: Vec<_> = named.iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{file}: docs/metrics.md knows no {unknown:?}");
}

#[test]
fn alerts_and_dashboard_speak_of_metrics_that_there_are() {
    exist("files/alerts.yaml", 15);
    exist("files/dashboards/evhub.json", 20);
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let page = docs("runbooks.md");
    let sections: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## Evhub")).collect();
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts
        .iter()
        .map(|alert| alert["alert"].as_str().unwrap())
        .filter_map(|name| name.strip_prefix("Evhub"))
        .collect();
    assert_eq!(names, sections);
    assert_eq!(names.len(), alerts.len(), "a name is there twice");
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_it_means() {
    for alert in alerts() {
        let name = &alert["alert"];
        assert!(["warning", "critical"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{name}");
        for text in ["summary", "description"] {
            assert!(
                alert["annotations"][text].as_str().is_some_and(|text| text.len() > 15),
                "{name}: {text}"
            );
        }
    }
}
