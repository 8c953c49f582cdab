//! What is read of a schedule, and what is said of one that is none.

use super::*;

#[track_caller]
fn refused(body: &Value, field: Option<&str>, message: &str) {
    let problem = match read("nightly", body.to_string().as_bytes()) {
        Err(problem) => problem,
        Ok(written) => {
            let faults = written.schedule(0, 1 << 20).expect_err("it is refused");
            super::super::ask::refused(faults)
        }
    };
    assert_eq!((problem.field.as_deref(), problem.detail.as_str()), (field, message), "{body}");
    assert_eq!(problem.reason, reason::INVALID_SCHEDULE);
}

#[test]
fn what_is_shown_can_be_put() {
    let event = json!({ "type": "a" });
    for body in [
        json!({ "cron": "0 2 * * *", "event": event }),
        json!({ "cron": "0 2 * * *", "timeZone": "Europe/Berlin", "start": "2026-01-01T00:00:00Z",
            "end": { "time": "2027-01-01T00:00:00.5+01:00" }, "jitter": "30s", "suspend": true, "event": event }),
        json!({ "name": "nightly", "every": "1h30m", "end": { "count": 3 },
            "missedRuns": { "policy": "All", "max": 0, "deadline": "1s" }, "status": { "declared": false },
            "event": { "type": "a", "data": { "b": [null] }, "partitionKey": "k", "tags": ["x", "y"] } }),
        json!({ "every": "1s", "missedRuns": null, "event": { "type": "a", "dataBase64": "aGVsbG8=" } }),
    ] {
        let written = read("nightly", body.to_string().as_bytes()).unwrap();
        assert!(written.clone().schedule(0, 1 << 20).is_ok(), "{body}");
        let again = Value::Object(show(&written)).to_string();
        assert_eq!(read("nightly", again.as_bytes()), Ok(written), "{again}");
    }
}

#[test]
fn what_is_no_schedule_is_refused_with_its_field() {
    assert_eq!(read("nightly", b"{").unwrap_err().reason, reason::INVALID_JSON);
    let event = json!({ "type": "a" });
    for (body, field, message) in [
        (json!([]), None, "must be of type object (got a list)"),
        (json!({ "every": "1h" }), Some("event"), "is required"),
        (json!({ "every": "1h", "event": {} }), Some("event.type"), "is required"),
        (
            json!({ "name": "daily", "every": "1h", "event": event }),
            Some("name"),
            "must be \"nightly\", as in the path, or left out",
        ),
        (
            json!({ "every": 5, "event": event }),
            Some("every"),
            "must be a duration such as 500ms, 30s, 5m or 1h30m (got 5)",
        ),
        (
            json!({ "every": "1h", "end": {}, "event": event }),
            Some("end"),
            "exactly one of time and count must be given",
        ),
        (
            json!({ "every": "1h", "event": { "type": "a", "tags": ["x", 1] } }),
            Some("event.tags[1]"),
            "must be of type string (got 1)",
        ),
        (
            json!({ "every": "1h", "event": { "type": "a", "colour": "red" } }),
            Some("event.colour"),
            "unknown field \"colour\"; there are type, data, dataBase64, partitionKey, tags",
        ),
        (json!({ "event": event }), None, "exactly one of cron and every must be given"),
        (
            json!({ "every": "1h", "event": { "type": "a", "tags": ["x", "x"] } }),
            Some("event.tags[1]"),
            "duplicate value: \"x\"",
        ),
    ] {
        refused(&body, field, message);
    }
}
