//! Both dialects, and what is neither.

use serde_json::{Value, json};

use super::*;

#[track_caller]
fn read(value: &Value) -> ReportReq {
    report(value.to_string().as_bytes()).unwrap()
}

#[test]
fn go_and_canonical_json_say_the_same() {
    let go = json!({
        "event": {
            "app_id": "shop", "topic_id": "orders", "data": "/+8=",
            "event_comm": {
                "event_source": {"source": "s", "qua": "q", "create_time": {"seconds": 3, "nanos": 500_000_000}},
                "event_tag": {"tag_list": ["a", "b"]},
            },
        },
        "trigger": {
            "trigger_type": 4,
            "delay_trigger": {"delay_time": {"seconds": 1}},
            "delay_process_trigger_list": [{"key": "k", "delay_time": {"seconds": 1, "nanos": 500_000_000}}],
        },
        "option": {"orderingKey": "key"},
    });
    let canonical = json!({
        "event": {
            "appId": "shop", "topicId": "orders", "data": "_-8",
            "eventComm": {
                "eventSource": {"source": "s", "qua": "q", "createTime": "1970-01-01T00:00:03.5Z"},
                "eventTag": {"tagList": ["a", "b"]},
            },
        },
        "trigger": {
            "triggerType": "EVENT_TRIGGER_TYPE_DELAY_PROCESS",
            "delayTrigger": {"delayTime": "1s"},
            "delayProcessTriggerList": [{"key": "k", "delayTime": "1.5s"}],
        },
        "option": {"orderingkey": "key", "idempotent": null},
        "unknown": [1],
    });
    let request = read(&go);
    assert_eq!(request, read(&canonical));
    let event = request.event.unwrap();
    assert_eq!((event.app_id.as_str(), &event.data[..]), ("shop", &b"\xff\xef"[..]));
    assert_eq!(request.option.unwrap().ordering_key, "key");
    let trigger = request.trigger.unwrap();
    assert_eq!((trigger.trigger_type, trigger.delay_process_trigger_list.len()), (4, 1));
}

#[test]
fn base64_may_have_line_breaks() {
    for (text, expected) in [("/+\r\n8=\n", &b"\xff\xef"[..]), ("\n", b""), ("_-\n8", b"\xff\xef")] {
        let body = json!({"event": {"data": text}});
        assert_eq!(read(&body).event.unwrap().data, expected, "{text:?}");
    }
    for bad in ["/+ 8=", "/+\t8="] {
        assert!(report(json!({"event": {"data": bad}}).to_string().as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn lists_have_a_bound_and_what_nobody_knows_none() {
    let tags = |count: usize| json!({"event": {"event_comm": {"event_tag": {"tag_list": vec!["a"; count]}}}});
    let delays = |count: usize| json!({"trigger": {"delay_process_trigger_list": vec![json!({}); count]}});
    for list in [tags, delays] {
        assert!(report(list(MAX_LIST).to_string().as_bytes()).is_ok());
        let fault = report(list(MAX_LIST + 1).to_string().as_bytes()).unwrap_err();
        assert!(fault.message.contains("at most 1024 entries"), "{}", fault.message);
    }
    assert!(report(json!({"x": vec![json!({"": 0}); 5000]}).to_string().as_bytes()).is_ok());
}

#[test]
fn ids_have_any_spelling() {
    for name in ["eventID", "event_id", "eventId", "EventID"] {
        let body = json!({name: "7", "trigger": {}}).to_string();
        assert_eq!(commit(body.as_bytes()).unwrap().event_id, "7");
        assert_eq!(rollback(body.as_bytes()).unwrap().event_id, "7");
    }
    assert_eq!(commit(b"{}").unwrap(), CommitReq::default());
    assert!(prepare(b"{\"txCallback\": {}}").is_ok());
}

#[test]
fn what_is_neither_is_refused() {
    let deep = format!("{{\"a\":{}", "[".repeat(10_000));
    for body in [
        "",
        "[]",
        "null",
        "{",
        "{} {}",
        deep.as_str(),
        r#"{"event": 1}"#,
        r#"{"event": {"app_id": 1}}"#,
        r#"{"event": {"data": "***"}}"#,
        r#"{"event": {"event_comm": {"event_tag": {"tag_list": "a"}}}}"#,
        r#"{"event": {"event_comm": {"event_tag": {"tag_list": [1]}}}}"#,
        r#"{"event": {"event_comm": {"event_source": {"create_time": "now"}}}}"#,
        r#"{"trigger": {"trigger_type": "SOON"}}"#,
        r#"{"trigger": {"trigger_type": 1.5}}"#,
        r#"{"trigger": {"trigger_type": 99999999999}}"#,
        r#"{"trigger": {"delay_trigger": {"delay_time": "1h"}}}"#,
        r#"{"trigger": {"delay_trigger": {"delay_time": {"seconds": 1e400}}}}"#,
        r#"{"trigger": {"delay_trigger": {"delay_time": {"nanos": 9999999999}}}}"#,
    ] {
        assert!(report(body.as_bytes()).is_err(), "{body:.80}");
    }
}

#[test]
fn answers_leave_out_what_is_zero() {
    let text = |answer: Answer| serde_json::to_string(&answer).unwrap();
    let event_id = || "7".to_owned();
    assert_eq!(text(ReportRsp { ret: None, event_id: event_id() }.into()), r#"{"event_id":"7"}"#);
    let ret = Some(Ret { code: 10000, msg: "no".to_owned() });
    assert_eq!(
        text(ReportRsp { ret, event_id: event_id() }.into()),
        r#"{"ret":{"code":10000,"msg":"no"},"event_id":"7"}"#
    );
    assert_eq!(text(Fault::parameter("no").into()), r#"{"ret":{"code":10000,"msg":"no"}}"#);
}
