//! What goes to standard output: text, tables, JSON and YAML. A reader that leaves early is no error.

use std::io::{self, Write as _};

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{Table as Grid, presets};
pub(crate) use evhub_lifecycle::exit::printable;
use serde::Serialize;

use crate::style::{Style, Tone};

/// How to print what is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// The option of every verb that lists something.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Standard output was closed by its reader.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct Closed;

/// Rows under headings, without lines between them, so that cells can be copied.
#[derive(Debug)]
pub(crate) struct Table {
    grid: Grid,
    tones: Vec<Tone>,
}

/// Writes text as it is.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        result => result.context("could not write to standard output"),
    }
}

/// Writes a value, as a table (made only when asked for) or whole.
pub(crate) fn value<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    text(&match format {
        Format::Table => table(),
        Format::Json => json(value)?,
        Format::Yaml => yaml(value)?,
    })
}

/// One of many values, for whoever reads them as they come: a line of JSON, or a document of YAML.
pub(crate) fn each<T: Serialize>(format: Format, value: &T) -> anyhow::Result<String> {
    match format {
        Format::Yaml => Ok(format!("---\n{}", yaml(value)?)),
        Format::Json | Format::Table => {
            Ok(serde_json::to_string(value).context("could not write JSON")? + "\n")
        }
    }
}

/// A value as indented JSON, with a line's end.
pub(crate) fn json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value).context("could not write JSON")? + "\n")
}

/// A value as YAML, with a line's end.
pub(crate) fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    let text = serde_saphyr::to_string(value).context("could not write YAML")?;
    Ok(text.trim_end().to_owned() + "\n")
}

// === impl Table ===

impl Table {
    /// An empty table with these headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut grid = Grid::new();
        grid.load_preset(presets::NOTHING).set_header(headings);
        let mut table = Self { grid, tones: Vec::new() };
        table.pad(N);
        table
    }

    /// Adds a row; as many cells as there are headings.
    pub(crate) fn row<const N: usize>(&mut self, tone: Tone, cells: [String; N]) {
        self.grid.add_row(cells.map(|cell| printable(&cell)));
        self.tones.push(tone);
    }

    /// The table as lines, none of which wraps in a terminal: what may be long belongs in the last column.
    pub(crate) fn render(&self, style: Style) -> String {
        let tones = [Tone::Strong].into_iter().chain(self.tones.iter().copied());
        let lines: Vec<_> = self.grid.lines().collect();
        lines
            .iter()
            .zip(tones)
            .map(|(line, tone)| style.paint(tone, &style.fit(line.trim_end())) + "\n")
            .collect()
    }

    fn pad(&mut self, columns: usize) {
        for column in self.grid.column_iter_mut().take(columns) {
            column.set_padding((0, 2));
        }
    }
}

/// A cell for what may be unknown.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_headings_and_no_lines() {
        let mut table = Table::new(["NAME", "LAG"]);
        table.row(Tone::Good, ["shop/billing".to_owned(), "12".to_owned()]);
        table.row(Tone::Bad, ["a\u{1b}[2Jb\nc".to_owned(), or_dash(None::<u32>)]);
        assert_eq!(
            table.render(Style::none()),
            "NAME            LAG\nshop/billing    12\na\\u{1b}[2Jb\\nc  -\n"
        );
    }

    #[test]
    fn values_print_whole() {
        let value = serde_json::json!([{"id": "a", "attempts": 3}]);
        assert_eq!(json(&value).unwrap(), "[\n  {\n    \"attempts\": 3,\n    \"id\": \"a\"\n  }\n]\n");
        assert_eq!(yaml(&value).unwrap(), "- attempts: 3\n  id: a\n");
    }
}
