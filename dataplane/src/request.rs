//! What every handler reads of a request's head: the names in its path and its query. Pure.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, RawPathParams};
use evhub_event::invalid::quote;
use evhub_routing::Name;
use http::{Uri, request::Parts};

use crate::problem::{Problem, reason};

/// The resource that a path names by `{namespace}` and `{name}`.
pub(crate) struct Named(pub(crate) Name);

/// One thing of a resource, which a path names by `{id}` besides.
pub(crate) struct Identified(pub(crate) Name, pub(crate) String);

/// A query of which every parameter is known and given once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(BTreeMap<&'static str, String>);

// === impl Named ===

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(name(&segments(parts, state).await?)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Identified {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = segments(parts, state).await?;
        Ok(Self(name(&segments), part(&segments, "id").to_owned()))
    }
}

async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, Problem> {
    // A path that does not decode names nothing that exists.
    let nothing = |_| Problem::new(reason::NOT_FOUND, "the path is not valid");
    RawPathParams::from_request_parts(parts, state).await.map_err(nothing)
}

/// Lists name a namespace only, and no resource has an empty name.
fn name(segments: &RawPathParams) -> Name {
    Name::new(part(segments, "namespace"), part(segments, "name"))
}

fn part<'a>(segments: &'a RawPathParams, name: &str) -> &'a str {
    segments.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

// === impl Query ===

impl Query {
    /// Reads a query that may have these parameters and no other.
    pub(crate) fn read(uri: &Uri, allowed: &[&'static str]) -> Result<Self, Problem> {
        let mut query = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let Some(known) = allowed.iter().find(|allowed| **allowed == name) else {
                return Err(unknown(&name, allowed));
            };
            if query.insert(*known, value.into_owned()).is_some() {
                return Err(Problem::new(reason::INVALID_QUERY, format!("{known} is given twice")).at(*known));
            }
        }
        Ok(Self(query))
    }

    /// Whether no parameter is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A parameter as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter as a number.
    pub(crate) fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<Option<N>, Problem> {
        let parse = |text: &str| {
            let detail = || format!("{name} is a number, not {}", quote(text));
            text.parse().map_err(|_| Problem::new(reason::INVALID_QUERY, detail()).at(name))
        };
        self.text(name).map(parse).transpose()
    }

    /// How many items a page may have: `limit`, or the default, and never more than the most.
    pub(crate) fn limit(&self, default: usize, most: usize) -> Result<usize, Problem> {
        match self.number("limit")? {
            None => Ok(default),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(limit) => {
                let detail = format!("limit is from 1 to {most}, not {limit}");
                Err(Problem::new(reason::INVALID_QUERY, detail).at("limit"))
            }
        }
    }
}

fn unknown(name: &str, allowed: &[&str]) -> Problem {
    let known = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
    let detail = format!("there is no parameter {} here (known: {known})", quote(name));
    Problem::new(reason::INVALID_QUERY, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &'static str) -> Result<Query, Problem> {
        Query::read(&Uri::from_static(uri), &["from", "limit"])
    }

    #[test]
    fn a_query_is_read_whole_or_not_at_all() {
        let query = read("/x?from=0%3A7&limit=5").unwrap();
        assert_eq!(query.text("from"), Some("0:7"));
        assert_eq!(query.limit(100, 1000), Ok(5));
        assert!(read("/x").unwrap().is_empty());
        for (bad, field) in [("/x?limit=1&limit=2", Some("limit")), ("/x?form=1", None)] {
            let problem = read(bad).unwrap_err();
            assert_eq!((problem.reason, problem.field.as_deref()), (reason::INVALID_QUERY, field), "{bad}");
        }
    }

    #[test]
    fn limits_are_kept() {
        for bad in ["/x?limit=0", "/x?limit=1001", "/x?limit=-1", "/x?limit=ten", "/x?limit="] {
            assert_eq!(
                read(bad).unwrap().limit(100, 1000).unwrap_err().reason,
                reason::INVALID_QUERY,
                "{bad}"
            );
        }
        assert_eq!(read("/x").unwrap().limit(100, 1000), Ok(100));
    }
}
