//! Who may ask a listener of this machine alone: its own programs, and no web page that a browser on it shows.
//!
//! A page of a stranger reaches such a listener in two ways, and gives itself away in both: it sends to a name of its own
//! that it makes resolve to here, which is then the `Host`; or it sends here across origins, and then the browser says
//! which page it is in `Origin`. A name without a dot is nobody's on the Internet.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, Uri, header, uri::Authority};

use crate::{
    ingest::body,
    problem::{Problem, reason},
};

/// The same for programs of this machine only: for a listener on loopback.
pub fn local(router: Router) -> Router {
    router.layer(middleware::from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let Some(field) = foreign(request.uri(), request.headers()) else { return next.run(request).await };
    let (parts, body) = request.into_parts();
    let detail = format!(
        "{field} names a host that is not this machine: ask at an address or localhost, or let --api listen elsewhere"
    );
    let problem = Problem::new(reason::NOT_LOCAL, detail).at(field);
    body::discard(&parts.headers, body, problem).await.into_response()
}

/// What gives the asker away as a stranger's page.
fn foreign(uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_ours =
        |authority: &str| authority.parse().is_ok_and(|authority: Authority| is_local(authority.host()));
    let host = [uri.authority().map(Authority::as_str), text(header::HOST)];
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
    if host.into_iter().flatten().any(|host| !is_ours(host)) {
        Some("host")
    } else {
        origin.is_some_and(|origin| !is_ours(origin)).then_some("origin")
    }
}

fn is_local(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_name = !host.is_empty() && (!host.contains('.') || host.ends_with(".localhost"));
    host.parse::<Ipv4Addr>().is_ok() || is_name
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_this_machine_may_ask() {
        for (host, origin, expected) in [
            (Some("127.0.0.1:8083"), None, None),
            (Some("[::1]:8083"), None, None),
            (Some("localhost"), None, None),
            (Some("hub:8083"), None, None),
            (Some("hub.localhost:8083"), None, None),
            (None, None, None),
            (Some("localhost:8083"), Some("http://localhost:3000"), None),
            (Some("evil.example"), None, Some("host")),
            (Some("127.0.0.1.evil.example:8083"), None, Some("host")),
            (Some("localhost.:8083"), None, Some("host")),
            (Some(""), None, Some("host")),
            (Some("127.0.0.1:8083"), Some("http://evil.example"), Some("origin")),
            (Some("127.0.0.1:8083"), Some("null"), Some("origin")),
            (Some("evil.example"), Some("http://evil.example"), Some("host")),
        ] {
            let pairs = [(header::HOST, host), (header::ORIGIN, origin)];
            let known = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let headers = known.map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
            assert_eq!(foreign(&Uri::from_static("/"), &headers), expected, "{host:?} {origin:?}");
        }
        let asked = Uri::from_static("http://evil.example/namespaces/shop/processors");
        assert_eq!(foreign(&asked, &HeaderMap::new()), Some("host"), "as HTTP/2 says it");
    }
}
