//! How a command ends: which error has which exit code, and the one place where errors are printed. Writes to standard error.

use std::{fmt::Write as _, process::ExitCode};

pub(crate) use evhub_lifecycle::exit::{Configuration, Exit};

use crate::{client, output};

/// A command line that parses and still makes no sense; exits 64.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Ends a command: prints an error's chain and what to do about it, and picks the code.
pub(crate) fn conclude(outcome: anyhow::Result<Exit>) -> ExitCode {
    let exit = match outcome {
        Ok(exit) => exit,
        // Whoever closed our output has read enough; that is how `| head` ends.
        Err(error) if find::<output::Closed>(&error).is_some() => Exit::Success,
        Err(error) => {
            eprint!("{}", explain(&error));
            code(&error)
        }
    };
    ExitCode::from(exit as u8)
}

/// Ends a command whose line did not parse, or that only asked for help.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when this cannot be written.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Success } as u8)
}

fn code(error: &anyhow::Error) -> Exit {
    if find::<Usage>(error).is_some() {
        Exit::Usage
    } else if find::<Configuration>(error).is_some() {
        Exit::Configuration
    } else if find::<client::Error>(error).is_some_and(client::Error::is_unreachable)
        || find::<client::forward::Error>(error).is_some()
    {
        Exit::Unreachable
    } else {
        Exit::Failed
    }
}

/// From intent to cause, a line each, then the next step.
fn explain(error: &anyhow::Error) -> String {
    let mut text = evhub_lifecycle::exit::explain(error.as_ref());
    if let Some(hint) = find::<client::Error>(error).and_then(client::Error::hint) {
        let _ = writeln!(text, "help: {hint}");
    }
    text
}

fn find<E: std::error::Error + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_prints_from_intent_to_cause() {
        let error = anyhow::Error::new(Usage("no events asked for".to_owned())).context("could not publish");
        assert_eq!(explain(&error), "error: could not publish\n  because: no events asked for\n");
        assert_eq!(code(&error), Exit::Usage);
    }

    #[test]
    fn a_configuration_lists_every_problem() {
        let problems = ["a.yaml: is empty", "b.yaml: is a folder"].map(ToOwned::to_owned).to_vec();
        let error = anyhow::Error::new(Configuration(problems)).context("could not load examples");
        let text = "error: could not load examples\n  because: the configuration cannot be used\n    \
            a.yaml: is empty\n    b.yaml: is a folder\n";
        assert_eq!(explain(&error), text);
        assert_eq!(code(&error), Exit::Configuration);
    }

    #[test]
    fn any_other_error_is_a_failure() {
        assert_eq!(code(&anyhow::anyhow!("the disk is full")), Exit::Failed);
    }
}
