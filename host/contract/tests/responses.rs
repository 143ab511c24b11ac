//! Responses that somebody else wrote, checked as Entra would: the cases are in `responses.json`.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]

use claimsmith_contract::token_issuance_start::DEFAULT_MAX_CLAIM_BYTES;
use claimsmith_contract::{Event, check_response};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    name: String,
    event: String,
    body: Value,
    entra_errors: Vec<u32>,
}

#[test]
fn each_case_gets_entras_own_codes() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("responses.json")).unwrap();
    for case in cases {
        let event: Event = case.event.parse().unwrap();
        let body = serde_json::to_vec(&case.body).unwrap();
        let violations = check_response(&body, event, None, DEFAULT_MAX_CLAIM_BYTES);
        let codes: Vec<_> = violations
            .iter()
            .map(|violation| violation.entra_error.code())
            .collect();
        assert_eq!(codes, case.entra_errors, "{}: {violations:?}", case.name);
    }
}

#[test]
fn what_is_no_json_is_an_invalid_body() {
    let violations = check_response(b"<html>", Event::TokenIssuanceStart, None, DEFAULT_MAX_CLAIM_BYTES);
    assert_eq!(violations.len(), 1);
    assert_eq!(violations.first().unwrap().entra_error.code(), 1_003_003);
}

#[test]
fn a_body_without_anything_in_it_is_empty() {
    for body in ["", " \r\n", "null"] {
        let violations = check_response(body.as_bytes(), Event::EmailOtpSend, None, DEFAULT_MAX_CLAIM_BYTES);
        let codes: Vec<_> = violations
            .iter()
            .map(|violation| violation.entra_error.code())
            .collect();
        assert_eq!(codes, [1_003_009], "{body:?}: {violations:?}");
    }
}
