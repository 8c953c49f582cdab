//! C-01: what was acknowledged lies in the log where the receipt says, once.

use std::collections::HashMap;

use super::{
    Anomaly, Class, Verdict,
    index::{Index, Op, anomaly},
};

pub(super) fn check(index: &Index<'_>) -> Verdict {
    if !index.scanned {
        return Verdict::Unknown("the log was not read".to_owned());
    }
    let mut found: Vec<Anomaly> =
        index.collisions.iter().map(|(class, text, slice)| anomaly(*class, text.clone(), slice)).collect();
    let mut taken: HashMap<_, &Op<'_>> = HashMap::new();
    for op in &index.ops {
        let Some((partition, offset)) = op.receipt() else { continue };
        let place = (op.producer, partition, offset);
        if let Some(first) = taken.insert(place, op) {
            let text = format!("{} and {} were both given {place:?}", first.id, op.id);
            found.push(anomaly(Class::InconsistentOffset, text, first.entries().chain(op.entries())));
        }
        match index.log.get(&place) {
            None => {
                let text = format!("{} was acknowledged at {place:?}, which is empty", op.id);
                found.push(anomaly(Class::LostAck, text, op.entries()));
            }
            Some(row) if row.id != op.id => {
                let text = format!("{} was acknowledged at {place:?}, which holds {}", op.id, row.id);
                found.push(anomaly(Class::WrongRecord, text, op.entries().chain([row.entry])));
            }
            Some(_) => {}
        }
    }
    Verdict::of(found)
}
