//! Topics that a member will read once somebody makes them, and partitions that it will once they are there: then the group is
//! joined anew.

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use evhub_journal::Journal;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::super::shared::Shared;

/// How often is looked whether topics have grown. What is looked at is known here.
const LOOK: Duration = Duration::from_secs(1);

/// What was not there when the group was joined.
pub(super) struct Missing<J> {
    shared: Arc<Shared<J>>,
    inbox: Option<watch::Receiver<bool>>,
    dues: Option<watch::Receiver<Arc<BTreeSet<String>>>>,
    topics: Vec<String>,
    /// When to look whether the Producers' topics have grown, where they were smaller than they are to be.
    grown: Option<Instant>,
}

impl<J: Journal> Missing<J> {
    /// All that is not among these.
    pub(super) fn of(shared: &Arc<Shared<J>>, sources: &[String]) -> Self {
        let joined = &shared.joined;
        let dues = joined.routes.iter().map(|route| &route.due_topic);
        let topics: Vec<String> = dues.filter(|topic| !sources.contains(topic)).cloned().collect();
        let inbox = (!sources.contains(&joined.inbox_topic)).then(|| shared.inbox.clone());
        let dues = (!topics.is_empty()).then(|| shared.dues.clone());
        let grown = (!shared.knows_that_sources_have_grown()).then(|| Instant::now() + LOOK);
        Self { shared: Arc::clone(shared), inbox, dues, topics, grown }
    }

    /// Waits until one of them is there, and says which kind. Cancel-safe.
    pub(super) async fn made(&mut self) -> &'static str {
        let Self { shared, inbox, dues, topics, grown } = self;
        // Where nobody is left who could say so, nothing comes.
        let inbox = async {
            if let Some(inbox) = inbox
                && inbox.wait_for(|made| *made).await.is_ok()
            {
                return;
            }
            pending::<()>().await;
        };
        let dues = async {
            if let Some(dues) = dues
                && dues.wait_for(|made| topics.iter().any(|topic| made.contains(topic))).await.is_ok()
            {
                return;
            }
            pending::<()>().await;
        };
        let grown = async {
            let Some(at) = grown else { return pending().await };
            loop {
                sleep_until(*at).await;
                if shared.knows_that_sources_have_grown() {
                    return;
                }
                *at = Instant::now() + LOOK;
            }
        };
        tokio::select! {
            () = inbox => "an inbox was made",
            () = dues => "a Producer's topic of events come due was made",
            () = grown => "what it reads has grown",
        }
    }
}
