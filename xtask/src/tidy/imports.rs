//! Holds the workspace against the import table. Pure.

use super::{
    Problem,
    rules::{Ours, ROWS, Row, Tests},
    workspace::{Crate, Declared},
};

/// Every import that the table forbids, and every crate that it does not know.
pub(crate) fn check(workspace: &[Crate]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for krate in workspace {
        let manifest = format!("{}Cargo.toml", krate.folder);
        let found = match ROWS.iter().find(|row| row.name == krate.name) {
            Some(row) => violations(krate, row),
            None => vec![format!("{} has no row in the import table (xtask/src/tidy/rules.rs)", krate.name)],
        };
        problems.extend(found.into_iter().map(|text| Problem::new(&manifest, 1, text)));
    }
    problems
}

fn violations(krate: &Crate, row: &Row) -> Vec<String> {
    let uses = krate
        .declares
        .iter()
        .filter(|dependency| {
            is_bound(dependency, row) && is_ours(&dependency.name) && !allows(row, &dependency.name)
        })
        .map(|dependency| format!("{} may not use {}", krate.name, dependency.name));
    let sights = row.never.iter().copied().flatten().filter_map(|package| {
        let chain = krate.sees.get(*package)?;
        Some(format!("{} must never see {package} (by {})", krate.name, chain.join(" → ")))
    });
    uses.chain(sights).collect()
}

fn is_bound(dependency: &Declared, row: &Row) -> bool {
    dependency.kind.is_none() || row.tests == Tests::Bound
}

fn is_ours(package: &str) -> bool {
    package == "evhub" || package.starts_with("evhub-") || package == "xtask"
}

fn allows(row: &Row, package: &str) -> bool {
    match row.may_use {
        Ours::Only(these) => these.contains(&package),
        Ours::AllBut(these) => !these.contains(&package),
    }
}

#[cfg(test)]
mod tests;
