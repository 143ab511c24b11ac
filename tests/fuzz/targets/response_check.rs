//! Any bytes as an answer to any event: the check of answers never panics, and takes nothing that is not JSON.
#![no_main]

use claimsmith_contract::token_issuance_start::DEFAULT_MAX_CLAIM_BYTES;
use claimsmith_contract::{Event, check_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for event in Event::ALL {
        let violations = check_response(body, event, None, DEFAULT_MAX_CLAIM_BYTES);
        if violations.is_empty() {
            let answer: serde_json::Value = serde_json::from_slice(body).expect("what is accepted is JSON");
            assert_eq!(answer["data"]["actions"].as_array().map(Vec::len), Some(1));
        }
    }
});
