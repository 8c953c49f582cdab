//! Topics that a member will read once somebody makes them: then the group is joined anew.

use std::{collections::BTreeSet, future::pending, sync::Arc};

use evhub_journal::Journal;
use tokio::sync::watch;

use super::super::shared::Shared;

/// What was not there when the group was joined.
pub(super) struct Missing {
    inbox: Option<watch::Receiver<bool>>,
    dues: Option<watch::Receiver<Arc<BTreeSet<String>>>>,
    topics: Vec<String>,
}

impl Missing {
    /// All that is not among these.
    pub(super) fn of<J: Journal>(shared: &Shared<J>, sources: &[String]) -> Self {
        let joined = &shared.joined;
        let dues = joined.routes.iter().map(|route| &route.due_topic);
        let topics: Vec<String> = dues.filter(|topic| !sources.contains(topic)).cloned().collect();
        let inbox = (!sources.contains(&joined.inbox_topic)).then(|| shared.inbox.clone());
        let dues = (!topics.is_empty()).then(|| shared.dues.clone());
        Self { inbox, dues, topics }
    }

    /// Waits until one of them is made, and says which kind. Cancel-safe.
    pub(super) async fn made(&mut self) -> &'static str {
        let Self { inbox, dues, topics } = self;
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
        tokio::select! {
            () = inbox => "an inbox was made",
            () = dues => "a Producer's topic of events come due was made",
        }
    }
}
