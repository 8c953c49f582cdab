//! The whole of what is rendered, file by file of values; `UPDATE=1` writes it anew.

use std::{env, fs};

use evhub_charts::{chart, helm::objects};

use crate::rendered::{cases, helms};

#[test]
fn each_file_of_values_renders_as_it_did_under_either_helm() {
    for (name, values) in cases() {
        let [of_3, of_4] = helms()
            .each_ref()
            .map(|helm| helm.template(&chart(), &values).unwrap().unwrap_or_else(|e| panic!("{name}: {e}")));
        let [of_3, of_4] = [of_3, of_4].map(|text| steady(&text));
        let golden = values.with_file_name(format!("{name}.golden.yaml"));
        if env::var_os("UPDATE").is_some() {
            fs::write(&golden, &of_4).unwrap();
        }
        let kept = fs::read_to_string(&golden).unwrap_or_default();
        assert!(of_4 == kept, "{} is stale: run this test with UPDATE=1", golden.display());
        // They differ in blank lines.
        assert!(objects(&of_3).unwrap() == objects(&of_4).unwrap(), "{name}: Helm 3 and Helm 4 differ");
    }
}

/// With a line's end at its end, as Helm leaves none.
fn steady(text: &str) -> String {
    text.lines().flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn neither_helm_has_anything_against_the_chart() {
    for (name, values) in cases() {
        for helm in helms() {
            let said = helm.lint(&chart(), &values).unwrap();
            assert!(said.is_ok(), "{name}: {said:?}");
        }
    }
}
