//! What the guard lets out, the check of responses accepts; and no bytes make a parser panic.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use claimsmith_contract::attribute_collection_submit::{self, Action, ValidationError};
use claimsmith_contract::password_submit::{self, Action as PasswordAction};
use claimsmith_contract::sign_up::{Attribute, AttributeValue, NamedValue, SignUp, ValueType};
use claimsmith_contract::token_issuance_start::{self, Claim, ClaimValue, DEFAULT_MAX_CLAIM_BYTES};
use claimsmith_contract::verified_id_claim_validation::{self, Verdict};
use claimsmith_contract::{BlockPage, Callout, Event, check_response};
use proptest::prelude::*;

fn claim() -> impl Strategy<Value = Claim> {
    let value = prop_oneof![
        any::<String>().prop_map(ClaimValue::Text),
        prop::collection::vec(any::<String>(), 0..8).prop_map(ClaimValue::Texts),
    ];
    (any::<String>(), value).prop_map(|(id, value)| Claim { id, value })
}

fn attribute_value() -> impl Strategy<Value = (ValueType, AttributeValue)> {
    prop_oneof![
        any::<String>().prop_map(|text| (ValueType::Text, AttributeValue::Text(text))),
        any::<i64>().prop_map(|number| (ValueType::Integer, AttributeValue::Integer(number))),
        any::<bool>().prop_map(|value| (ValueType::Boolean, AttributeValue::Boolean(value))),
        prop::collection::vec(any::<String>(), 0..4).prop_map(|texts| (ValueType::Texts, AttributeValue::Texts(texts))),
    ]
}

/// Answers that the guard accepted are valid to somebody who reads their JSON.
fn accepted(event: Event, body: &[u8], sign_up: Option<&SignUp<'_>>) {
    let violations = check_response(body, event, sign_up, DEFAULT_MAX_CLAIM_BYTES);
    assert_eq!(violations, vec![], "{}", String::from_utf8_lossy(body));
}

proptest! {
    #[test]
    fn guarded_claims_are_valid(claims in prop::collection::vec(claim(), 0..12)) {
        if let Ok(body) = token_issuance_start::respond(&claims, DEFAULT_MAX_CLAIM_BYTES) {
            accepted(Event::TokenIssuanceStart, &body, None);
        }
    }

    #[test]
    fn guarded_attributes_are_valid(
        values in prop::collection::btree_map(any::<String>(), attribute_value(), 0..8),
        message in any::<String>(),
    ) {
        let values: BTreeMap<String, (ValueType, AttributeValue)> = values;
        let attribute = |(name, (value_type, _)): (&String, &(ValueType, AttributeValue))| Attribute {
            name: name.clone().into(),
            value: None,
            value_type: *value_type,
            attribute_type: None,
        };
        let sign_up = SignUp { attributes: values.iter().map(attribute).collect(), identities: Vec::new() };
        let errors = values.keys().map(|name| (name.clone(), message.clone())).collect();
        let named = |(name, (_, value)): (String, (ValueType, AttributeValue))| NamedValue { name, value };
        let modify = Action::Modify(values.clone().into_iter().map(named).collect());
        let error = Action::ValidationError(ValidationError { message: message.clone(), attribute_errors: errors });
        let block = Action::Block(BlockPage { title: Some(message.clone()), message });
        for action in [modify, error, block] {
            if let Ok(body) = attribute_collection_submit::respond(&action, &sign_up) {
                accepted(Event::AttributeCollectionSubmit, &body, Some(&sign_up));
            }
        }
    }

    #[test]
    fn guarded_passwords_and_verdicts_are_valid(
        nonce in any::<String>(),
        title in any::<Option<String>>(),
        message in any::<String>(),
        names in prop::collection::vec(any::<String>(), 0..5),
    ) {
        if let Ok(body) = password_submit::respond(&PasswordAction::Block(BlockPage { title, message }), &nonce) {
            accepted(Event::PasswordSubmit, &body, None);
        }
        if let Ok(body) = verified_id_claim_validation::respond(&Verdict::Failed(names)) {
            accepted(Event::VerifiedIdClaimValidation, &body, None);
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for event in Event::ALL {
            drop(Callout::parse(&bytes, event));
            drop(check_response(&bytes, event, None, DEFAULT_MAX_CLAIM_BYTES));
        }
    }

    #[test]
    fn no_json_makes_a_parser_panic(text in "\\PC{0,40}", depth in 0_usize..20) {
        let value = format!("{}{}{}", "{\"data\":[".repeat(depth), serde_json::to_string(&text).unwrap(), "]}".repeat(depth));
        for event in Event::ALL {
            drop(Callout::parse(value.as_bytes(), event));
            drop(check_response(value.as_bytes(), event, None, DEFAULT_MAX_CLAIM_BYTES));
        }
    }
}
