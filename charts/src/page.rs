//! The chart's README: what it is, and a table of everything that it can be told, made from `values.yaml`. Pure.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// What begins a comment that is a row of the table.
const MARK: &str = "# -- ";

/// One row: a value, what it is unless said, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The way to it, as `--set` has it.
    pub path: String,
    /// What it is where nothing is said, as JSON.
    pub default: String,
    /// What it does.
    pub meaning: String,
}

/// The rows, in their order. Whatever stands in the values must be told of, by itself or as part of what holds it.
pub fn rows(values: &str) -> Result<Vec<Row>> {
    let all: Value = serde_saphyr::from_str(values).context("read the values")?;
    let (mut rows, mut path, mut meaning) = (Vec::new(), Vec::<(usize, String)>::new(), String::new());
    let mut told: Option<usize> = None;
    for line in values.lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some(begun) = text.strip_prefix(MARK) {
            begun.trim().clone_into(&mut meaning);
        } else if let Some(more) = text.strip_prefix('#').filter(|_| !meaning.is_empty()) {
            let _ = write!(meaning, " {}", more.trim());
        } else if let Some((key, rest)) = text.split_once(':').filter(|_| !text.starts_with('#')) {
            path.retain(|(other, _)| *other < depth);
            path.push((depth, key.to_owned()));
            if told.is_some_and(|at| depth <= at) {
                told = None;
            }
            let keys: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
            let name = keys.join(".");
            if !meaning.is_empty() {
                let default =
                    keys.iter().try_fold(&all, |value, key| value.get(key)).context("find a value")?;
                rows.push(Row {
                    path: name,
                    default: default.to_string(),
                    meaning: std::mem::take(&mut meaning),
                });
                told = Some(depth);
            } else if !rest.trim().is_empty() && told.is_none() {
                bail!("{name}: nothing says what it does");
            }
        }
    }
    ensure!(meaning.is_empty(), "a comment stands before nothing: {meaning}");
    Ok(rows)
}

/// The page: what stands before the table, and the table.
pub fn page(head: &str, values: &str) -> Result<String> {
    let mut page = format!("{}\n\n| value | unless said | what |\n|---|---|---|\n", head.trim_end());
    for Row { path, default, meaning } in rows(values)? {
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(page, "| `{path}` | `{}` | {} |", cell(&default), cell(&meaning));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_rows() {
        let values = "# No row.\n# -- One\n# goes on\none: 1\ntwo:\n  # -- Three, with all it holds\n  three: { four: 4 }\n  # -- Five\n  five:\n    six: 6\n";
        let row = |path: &str, default: &str, meaning: &str| Row {
            path: path.into(),
            default: default.into(),
            meaning: meaning.into(),
        };
        let expected = vec![
            row("one", "1", "One goes on"),
            row("two.three", r#"{"four":4}"#, "Three, with all it holds"),
            row("two.five", r#"{"six":6}"#, "Five"),
        ];
        assert_eq!(rows(values).unwrap(), expected);
    }

    #[test]
    fn what_nobody_tells_of_is_found() {
        let problem = rows("a:\n  # -- B\n  b: 1\n  c: 2\n").unwrap_err().to_string();
        assert!(problem.starts_with("a.c: "), "{problem}");
        assert!(rows("# -- Nothing\n").is_err());
    }
}
