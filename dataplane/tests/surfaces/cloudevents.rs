//! The rules of the CloudEvents HTTP protocol binding 1.0.2, and of the JSON format and the specification where the binding
//! rests on them, a test for each: what a publisher may send, and what is made of it. What a target gets is in `delivered`.
//!
//! A row is a name, the document and section that it is a rule of (`HTTP`, `JSON` or `CE`, all 1.0.2), a request, and the
//! event that comes of it, as the JSON format has it, or the refusal.

use evhub_event::{Event, json};

use super::{
    rig::{Rig, SINK},
    wire::request,
};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// The least of an event in binary mode.
const CE: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
/// The same as members of JSON.
const BASE: &str = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;

/// What comes of a request.
enum Expected {
    /// These events, without `BASE`, in any order.
    Events(&'static [&'static str]),
    /// A refusal.
    Refused(u16, &'static str),
}

use Expected::{Events, Refused};

/// Publishes, and looks into the log.
async fn check(rule: &str, headers: Vec<(&str, &str)>, body: &[u8], expected: Expected) {
    let rig = Rig::start().await;
    let answer = rig.ask(rig.http, request("POST", SINK, &headers, body)).await;
    let mut found: Vec<String> = rig.events().await.iter().map(without_base).collect();
    found.sort();
    match expected {
        Events(events) => {
            assert_eq!((answer.status, answer.body.len()), (202, 0), "{rule}: {:?}", answer.body);
            assert_eq!(found, events, "{rule}");
        }
        Refused(status, reason) => {
            let (found_status, found_reason, outcome, _) = answer.problem();
            assert_eq!(
                (found_status, found_reason.as_str(), outcome.as_str()),
                (status, reason, "rejected"),
                "{rule}"
            );
            assert!(found.is_empty(), "{rule}: {found:?}");
        }
    }
}

/// The event as JSON, less what every row has.
fn without_base(event: &Event) -> String {
    json::to_string(event).replacen(BASE, "", 1).replacen("{,", "{", 1)
}

/// A binary event with more headers, or with others.
fn binary<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let said = |name: &str| more.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    CE.into_iter().filter(|(name, _)| !said(name)).chain(more.iter().copied()).collect()
}

fn typed<'a>(content_type: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [("content-type", content_type)].into_iter().chain(more.iter().copied()).collect()
}

/// A structured event with more members.
fn object(more: &str) -> String {
    format!("{{{BASE}{more}}}")
}

macro_rules! rules {
    ($($name:ident: $rule:literal, $headers:expr, $body:expr => $expected:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let body: Vec<u8> = $body.into();
                check(concat!(stringify!($name), " (", $rule, ")"), $headers, &body, $expected).await;
            }
        )*
    };
}

