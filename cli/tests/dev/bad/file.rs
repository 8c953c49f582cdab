//! The rows that are manifests: `evhub check` says what is wrong with each, and so does a hub, which runs the good ones.

use std::fs;

use serde_json::Value;

use super::table::{File, bytes, text};
use crate::{
    process::{evhub, exits, json, out},
    site::{PRODUCER, Site, get},
};

const THERE: &str = "\
apiVersion: evhub.dev/v1alpha1
kind: Producer
metadata: { name: there, namespace: bad }
spec: { topic: { partitions: 1 } }
";

/// All files in one folder: what is said of each is what its row says, beforehand and by a hub that runs all the same.
pub(super) fn check(rows: &[File]) -> Vec<String> {
    let site = Site::new(&format!("{PRODUCER}---\n{THERE}"));
    for (index, row) in rows.iter().enumerate() {
        fs::write(site.dir().join(file(index)), row.written(index)).unwrap();
    }
    let output = exits(1, evhub().arg("check").arg(site.dir()).args(["-o", "json"]));
    let verdicts: Vec<Value> = serde_json::from_str(out(&output)).unwrap();
    let hub = site.start_unready();
    let ready: Value = serde_json::from_str(&get(hub.admin, "/readyz").1).unwrap();
    let receipt = json(&mut hub.ask(&["publish", "orders", "-o", "json"]));
    assert_eq!(receipt["producer"], "shop/orders", "the good ones run");
    let said = hub.stop();
    let unresolved = |row: &File| row.findings.iter().any(|finding| finding.starts_with("ResolvedRefs"));
    let accepted = |row: &File| !row.findings.iter().any(|finding| finding.starts_with("Accepted"));
    let waiting = rows.iter().filter(|row| unresolved(row) && accepted(row)).count();
    assert_eq!(ready["waiting"].as_array().map(Vec::len), Some(waiting), "{ready}");
    let each = rows.iter().enumerate().map(|(index, row)| {
        told(index, row, &verdicts)
            .and_then(|()| logged(index, row, &said))
            .map_err(|problem| format!("{} {}: {problem}", row.row, row.what))
    });
    each.filter_map(Result::err).collect()
}

fn file(index: usize) -> String {
    format!("row-{index:03}.yaml")
}

/// What `check` says of it.
fn told(index: usize, row: &File, verdicts: &[Value]) -> Result<(), String> {
    let is_meant = |verdict: &&Value| {
        verdict["name"] == row.name(index).as_str()
            || verdict["file"].as_str().is_some_and(|path| path.ends_with(&file(index)))
    };
    let verdict = verdicts.iter().find(is_meant).ok_or("check says nothing of it")?;
    let findings = verdict["findings"].as_array().ok_or("no list of findings")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = findings.iter().map(|finding| {
        let field = finding["field"].as_str().map(|field| format!(" {field}")).unwrap_or_default();
        format!("{}/{}{field}", text(&finding["condition"]), text(&finding["reason"]))
    });
    let found: Vec<String> = found.collect();
    if found != row.findings {
        return Err(format!("check finds {found:?}, not {:?} ({verdict:.600})", row.findings));
    }
    let whole = verdict.to_string();
    match row.says.iter().find(|says| !whole.contains(says.as_str())) {
        Some(says) => Err(format!("check says {whole:.600}, not {says}")),
        None if whole.len() > 4096 => Err(format!("check says {} bytes", whole.len())),
        None if row.hides.as_ref().is_some_and(|hides| whole.contains(hides)) => {
            Err(format!("check says {whole}"))
        }
        None => Ok(()),
    }
}

/// What a hub says of it.
fn logged(index: usize, row: &File, said: &[String]) -> Result<(), String> {
    let file = file(index);
    let lines: Vec<_> = said.iter().filter(|line| line.contains(&file)).collect();
    let told = |finding: &&String| {
        // As it is written in a line: the field, then a colon.
        let (reason, field) = finding.split_once(' ').unwrap_or((finding, ""));
        lines.iter().any(|line| line.contains(reason) && line.contains(field))
    };
    if let Some(missing) = row.findings.iter().find(|finding| !told(finding)) {
        return Err(format!("a hub does not say {missing} but {lines:.400?}"));
    }
    if lines.len() != row.findings.len() {
        return Err(format!("a hub says {lines:.400?}"));
    }
    match lines.iter().find(|line| row.hides.as_ref().is_some_and(|hides| line.contains(hides))) {
        Some(line) => Err(format!("a hub says {line}")),
        None => Ok(()),
    }
}

// === impl File ===

impl File {
    fn name(&self, index: usize) -> String {
        text(self.name.as_deref().unwrap_or("NAME")).replace("NAME", &format!("row-{index:03}"))
    }

    fn written(&self, index: usize) -> Vec<u8> {
        if let Some(whole) = &self.whole {
            return bytes(&whole.replace("NAME", &self.name(index)));
        }
        let (kind, spec) = match (&self.producer, &self.processor, &self.target) {
            (Some(spec), ..) => ("Producer", text(spec)),
            (None, Some(spec), _) => ("Processor", text(spec)),
            (None, None, Some(url)) => ("Processor", format!("target: {{ url: '{}' }}", text(url))),
            (None, None, None) => panic!("{} {} has no file", self.row, self.what),
        };
        let given = |word: &str, otherwise: &str| {
            if kind == "Producer" || spec.contains(word) { String::new() } else { format!(", {otherwise}") }
        };
        let producers = given("producers:", "producers: [ { name: there } ]");
        let target = given("target:", "target: { url: 'http://127.0.0.1:9/' }");
        format!(
            "apiVersion: evhub.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: {}, namespace: bad }}\nspec: {{ {spec}{producers}{target} }}\n",
            self.name(index)
        )
        .into_bytes()
    }
}
