//! Any bytes as the body of a callout of any event: the parser never panics, and what it takes has what it promises.
#![no_main]

use claimsmith_contract::{Callout, Event, MAX_ADDITIONAL_BYTES, MAX_ADDITIONAL_MEMBERS, ParseError};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fuzz_target!(|body: &[u8]| {
    for event in Event::ALL {
        match Callout::parse(body, event) {
            Ok(callout) => {
                assert_eq!(callout.event, event);
                assert!(!callout.tenant_id.is_nil());
                assert!(Uuid::try_parse(&callout.correlation_id).is_ok_and(|id| !id.is_nil()));
                assert!(callout.additional.len() <= MAX_ADDITIONAL_MEMBERS);
                let bytes = callout.additional.iter().map(|(path, text)| path.len() + text.len());
                assert!(bytes.sum::<usize>() <= MAX_ADDITIONAL_BYTES);
            }
            Err(ParseError::Invalid { problems, .. }) => {
                assert!((1..=20).contains(&problems.len()));
                for problem in problems {
                    assert!(problem.pointer.is_empty() || problem.pointer.starts_with('/'));
                }
            }
            Err(ParseError::MalformedJson(_) | ParseError::EventMismatch { .. }) => {}
        }
    }
});
