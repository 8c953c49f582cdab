//! EvHub v1's reports. An input that begins with `{` is JSON, any other the message of a call.

use std::sync::LazyLock;

use axum::{Router, body::Body};
use evhub_dataplane::ingest;
use evhub_proto::evhub_producer::ReportRsp;
use http::Request;
use prost::Message as _;

use super::grpc::Services;

/// EvHub's numbers for what may go wrong here: 20000 where the ledger is needed, which this log has no place for.
const CODES: [i64; 4] = [10000, 20000, 20001, 20005];

pub(crate) fn run(data: &[u8]) {
    thread_local! {
        static SURFACE: LazyLock<(Services, Router)> = LazyLock::new(|| {
            let services = Services::new();
            let router = ingest::router(services.surface.hub.clone());
            (services, router)
        });
    }
    SURFACE.with(|surface| {
        let (services, router) = &**surface;
        let code = if data.first() == Some(&b'{') {
            let request = Request::post("/v1/report").body(Body::from(data.to_vec())).expect("a request");
            let answer = services.surface.send(router, request);
            assert_eq!(answer.status, 200);
            let answer: serde_json::Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
            answer["ret"]["code"].as_i64()
        } else {
            let (status, body) = services.call("/evhub_producer.evhubProducer/Report", data);
            if status.code() != tonic::Code::Ok {
                assert_eq!(services.surface.accepted(), 0);
                return;
            }
            let answer = ReportRsp::decode(body).expect("an answer is a message");
            assert!(!answer.event_id.is_empty(), "an event has its id whatever becomes of it");
            answer.ret.map(|ret| ret.code.into())
        };
        assert_eq!(code.is_none(), services.surface.accepted() == 1, "{code:?}");
        assert!(code.is_none_or(|code| CODES.contains(&code)), "{code:?}");
    });
}
