//! Reading events back from where their records lie in the state. I/O.

use evhub_journal::{Error, Journal, TopicPartition};
use futures_util::future::join_all;

use crate::{TimerId, state::Entry, timer::Timer};

/// Records that lie no further apart than this are read as one: a read has its price.
const APART: u64 = 64;
/// How many records, and about how many bytes of them, one read brings.
const READ: (u64, usize) = (1_024, 1 << 20);

/// Timers, and where their records lie.
type Places = Vec<(TimerId, u64)>;

/// Reads these timers; `None` is one that does not lie where it should.
pub(super) async fn fetch<J: Journal>(
    journal: &J,
    at: &TopicPartition,
    places: Places,
) -> Result<Vec<(TimerId, Option<Timer>)>, Error> {
    let read = join_all(stretches(places).into_iter().map(|places| stretch(journal, at, places))).await;
    let read: Result<Vec<_>, _> = read.into_iter().collect();
    Ok(read?.into_iter().flatten().collect())
}

/// Cuts places into stretches that are read as one.
fn stretches(mut places: Places) -> Vec<Places> {
    places.sort_unstable_by_key(|(_, offset)| *offset);
    // A record is handed out once.
    places.dedup();
    let mut stretches: Vec<Places> = Vec::new();
    for place in places {
        let goes_on = |stretch: &&mut Places| {
            let (first, last) =
                (stretch.first().map_or(0, |(_, at)| *at), stretch.last().map_or(0, |(_, at)| *at));
            place.1 - last <= APART && place.1 - first < READ.0
        };
        match stretches.last_mut().filter(goes_on) {
            Some(stretch) => stretch.push(place),
            None => stretches.push(vec![place]),
        }
    }
    stretches
}

async fn stretch<J: Journal>(
    journal: &J,
    at: &TopicPartition,
    places: Places,
) -> Result<Vec<(TimerId, Option<Timer>)>, Error> {
    let Some(last) = places.last().map(|(_, offset)| *offset) else { return Ok(Vec::new()) };
    let mut read = Vec::with_capacity(places.len());
    let mut places = places.into_iter().peekable();
    while let Some(from) = places.peek().map(|(_, offset)| *offset) {
        let most = usize::try_from(last - from).unwrap_or(usize::MAX).saturating_add(1);
        let slice = journal.read(at, from, most, READ.1).await?;
        let mut records = slice.records.into_iter().peekable();
        // As far as this read has come, and one in any case.
        while let Some((id, offset)) = places.next_if(|(_, offset)| *offset < slice.next || *offset == from) {
            while records.next_if(|stored| stored.offset < offset).is_some() {}
            let entry = records.next_if(|stored| stored.offset == offset);
            let entry = entry.and_then(|stored| Entry::decode(&stored.record).ok());
            read.push(match entry {
                Some(Entry::Pending(timer)) if timer.id == id => (id, Some(*timer)),
                Some(Entry::Half(half)) if half.id == id => (id, Some(half.timer)),
                _ => (id, None),
            });
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::{APART, READ, stretches};
    use crate::TimerId;

    #[test]
    fn what_lies_close_together_is_read_as_one() {
        let id = |at: u64| TimerId::of("p", None, "/s", &at.to_string(), 1);
        let cut = |places: &[u64]| -> Vec<Vec<u64>> {
            let stretches = stretches(places.iter().map(|at| (id(*at), *at)).collect());
            stretches.into_iter().map(|stretch| stretch.into_iter().map(|(_, at)| at).collect()).collect()
        };
        assert_eq!(cut(&[]), Vec::<Vec<u64>>::new());
        assert_eq!(cut(&[9, 3, 5]), [[3, 5, 9]]);
        assert_eq!(cut(&[5, 3, 5]), [[3, 5]], "each is read once");
        assert_eq!(cut(&[5 + APART, 5]), [[5, 5 + APART]]);
        assert_eq!(cut(&[6 + APART, 5]), [[5], [6 + APART]]);
        let long = cut(&(0..READ.0 + 2).collect::<Vec<_>>());
        assert_eq!(long.iter().map(Vec::len).collect::<Vec<_>>(), [READ.0 as usize, 2], "a read is bounded");
    }
}
