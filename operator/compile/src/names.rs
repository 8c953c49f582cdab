//! What topics and groups are called. Names of resources are DNS labels, so that a dot separates.

use evhub_routing::Name;

/// The topic that holds a Producer's events.
pub fn events(prefix: &str, producer: &Name) -> String {
    format!("{prefix}.{}.{}", producer.namespace, producer.name)
}

/// The topic that holds a Producer's events once they have come due, wherever the others are.
pub fn due(prefix: &str, producer: &Name) -> String {
    format!("{}.due", events(prefix, producer))
}

/// One of a Processor's own topics: `state`, `dead` or `inbox`.
pub fn own(prefix: &str, processor: &Name, what: &str) -> String {
    format!("{prefix}.{}.{}.{what}", processor.namespace, processor.name)
}

/// The consumer group that reads for a Processor. It ends with the last eight letters and digits of the uid: the first
/// eight of a `UUIDv7` are its time, which a resource deleted and created again within a minute would share.
pub fn group(prefix: &str, processor: &Name, uid: &str) -> String {
    let mut tail: Vec<char> = uid.chars().rev().filter(char::is_ascii_alphanumeric).take(8).collect();
    tail.reverse();
    format!("{prefix}.{}.{}.{}", processor.namespace, processor.name, String::from_iter(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_installation() {
        let name = Name::new("shop", "billing");
        assert_eq!(events("evhub", &name), "evhub.shop.billing");
        assert_eq!(due("evhub", &name), "evhub.shop.billing.due");
        assert_eq!(own("test", &name, "dead"), "test.shop.billing.dead");
        assert_eq!(
            group("evhub", &name, "0198c0de-0000-7000-8000-0123456789ab"),
            "evhub.shop.billing.456789ab"
        );
        assert_eq!(group("evhub", &name, "é-1"), "evhub.shop.billing.1");
    }
}
