//! What tools ask for. An input is a method and a path in its first line, then as for publishing.

use std::sync::LazyLock;

use evhub_dataplane::api;

use super::{http::request, surface::Surface};

pub(crate) fn run(data: &[u8]) {
    thread_local! {
        static SURFACE: LazyLock<(Surface, axum::Router)> = LazyLock::new(|| {
            let surface = Surface::new();
            let router = api::router(surface.hub.clone());
            (surface, router)
        });
    }
    let (method, rest) = match data.iter().position(|byte| *byte == b' ') {
        Some(space) => (&data[..space], &data[space + 1..]),
        None => (&b"GET"[..], data),
    };
    // One that streams for ever answers never.
    let endless = rest.windows(5).any(|five| five == b"/tail");
    let Some(request) = std::str::from_utf8(method).ok().and_then(|method| request(method, rest)) else {
        return;
    };
    if endless {
        return;
    }
    SURFACE.with(|surface| {
        let (surface, router) = &**surface;
        let answer = surface.send(router, request);
        assert!(matches!(answer.status, 200 | 202 | 204 | 400..500), "{}", answer.status);
        surface.accepted();
    });
}
