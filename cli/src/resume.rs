//! `evhub resume`: a Processor that suspended itself goes on. Tells the hub.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{
    client::{Client, path},
    exit::Exit,
    name::Reference,
    output,
};

/// Let a Processor go on that suspended itself
///
/// With `onExhausted: Suspend` a Processor stops at an event whose last permitted attempt failed. Resumed, it gives that
/// event one more attempt, and stops again if that fails. `spec.suspend` is the author's own and is not touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  evhub resume -n shop billing")]
pub(crate) struct Args {
    /// The Processor: NAME or NAMESPACE/NAME
    processor: Reference,
    #[command(flatten)]
    output: output::Options,
}

/// What is needed of a Processor's status.
#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    r#type: String,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resumed {
    namespace: String,
    name: String,
    /// Whether it had.
    suspended_itself: bool,
}

/// Resumes it.
pub(crate) async fn run(client: &Client, namespace: &str, args: Args) -> anyhow::Result<Exit> {
    let processor = args.processor.within(namespace);
    let intent = || format!("could not resume {processor}");
    let of = path(&processor.namespace, &["processors", &processor.name]);
    let Status { conditions } = client.get(&of).await.with_context(intent)?;
    client.tell(&format!("{of}/resume")).await.with_context(intent)?;
    // By its author it is suspended for another reason, and goes on when the author says so.
    let itself = |one: &Condition| one.r#type == "Suspended" && one.reason == "Exhausted";
    let suspended_itself = conditions.iter().any(itself);
    let (namespace, name) = (processor.namespace.clone(), processor.name.clone());
    output::value(args.output.output, &Resumed { namespace, name, suspended_itself }, || {
        let what = if suspended_itself {
            "goes on"
        } else {
            "had not suspended itself; there was nothing to resume"
        };
        format!("{processor} {what}\n")
    })?;
    Ok(Exit::Success)
}
