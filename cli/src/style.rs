//! Colours, and lines cut to what fits, only where a person looks.

use std::{borrow::Cow, io, io::IsTerminal};

use evhub_telemetry::logging::colours;
use unicode_width::UnicodeWidthChar as _;

/// How a piece of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look, not yet wrong.
    Warning,
    /// Wrong.
    Bad,
    /// A heading.
    Strong,
    /// Of lesser interest.
    Faint,
    /// Nothing in particular.
    Plain,
}

/// Paints and cuts, or leaves text alone when its reader is no terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colours: bool,
    /// How many columns there are.
    width: Option<usize>,
}

impl Style {
    /// For standard output.
    pub(crate) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let columns = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self { colours: terminal && colours(), width: terminal.then(columns).flatten() }
    }

    /// For files, pipes and tests.
    pub(crate) fn none() -> Self {
        Self { colours: false, width: None }
    }

    /// A line that must not wrap: one that is too long ends in an ellipsis.
    pub(crate) fn fit(self, line: &str) -> Cow<'_, str> {
        let columns = |c: char| c.width().unwrap_or(0);
        let Some(width) = self.width.filter(|width| line.chars().map(columns).sum::<usize>() > *width) else {
            return Cow::Borrowed(line);
        };
        let mut left = width.saturating_sub(1);
        let fits = |c: &char| {
            let fits = columns(*c) <= left;
            left = left.saturating_sub(columns(*c));
            fits
        };
        let kept: String = line.chars().take_while(fits).collect();
        Cow::Owned(kept + "…")
    }

    /// The text in its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Plain => "",
        };
        if self.colours && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_terminals_get_colours() {
        let coloured = Style { colours: true, width: None };
        assert_eq!(coloured.paint(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
        assert_eq!(coloured.paint(Tone::Plain, "so"), "so");
        assert_eq!(Style::none().paint(Tone::Bad, "no"), "no");
    }

    #[test]
    fn lines_are_cut_to_the_terminal_and_nowhere_else() {
        let narrow = Style { colours: false, width: Some(5) };
        for (line, expected) in
            [("short", "short"), ("longer", "long…"), ("äöüß!?", "äöüß…"), ("日本語", "日本…"), ("", "")]
        {
            assert_eq!(narrow.fit(line), expected);
        }
        assert_eq!(Style::none().fit("as long as it likes"), "as long as it likes");
    }
}
