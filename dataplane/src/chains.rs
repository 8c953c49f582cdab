//! Tells the ledger that a Processor wants no more of a repeated event. Asks the ledger.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use evhub_dispatch::chains::Chains;
use evhub_journal::{ClusterSettings, Journal};
use evhub_ledger::{
    Answer, Command, TimerId,
    command::{Mute, Verb},
};
use evhub_routing::Processor;
use tokio::time::timeout;

use crate::Hub;

/// How long the ledger may take; the target is asked again then.
const PATIENCE: Duration = Duration::from_secs(20);

/// The ledger, as workers see it.
pub(crate) struct Ledger<J: Journal>(pub(crate) Hub<J>);

impl<J: Journal> fmt::Debug for Ledger<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

impl<J: Journal> Chains for Ledger<J> {
    fn cancel<'a>(
        &'a self,
        processor: &'a Processor,
        topic: &'a str,
        timer: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(async move {
            let id: TimerId = timer.parse().map_err(|_| format!("{timer:?} is no timer"))?;
            let receives =
                |one: &&std::sync::Arc<Processor>| one.routes.iter().any(|route| route.due_topic == topic);
            let running = self.0.running();
            let all = running.processors.values().filter(receives).map(|one| one.uid.clone()).collect();
            let verb = Verb::Mute(Mute { processor: processor.uid.clone(), all });
            let asked = self.0.ledger.ask(Command { id, verb }, 0, ClusterSettings::default());
            match timeout(PATIENCE, asked).await {
                // What has ended, or is none that repeats, does not come again.
                Ok(Ok(Answer::Cancelled | Answer::AlreadyFired | Answer::Unknown)) => Ok(()),
                Ok(Ok(Answer::TooMany)) => {
                    // Its firings are discarded one by one, as this one is.
                    tracing::warn!(processor = %processor.name, timer, "too many Processors have cancelled a repeated event");
                    Ok(())
                }
                Ok(Ok(answer)) => Err(format!("the ledger said {answer:?}")),
                Ok(Err(trouble)) => Err(trouble.to_string()),
                Err(_) => Err(format!("the ledger did not answer within {PATIENCE:?}")),
            }
        })
    }
}