rules! {
    // --- which mode
    no_content_type_is_binary_mode: "HTTP 3", binary(&[]), "x" => Events(&[r#"{"data_base64":"eA=="}"#]);
    any_other_content_type_is_binary_mode: "HTTP 3", binary(&[("content-type", "text/plain")]), "x"
        => Events(&[r#"{"datacontenttype":"text/plain","data":"x"}"#]);
    the_prefix_makes_it_structured: "HTTP 3", typed(STRUCTURED, &[]), object("") => Events(&["{}"]);
    its_case_does_not_matter: "HTTP 3", typed("Application/CloudEvents+JSON", &[]), object("") => Events(&["{}"]);
    parameters_do_not_matter: "HTTP 3.2.1", typed("application/cloudevents+json; charset=UTF-8; a=b", &[]), object("") => Events(&["{}"]);
    a_format_that_is_not_spoken_is_refused: "HTTP 3", typed("application/cloudevents+xml", &[]), "<x/>"
        => Refused(415, "UNSUPPORTED_MEDIA_TYPE");
    a_structured_event_is_utf8: "HTTP 3.2.1", typed("application/cloudevents+json; charset=utf-16", &[]), object("")
        => Refused(415, "UNSUPPORTED_MEDIA_TYPE");

    // --- binary mode: the data and its type
    the_content_type_is_the_data_s: "HTTP 3.1.1", binary(&[("content-type", "application/xml;charset=utf-8")]), "<a/>"
        => Events(&[r#"{"datacontenttype":"application/xml;charset=utf-8","data":"<a/>"}"#]);
    a_header_for_the_content_type_is_not_defined: "HTTP 3.1.1", binary(&[("ce-datacontenttype", "text/plain")]), "x"
        => Refused(400, "INVALID_HEADER");
    the_content_type_is_a_media_type: "HTTP 3.1.1", binary(&[("content-type", "nonsense")]), "x" => Refused(400, "INVALID_MEDIA_TYPE");
    the_data_stays_as_it_is: "HTTP 3.1.2", binary(&[("content-type", "application/octet-stream")]), [0xff, 0, 0x7b]
        => Events(&[r#"{"datacontenttype":"application/octet-stream","data_base64":"/wB7"}"#]);
    data_that_is_json_is_not_parsed: "HTTP 3.1.2", binary(&[("content-type", "application/json")]), "{\"a\" : 1e400}"
        => Events(&[r#"{"datacontenttype":"application/json","data":{"a" : 1e400}}"#]);
    data_that_is_no_json_is_taken_too: "HTTP 3.1.2", binary(&[("content-type", "application/json")]), "{"
        => Events(&[r#"{"datacontenttype":"application/json","data_base64":"ew=="}"#]);
    no_data_is_no_data: "HTTP 3.1.2", binary(&[]), "" => Events(&["{}"]);

    // --- binary mode: names of headers
    each_attribute_is_a_header: "HTTP 3.1.3.1",
        binary(&[("ce-subject", "a"), ("ce-time", "2018-04-05T17:31:00Z"), ("ce-dataschema", "https://x/y"), ("ce-ext", "b")]), ""
        => Events(&[r#"{"subject":"a","time":"2018-04-05T17:31:00Z","dataschema":"https://x/y","ext":"b"}"#]);
    the_case_of_headers_does_not_matter: "HTTP 3.1.3.1", binary(&[("CE-Subject", "a"), ("Ce-Id", "1")]), "" => Events(&[r#"{"subject":"a"}"#]);
    a_header_without_the_prefix_is_no_attribute: "HTTP 3.1.3.1", binary(&[("subject", "a"), ("x-ce-b", "c")]), "" => Events(&["{}"]);
    a_header_given_twice_is_refused: "HTTP 3.1.3.1", binary(&[("ce-ext", "a"), ("ce-ext", "b")]), "" => Refused(400, "DUPLICATE_ATTRIBUTE");
    a_name_is_letters_and_digits: "CE naming", binary(&[("ce-my-ext", "a")]), "" => Refused(400, "INVALID_ATTRIBUTE_NAME");
    a_name_may_be_longer_than_is_advised: "CE naming", binary(&[("ce-abcdefghijklmnopqrstuvwxyz", "a")]), ""
        => Events(&[r#"{"abcdefghijklmnopqrstuvwxyz":"a"}"#]);
    no_attribute_is_called_data: "CE naming", binary(&[("ce-data", "a")]), "" => Refused(400, "INVALID_ATTRIBUTE_NAME");

    // --- binary mode: values of headers
    what_is_not_ascii_is_percent_encoded: "HTTP 3.1.3.2", binary(&[("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80")]), ""
        => Events(&[r#"{"subject":"Euro € 😀"}"#]);
    hexadecimal_digits_have_either_case: "HTTP 3.1.3.2", binary(&[("ce-subject", "%e2%82%Ac")]), "" => Events(&[r#"{"subject":"€"}"#]);
    what_need_not_be_encoded_may_be: "HTTP 3.1.3.2", binary(&[("ce-subject", "%61%62c")]), "" => Events(&[r#"{"subject":"abc"}"#]);
    space_quote_and_percent_are_encoded: "HTTP 3.1.3.2", binary(&[("ce-subject", "a%20%22%25")]), "" => Events(&[r#"{"subject":"a \"%"}"#]);
    it_is_decoded_once: "HTTP 3.1.3.2", binary(&[("ce-subject", "%2541")]), "" => Events(&[r#"{"subject":"%41"}"#]);
    a_percent_that_encodes_nothing_stays: "HTTP 3.1.3.2", binary(&[("ce-subject", "100%")]), "" => Events(&[r#"{"subject":"100%"}"#]);
    quotes_around_it_go_first: "HTTP 3.1.3.2", binary(&[("ce-subject", r#""a \"b\" %C3%BC""#)]), "" => Events(&[r#"{"subject":"a \"b\" ü"}"#]);
    a_quote_that_does_not_end_it_is_refused: "HTTP 3.1.3.2", binary(&[("ce-subject", r#""a"b"#)]), "" => Refused(400, "INVALID_HEADER");
    what_decodes_to_no_text_is_refused: "HTTP 3.1.3.2", binary(&[("ce-subject", "%ff")]), "" => Refused(400, "INVALID_HEADER");
    an_overlong_form_is_no_text: "HTTP 3.1.3.2", binary(&[("ce-subject", "%C0%A0")]), "" => Refused(400, "INVALID_HEADER");
    half_a_surrogate_pair_is_no_text: "HTTP 3.1.3.2", binary(&[("ce-subject", "%ED%A0%80")]), "" => Refused(400, "INVALID_HEADER");
    bytes_that_are_not_encoded_are_refused: "HTTP 3.1.3.2", binary(&[("ce-subject", "ü")]), "" => Refused(400, "INVALID_HEADER");
    space_around_a_value_is_not_its: "HTTP 3.1.3.2", binary(&[("ce-subject", "  a  ")]), "" => Events(&[r#"{"subject":"a"}"#]);
    a_control_character_is_refused_however_it_is_written: "CE type system", binary(&[("ce-subject", "a%0D%0Ab")]), ""
        => Refused(400, "INVALID_CHARACTER");
    an_empty_extension_is_one: "CE type system", binary(&[("ce-ext", "")]), "" => Events(&[r#"{"ext":""}"#]);
    a_subject_is_not_empty: "CE subject", binary(&[("ce-subject", "")]), "" => Refused(400, "EMPTY_ATTRIBUTE");

    // --- the attributes themselves
    an_id_is_required: "CE id", binary(&[("ce-id", "")]), "" => Refused(400, "MISSING_ATTRIBUTE");
    a_source_is_required: "CE source", binary(&[("ce-source", "")]), "" => Refused(400, "MISSING_ATTRIBUTE");
    a_type_is_required: "CE type", binary(&[("ce-type", "")]), "" => Refused(400, "MISSING_ATTRIBUTE");
    a_version_is_required: "CE specversion", binary(&[("ce-specversion", "")]), "" => Refused(400, "MISSING_ATTRIBUTE");
    another_version_is_another_specification: "CE specversion", binary(&[("ce-specversion", "0.3")]), "" => Refused(400, "UNSUPPORTED_SPECVERSION");
    a_source_is_a_uri_reference: "CE source", binary(&[("ce-source", "a b")]), "" => Refused(400, "INVALID_URI");
    a_time_is_of_rfc_3339: "CE time", binary(&[("ce-time", "2018-04-05 17:31")]), "" => Refused(400, "INVALID_TIME");
    a_schema_is_a_uri: "CE dataschema", binary(&[("ce-dataschema", "relative")]), "" => Refused(400, "INVALID_URI");

    // --- structured mode
    headers_may_say_it_again: "HTTP 3.2.3", typed(STRUCTURED, &[("ce-id", "1"), ("ce-specversion", "1.0")]), object("") => Events(&["{}"]);
    headers_may_not_say_otherwise: "HTTP 3.2.3", typed(STRUCTURED, &[("ce-id", "2")]), object("") => Refused(400, "AMBIGUOUS_MODE");
    json_data_stays_as_it_is: "JSON 3.1.2", typed(STRUCTURED, &[]), object(r#","data":{"a": 9007199254740993}"#)
        => Events(&[r#"{"datacontenttype":"application/json","data":{"a": 9007199254740993}}"#]);
    data_without_a_type_is_json: "JSON 3.1.2", typed(STRUCTURED, &[]), object(r#","data":"x""#)
        => Events(&[r#"{"datacontenttype":"application/json","data":"x"}"#]);
    a_type_that_ends_in_json_is_json: "JSON 3.1.2", typed(STRUCTURED, &[]), object(r#","datacontenttype":"a/b+json","data":[1]"#)
        => Events(&[r#"{"datacontenttype":"a/b+json","data":[1]}"#]);
    text_is_a_string: "JSON 3.1.2", typed(STRUCTURED, &[]), object(r#","datacontenttype":"text/xml","data":"<a\u002f>""#)
        => Events(&[r#"{"datacontenttype":"text/xml","data":"<a/>"}"#]);
    data_that_is_no_json_is_a_string: "JSON 3.1.2", typed(STRUCTURED, &[]), object(r#","datacontenttype":"text/xml","data":{}"#)
        => Refused(400, "INVALID_ATTRIBUTE_TYPE");
    bytes_are_base64: "JSON 3.1.2", typed(STRUCTURED, &[]), object(r#","datacontenttype":"image/png","data_base64":"/wB7""#)
        => Events(&[r#"{"datacontenttype":"image/png","data_base64":"/wB7"}"#]);
    data_comes_once: "JSON 3.1.1", typed(STRUCTURED, &[]), object(r#","data":1,"data_base64":"AA==""#) => Refused(400, "AMBIGUOUS_DATA");
    null_is_as_if_it_were_not_there: "JSON 2.2", typed(STRUCTURED, &[]), object(r#","subject":null"#) => Events(&["{}"]);
    booleans_and_integers_have_one_form: "JSON 2.2", typed(STRUCTURED, &[]), object(r#","a":true,"b":-5"#) => Events(&[r#"{"a":"true","b":"-5"}"#]);
    an_integer_has_32_bits: "JSON 2.2", typed(STRUCTURED, &[]), object(r#","a":2147483648"#) => Refused(400, "OUT_OF_RANGE");
    an_attribute_is_no_object: "JSON 2.2", typed(STRUCTURED, &[]), object(r#","a":{}"#) => Refused(400, "INVALID_ATTRIBUTE_TYPE");
    an_attribute_is_no_fraction: "JSON 2.2", typed(STRUCTURED, &[]), object(r#","a":1.5"#) => Refused(400, "INVALID_ATTRIBUTE_TYPE");
    names_have_one_case_in_json: "JSON 2.2", typed(STRUCTURED, &[]), object(r#","Ext":"a""#) => Refused(400, "INVALID_ATTRIBUTE_NAME");
    an_attribute_comes_once: "JSON 2.2", typed(STRUCTURED, &[]), object(r#","a":"1","a":"1""#) => Refused(400, "DUPLICATE_ATTRIBUTE");

    // --- batches
    a_batch_is_a_list: "JSON 4.1", typed(BATCH, &[]), format!("[{},{}]", object(r#","a":"1""#), object(r#","a":"2""#))
        => Events(&[r#"{"a":"1"}"#, r#"{"a":"2"}"#]);
    a_batch_is_no_object: "JSON 4.1", typed(BATCH, &[]), object("") => Refused(400, "INVALID_JSON");
    one_bad_event_spoils_a_batch: "HTTP 3.3", typed(BATCH, &[]), format!("[{},{{}}]", object("")) => Refused(400, "MISSING_ATTRIBUTE");
    // The specification allows an empty batch and lets a receiver refuse it; nothing that is sent so was meant.
    a_batch_of_nothing_is_refused: "HTTP 3.3.2", typed(BATCH, &[]), "[]" => Refused(400, "EMPTY_BATCH");
    headers_are_no_attributes_of_a_batch: "HTTP 3.3", typed(BATCH, &[("ce-id", "1")]), format!("[{}]", object("")) => Refused(400, "AMBIGUOUS_MODE");
}
