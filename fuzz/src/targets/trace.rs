//! A place in a trace. An input is a `traceparent`, and after a line break a `tracestate`.

use evhub_telemetry::Context;

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (parent, state) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(context) = Context::parse(parent) else { return };
    let written = context.traceparent();
    assert_eq!(written.len(), 55, "{written}");
    assert_eq!(Context::parse(&written).as_ref(), Ok(&context), "it reads as it was written");
    if let Ok(stated) = context.with_state(state) {
        assert_eq!(stated.traceparent(), written);
        let state = stated.tracestate().unwrap_or_default();
        assert!(state.len() <= 512 && state.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~')), "{state:?}");
        assert_eq!(context.with_state(&state).as_ref(), Ok(&stated), "so does what goes with it");
    }
}
