//! Who writes transactions: everything of one goes into one frame, in the name of an epoch. Does I/O.

use evhub_event::Record;

use super::{
    Embedded, gone,
    request::{Commit, Request, Work},
    tail::EmbeddedMember,
};
use crate::{CommitError, Error, Place, Position, Producer, Refusal, TransactError, Transaction};

/// What one transaction may hold: far more than a batch of timers, and little enough that nobody waits long behind it.
const MOST_BYTES: usize = 16 << 20;

/// The producer of a transactional id on the embedded log.
#[derive(Debug)]
pub struct EmbeddedProducer {
    log: Embedded,
    id: String,
    epoch: u64,
    /// Whether a transaction of it did not end well, or was left before its end.
    spent: bool,
}

impl EmbeddedProducer {
    pub(super) async fn new(log: Embedded, id: &str) -> Result<Self, Error> {
        let id = id.to_owned();
        let asked = log.ask(|reply| Request::Produce { id: id.clone(), reply });
        let epoch = asked.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { log, id, epoch, spent: false })
    }

    fn work(&self, transaction: Transaction<EmbeddedMember>) -> Result<Work, TransactError> {
        let Transaction { records, offsets } = transaction;
        let draft = |(topic, place, record): &(String, Place, Record)| {
            self.log.draft(topic, place, record).map(|(part, _, draft)| (part, draft))
        };
        let records: Vec<_> =
            records.iter().map(draft).collect::<Result<_, _>>().map_err(TransactError::Rejected)?;
        let size = records.iter().map(|(_, draft)| draft.len()).sum();
        if size > MOST_BYTES {
            return Err(TransactError::Rejected(Refusal::TooLarge { size, limit: MOST_BYTES }));
        }
        let offsets = match offsets {
            None => None,
            Some((EmbeddedMember { group, generation }, offsets)) => {
                let checked = self.log.offsets(offsets).map_err(|error| match error {
                    CommitError::Rejected(why) => TransactError::Rejected(Refusal::Unavailable(why)),
                    CommitError::Stale { mine, current } => TransactError::Stale { mine, current },
                    CommitError::Unknown(why) => TransactError::Unknown(why),
                });
                Some(Commit { group: group.to_string(), generation, offsets: checked? })
            }
        };
        Ok(Work { id: self.id.clone(), epoch: self.epoch, records, offsets })
    }
}

impl Producer for EmbeddedProducer {
    type Member = EmbeddedMember;

    async fn commit(
        &mut self,
        transaction: Transaction<EmbeddedMember>,
    ) -> Result<Vec<Position>, TransactError> {
        if std::mem::replace(&mut self.spent, true) {
            let why = "an earlier transaction of this producer did not end well".to_owned();
            return Err(TransactError::Rejected(Refusal::Unavailable(why)));
        }
        let work = self.work(transaction)?;
        let asked = self.log.ask(|reply| Request::Transact { work, reply });
        let ended = asked.await.unwrap_or_else(|_| Err(TransactError::Unknown(gone().to_string())));
        self.spent = ended.is_err();
        ended
    }
}
