//! What the other tests look at: the chart as rendered from files of values.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use evhub_charts::{
    chart, folder,
    helm::{self, Helm},
    program::{HELM_3, HELM_4},
};
use serde_json::Value;

/// The Helms that people have.
pub(crate) fn helms() -> &'static [Helm; 2] {
    static HELMS: OnceLock<[Helm; 2]> = OnceLock::new();
    HELMS.get_or_init(|| [HELM_3, HELM_4].map(|program| Helm::of(&program).unwrap()))
}

/// The files of values, with their names.
pub(crate) fn cases() -> Vec<(String, PathBuf)> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder().join("tests/data")).unwrap() {
        let path = entry.unwrap().path();
        if let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".values.yaml") {
            cases.push((name.to_owned(), path.clone()));
        }
    }
    cases.sort();
    assert!(cases.len() >= 6, "{cases:?}");
    cases
}

/// The objects of a case, as the newest Helm renders them; each is rendered once.
#[track_caller]
pub(crate) fn objects(values: &Path) -> Vec<Value> {
    static CASES: OnceLock<BTreeMap<PathBuf, Vec<Value>>> = OnceLock::new();
    let cases =
        CASES.get_or_init(|| cases().into_iter().map(|(_, path)| (path.clone(), render(&path))).collect());
    cases.get(values).cloned().unwrap_or_else(|| render(values))
}

#[track_caller]
fn render(values: &Path) -> Vec<Value> {
    let rendered = helms()[1].template(&chart(), values).unwrap().unwrap();
    helm::objects(&rendered).unwrap()
}

/// The objects that a text of values makes.
#[track_caller]
pub(crate) fn objects_of(values: &str) -> Vec<Value> {
    objects(file(values).path())
}

/// What Helm has against a text of values, or nothing.
pub(crate) fn problem_of(values: &str) -> Option<String> {
    let file = file(values);
    let [of_3, of_4] = helms().each_ref().map(|helm| helm.template(&chart(), file.path()).unwrap().err());
    assert_eq!(of_3.is_some(), of_4.is_some(), "{values}: {of_3:?} and {of_4:?}");
    of_4
}

fn file(values: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    fs::write(file.path(), values).unwrap();
    file
}

/// All objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Kind and name, for messages.
pub(crate) fn name(object: &Value) -> String {
    format!(
        "{} {}",
        object["kind"].as_str().unwrap_or("?"),
        object["metadata"]["name"].as_str().unwrap_or("?")
    )
}

/// The texts of a list.
pub(crate) fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str).collect()
}
