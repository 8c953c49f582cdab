//! The programs know every flag that the chart gives them.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::rendered::{cases, objects, texts};

/// The flags that pods of a program are given, in any case.
fn given(image: &str) -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    for (_, values) in cases() {
        for object in objects(&values) {
            let pod =
                if object["kind"] == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] };
            for container in pod["containers"].as_array().map_or(&[][..], Vec::as_slice) {
                let is_ours = container["image"]
                    .as_str()
                    .is_some_and(|name| name.split([':', '@']).next().unwrap().ends_with(image));
                let named = |word: &&str| word.starts_with("--");
                let flag = |word: &str| word.split('=').next().unwrap().to_owned();
                let words = if is_ours { texts(&container["args"]) } else { Vec::new() };
                flags.extend(words.into_iter().filter(named).map(flag));
            }
        }
    }
    flags
}

/// A program of this profile: beside this test's own folder, where building the tests of the workspace put it.
fn program(name: &str) -> PathBuf {
    let mine = env::current_exe().unwrap();
    mine.parent().and_then(Path::parent).unwrap().join(name)
}

fn help(program: &Path, words: &[&str]) -> String {
    let output = Command::new(program).args(words).arg("--help").output();
    let output =
        output.unwrap_or_else(|error| panic!("{}: {error}: build the workspace first", program.display()));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn knows(program_name: &str, words: &[&str]) {
    let help = help(&program(program_name), words);
    let known: BTreeSet<&str> =
        help.split([' ', '\n', ',', '=', '[']).filter(|word| word.starts_with("--")).collect();
    let given = given(&format!("/{program_name}"));
    assert!(given.len() > 1, "{given:?}");
    for flag in given {
        assert!(known.contains(flag.as_str()), "{program_name} does not know {flag}");
    }
}

#[test]
fn the_dataplane_knows_its_flags() {
    knows("evhub-dataplane", &[]);
}

#[test]
fn the_operator_knows_its_flags() {
    knows("evhub-operator", &[]);
}

#[test]
fn the_tool_knows_the_flags_of_the_test() {
    knows("evhub", &["publish"]);
}

/// What the configuration names must be in the volumes that are mounted where it says.
#[test]
fn every_file_that_kafka_settings_name_is_mounted() {
    for (case, values) in cases() {
        let objects = objects(&values);
        let Some(config) = objects
            .iter()
            .find(|object| object["kind"] == "ConfigMap" && object["data"]["client.properties"].is_string())
        else {
            continue;
        };
        let text = config["data"]["client.properties"].as_str().unwrap();
        let deployment = objects
            .iter()
            .find(|object| {
                object["kind"] == "Deployment"
                    && object["metadata"]["name"].as_str().unwrap().ends_with("-dataplane")
            })
            .unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        for (name, path) in text
            .lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(name, _)| name.ends_with(".location"))
        {
            assert!(mounted(pod, path), "{case}: {name}={path}");
        }
    }
}

fn mounted(pod: &Value, path: &str) -> bool {
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    mounts.iter().any(|mount| {
        let Some(file) = path.strip_prefix(mount["mountPath"].as_str().unwrap()) else { return false };
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let sources = volume["projected"]["sources"].as_array().map_or(&[][..], Vec::as_slice);
        let items =
            sources.iter().flat_map(|source| source["secret"]["items"].as_array().into_iter().flatten());
        items.into_iter().any(|item| item["path"] == file.trim_start_matches('/'))
    })
}
