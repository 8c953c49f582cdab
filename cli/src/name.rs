//! The names people type: `orders`, or `shop/orders`.

use std::str::FromStr;

use evhub_crds::rules::is_dns_label;
use evhub_routing::Name;

/// A Producer's or Processor's name, with or without its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    namespace: Option<String>,
    name: String,
}

/// What is not a name.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("a name is at most 63 of a-z, 0-9 and `-`, as in `orders` or `shop/orders`")]
pub(crate) struct Invalid;

impl Reference {
    /// The whole name; a namespace that was typed wins over the one given here.
    pub(crate) fn within(&self, namespace: &str) -> Name {
        Name::new(self.namespace.as_deref().unwrap_or(namespace), self.name.as_str())
    }
}

impl FromStr for Reference {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once('/') {
            Some((namespace, name)) => Ok(Self { namespace: Some(label(namespace)?), name: label(name)? }),
            None => Ok(Self { namespace: None, name: label(text)? }),
        }
    }
}

/// A DNS label, as every name and namespace is.
pub(crate) fn label(text: &str) -> Result<String, Invalid> {
    if is_dns_label(text) { Ok(text.to_owned()) } else { Err(Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_namespace_wins() {
        assert_eq!("orders".parse::<Reference>().unwrap().within("shop"), Name::new("shop", "orders"));
        assert_eq!("web/orders".parse::<Reference>().unwrap().within("shop"), Name::new("web", "orders"));
    }

    #[test]
    fn what_could_leave_its_path_is_no_name() {
        for text in [
            "",
            "/",
            "shop/",
            "/orders",
            "a/b/c",
            "Orders",
            "or.ders",
            "-a",
            "a-",
            "..",
            "a?b",
            &"a".repeat(64),
        ] {
            assert_eq!(text.parse::<Reference>(), Err(Invalid), "{text}");
        }
    }
}
