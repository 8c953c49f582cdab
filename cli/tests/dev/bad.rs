//! Bad inputs, each given to the real thing: what it says, and that it is none the worse for it. The rows lie in
//! `bad/inputs.yaml`, which says how they read.

mod call;
mod command;
mod file;
mod hub;
mod request;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use self::{hub::Site, table::table};

/// How much more memory a hub may have after all the bad inputs than before, in KiB: about as much as it began with.
const GROWTH: u64 = 16 << 10;

/// Asserts that no row failed, and shows all that did.
#[track_caller]
fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{} rows:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_input_is_refused_and_the_hub_is_none_the_worse() {
    let table = table();
    let mut site = Site::start();
    let mut wire = request::Wire::connect(site.http);
    for _ in 0..100 {
        request::good(&mut site, &mut wire).unwrap();
        call::fresh(&mut site).await.unwrap();
    }
    let before = site.memory();
    let mut failures = Vec::new();
    for (index, row) in table.requests.iter().enumerate() {
        let checked = request::check(&mut site, index, row);
        failures.extend(checked.err().map(|problem| format!("{} {}: {problem}", row.row, row.what)));
    }
    for (index, row) in table.calls.iter().enumerate() {
        let checked = call::check(&mut site, index, row).await;
        failures.extend(checked.err().map(|problem| format!("{} {}: {problem}", row.row, row.what)));
    }
    for row in &table.frames {
        let checked = call::frames(&mut site, row).await;
        failures.extend(checked.err().map(|problem| format!("{} {}: {problem}", row.row, row.what)));
    }
    none(&failures);
    let grown = site.memory().saturating_sub(before);
    println!("{before} KiB before, {grown} KiB more after");
    assert!(grown < GROWTH, "the hub took {grown} KiB more");
    site.ends_sound();
}

#[test]
fn each_bad_manifest_is_a_verdict_and_the_others_run() {
    none(&file::check(&table().files));
}

#[test]
fn each_bad_command_line_is_refused() {
    let check = |row: &table::Command| {
        command::check(row).map_err(|problem| format!("{} {}: {problem}", row.row, row.what))
    };
    none(&table().commands.iter().map(check).filter_map(Result::err).collect::<Vec<_>>());
}

#[test]
fn every_row_of_the_catalogue_is_shown_or_excused() {
    let table = table();
    let known: BTreeSet<String> = table.catalogue.iter().map(|number| format!("B-{number:02}")).collect();
    let rows = (table.requests.iter().map(|row| &row.row))
        .chain(table.calls.iter().map(|row| &row.row))
        .chain(table.frames.iter().map(|row| &row.row))
        .chain(table.files.iter().map(|row| &row.row))
        .chain(table.commands.iter().map(|row| &row.row))
        .chain(table.elsewhere.iter().map(|row| &row.row));
    let shown: BTreeSet<String> = rows.cloned().collect();
    let mut excused: BTreeMap<&String, &String> = BTreeMap::new();
    for excuse in &table.excused {
        for row in &excuse.rows {
            assert_eq!(excused.insert(row, &excuse.why), None, "{row} is excused twice");
            assert!(!shown.contains(row), "{row} is shown, so it needs no excuse");
        }
    }
    let all: BTreeSet<String> = excused.into_keys().cloned().chain(shown).collect();
    assert_eq!(
        known.difference(&all).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "neither shown nor excused"
    );
    assert_eq!(all.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "of no catalogue");
}

#[test]
fn what_is_shown_elsewhere_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for row in table().elsewhere {
        let text = fs::read_to_string(root.join(&row.file)).unwrap_or_else(|_| panic!("no {}", row.file));
        assert!(!row.tests.is_empty(), "{} names no test", row.row);
        for test in row.tests {
            assert!(text.contains(&format!("fn {test}(")), "{} has no test {test}", row.file);
        }
    }
}
