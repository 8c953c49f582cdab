//! Publishing over HTTP. An input is a request much as it crosses the wire: a path (or nothing, for the usual one), headers
//! a line each, an empty line, the body.

use std::sync::LazyLock;

use axum::body::Body;
use evhub_dataplane::ingest;
use http::{HeaderName, HeaderValue, Request, Uri};

use super::surface::{SINK, Surface};

pub(crate) fn run(data: &[u8]) {
    thread_local! {
        static SURFACE: LazyLock<(Surface, axum::Router)> = LazyLock::new(|| {
            let surface = Surface::new();
            let router = ingest::router(surface.hub.clone());
            (surface, router)
        });
    }
    let Some(request) = request("POST", data) else { return };
    SURFACE.with(|surface| {
        let (surface, router) = &**surface;
        let answer = surface.send(router, request);
        assert!(matches!(answer.status, 200 | 202 | 400..500), "{}", answer.status);
        let accepted = surface.accepted();
        assert!(answer.status != 202 || accepted > 0, "what is accepted is in the log");
    });
}

/// The request that an input is; none where HTTP could not carry it.
pub(super) fn request(method: &str, data: &[u8]) -> Option<Request<Body>> {
    let (head, body) = match data.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &b""[..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let path = lines.next().filter(|path| !path.is_empty()).unwrap_or(SINK.as_bytes());
    let mut request = Request::builder().method(method).uri(Uri::try_from(path).ok()?);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        request = request.header(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    request.body(Body::from(body.to_vec())).ok()
}
