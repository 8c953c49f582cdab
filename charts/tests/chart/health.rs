//! What Argo CD makes of a resource's conditions, in the Lua that it runs.

use std::{fs, process::Command};

use evhub_charts::{folder, program::LUA};
use serde_json::Value;

#[test]
fn each_state_has_its_health() {
    let lua = LUA.fetch().unwrap();
    let cases: Value =
        serde_saphyr::from_str(&fs::read_to_string(folder().join("tests/data/health.yaml")).unwrap())
            .unwrap();
    let check = fs::read_to_string(folder().join("argocd/health.lua")).unwrap();
    for case in cases.as_array().unwrap() {
        let script = tempfile::Builder::new().suffix(".lua").tempfile().unwrap();
        let object = literal(&case["object"]);
        let text = format!(
            "obj = {object}\nlocal check = function()\n{check}\nend\nlocal said = check()\nprint(said.status)\nassert(type(said.message) == 'string')\n"
        );
        fs::write(script.path(), text).unwrap();
        let output = Command::new(&lua).arg(script.path()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let problem = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && problem.is_empty(), "{}: {problem}{said}", case["it"]);
        assert_eq!(said.trim(), case["health"].as_str().unwrap(), "{}", case["it"]);
    }
}

/// JSON as a literal of Lua's.
fn literal(value: &Value) -> String {
    let joined = |items: Vec<String>| format!("{{ {} }}", items.join(", "));
    match value {
        Value::Object(map) => {
            joined(map.iter().map(|(key, value)| format!("[{key:?}] = {}", literal(value))).collect())
        }
        Value::Array(items) => joined(items.iter().map(literal).collect()),
        Value::Null => "nil".to_owned(),
        other => other.to_string(),
    }
}
