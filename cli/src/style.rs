//! Colours, only where a person looks.

use std::{env, io, io::IsTerminal};

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

/// Paints, or leaves text alone when its reader is no terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colours: bool,
}

/// Whether the environment lets us use colours at all.
pub(crate) fn wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|t| t != "dumb")
}

impl Style {
    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self { colours: io::stdout().is_terminal() && wanted() }
    }

    /// For files, pipes and tests.
    pub(crate) fn none() -> Self {
        Self { colours: false }
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
        assert_eq!(Style { colours: true }.paint(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
        assert_eq!(Style { colours: true }.paint(Tone::Plain, "so"), "so");
        assert_eq!(Style::none().paint(Tone::Bad, "no"), "no");
    }
}
