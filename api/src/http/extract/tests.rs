//! How headers and bodies are read.

use domain::{Money, Quantity, Sku};
use http::HeaderValue;

use super::*;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(rename = "sku")]
    _sku: Sku,
    #[serde(rename = "quantity")]
    _quantity: Quantity,
    #[serde(rename = "total")]
    _total: Option<Money>,
}

/// The pointer and code of the one thing that is wrong.
fn wrong(body: &str) -> (String, &'static str) {
    match parse::<Sample>(body.as_bytes()) {
        Err(Error::Invalid(errors)) => {
            (errors[0].pointer.clone().expect("a pointer"), errors[0].code)
        }
        other => panic!("{body} gave {other:?}"),
    }
}

#[test]
fn what_is_wrong_with_a_field_is_told_with_its_place() {
    let cases = [
        (r#"{"quantity":1}"#, "/sku", "missing_field"),
        (r#"{"sku":"A"}"#, "/quantity", "missing_field"),
        (r#"{"sku":"a b","quantity":1}"#, "/sku", "invalid_value"),
        (r#"{"sku":5,"quantity":1}"#, "/sku", "invalid_type"),
        (r#"{"sku":"A","quantity":0}"#, "/quantity", "invalid_value"),
        (r#"{"sku":"A","quantity":1e9}"#, "/quantity", "invalid_type"),
        (r#"{"sku":"A","quantity":1,"price":1}"#, "/price", "unknown_field"),
        (r#"{"sku":"A","quantity":1,"a/b":1}"#, "/a~1b", "unknown_field"),
        (r#"{"sku":"A","sku":"B","quantity":1}"#, "/sku", "duplicate_field"),
        (
            r#"{"sku":"A","quantity":1,"total":{"minor":1,"currency":"EUX"}}"#,
            "/total/currency",
            "invalid_value",
        ),
        (
            r#"{"sku":"A","quantity":1,"total":{"minor":-1,"currency":"EUR"}}"#,
            "/total",
            "invalid_value",
        ),
        (
            r#"{"sku":"A","quantity":1,"total":{"minor":1,"currency":"EUR","x":1}}"#,
            "/total/x",
            "unknown_field",
        ),
        (r#"["A", 1, null]"#, "", "invalid_type"),
        (r#""text""#, "", "invalid_type"),
    ];
    for (body, pointer, code) in cases {
        assert_eq!(wrong(body), (pointer.to_owned(), code), "{body}");
    }
}

#[test]
fn what_is_no_json_is_malformed() {
    let bodies: [&[u8]; 6] = [b"", b"{", b"{\"sku\":}", b"{} {}", b"{\"sku\":\"\xff\"}", b"\xff"];
    for body in bodies {
        assert!(matches!(parse::<serde_json::Value>(body), Err(Error::Malformed(_))), "{body:?}");
    }
}

#[test]
fn a_preference_is_found_among_others_and_nonsense_is_ignored() {
    let seconds = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("prefer", HeaderValue::from_static(value));
        preferred_seconds(&headers)
    };
    assert_eq!(seconds("wait=5"), Some(5));
    assert_eq!(seconds("return=minimal, Wait = \"7\""), Some(7));
    assert_eq!(seconds("respond-async"), Some(0));
    assert_eq!(seconds("respond-async, wait=3"), Some(0));
    for nonsense in ["wait", "wait=soon", "wait=-1", "waits=3", ""] {
        assert_eq!(seconds(nonsense), None, "{nonsense:?}");
    }
}

#[test]
fn if_match_takes_our_tags_and_any_and_refuses_what_is_no_tag() {
    let versions = |header| expected_versions(header).map(|IfMatch(versions)| versions);
    assert_eq!(versions("\"5\""), Some(Some(vec![5])));
    assert_eq!(versions("\"4\", \"5\""), Some(Some(vec![4, 5])));
    assert_eq!(versions("*"), Some(None));
    // Well-formed, but nothing that a cart of ours could be at.
    assert_eq!(versions("\"x\", W/\"5\""), Some(Some(vec![])));
    for bad in ["5", "", "\"5", "\"4\" \"5\"x"] {
        assert_eq!(versions(bad), None, "{bad:?}");
    }
}
