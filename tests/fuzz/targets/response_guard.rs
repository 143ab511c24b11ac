//! Any action that a plugin could answer: what the guard lets out is valid to somebody who reads its JSON.
#![no_main]

use arbitrary::Arbitrary;
use claimsmith_contract::sign_up::{Attribute, AttributeValue, NamedValue, SignUp, ValueType};
use claimsmith_contract::token_issuance_start::{self, Claim, ClaimValue, DEFAULT_MAX_CLAIM_BYTES};
use claimsmith_contract::verified_id_claim_validation::{self, Verdict};
use claimsmith_contract::{
    BlockPage, Event, GuardError, attribute_collection_start, attribute_collection_submit, check_response,
    password_submit,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Answer {
    Claims(Vec<(String, Result<String, Vec<String>>)>),
    Prefill(Vec<(String, Type)>, Vec<(String, Value)>),
    Modify(Vec<(String, Type)>, Vec<(String, Value)>),
    ValidationError(Vec<(String, Type)>, String, Vec<(String, String)>),
    Block(Option<String>, String, u8),
    Password(u8, String),
    Verdict(Option<Vec<String>>),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Type {
    Text,
    Integer,
    Boolean,
    Texts,
    Other,
}

#[derive(Arbitrary, Debug)]
enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Texts(Vec<String>),
}

fuzz_target!(|answer: Answer| {
    let (event, sign_up, answered) = respond(answer);
    if let Ok(body) = answered {
        let violations = check_response(&body, event, sign_up.as_ref(), DEFAULT_MAX_CLAIM_BYTES);
        assert!(
            violations.is_empty(),
            "{violations:?} {}",
            String::from_utf8_lossy(&body)
        );
    }
});

fn respond(answer: Answer) -> (Event, Option<SignUp<'static>>, Result<Vec<u8>, GuardError>) {
    match answer {
        Answer::Claims(claims) => {
            let claim = |(id, value)| Claim {
                id,
                value: match value {
                    Ok(text) => ClaimValue::Text(text),
                    Err(texts) => ClaimValue::Texts(texts),
                },
            };
            let claims: Vec<_> = claims.into_iter().map(claim).collect();
            let body = token_issuance_start::respond(&claims, DEFAULT_MAX_CLAIM_BYTES);
            (Event::TokenIssuanceStart, None, body)
        }
        Answer::Prefill(attributes, values) => {
            let sign_up = sign_up(attributes);
            let action = attribute_collection_start::Action::Prefill(named(values));
            let body = attribute_collection_start::respond(&action, &sign_up);
            (Event::AttributeCollectionStart, Some(sign_up), body)
        }
        Answer::Modify(attributes, values) => {
            let sign_up = sign_up(attributes);
            let action = attribute_collection_submit::Action::Modify(named(values));
            let body = attribute_collection_submit::respond(&action, &sign_up);
            (Event::AttributeCollectionSubmit, Some(sign_up), body)
        }
        Answer::ValidationError(attributes, message, attribute_errors) => {
            let sign_up = sign_up(attributes);
            let error = attribute_collection_submit::ValidationError {
                message,
                attribute_errors,
            };
            let action = attribute_collection_submit::Action::ValidationError(error);
            let body = attribute_collection_submit::respond(&action, &sign_up);
            (Event::AttributeCollectionSubmit, Some(sign_up), body)
        }
        Answer::Block(title, message, event) => block(BlockPage { title, message }, event),
        Answer::Password(action, nonce) => {
            let action = match action % 3 {
                0 => password_submit::Action::Migrate,
                1 => password_submit::Action::Update,
                _ => password_submit::Action::Retry,
            };
            // The host takes no empty nonce.
            let nonce = format!("n{nonce}");
            (Event::PasswordSubmit, None, password_submit::respond(&action, &nonce))
        }
        Answer::Verdict(failed) => {
            let verdict = failed.map_or(Verdict::Pass, Verdict::Failed);
            let body = verified_id_claim_validation::respond(&verdict);
            (Event::VerifiedIdClaimValidation, None, body)
        }
    }
}

fn block(page: BlockPage, event: u8) -> (Event, Option<SignUp<'static>>, Result<Vec<u8>, GuardError>) {
    let sign_up = SignUp::default();
    match event % 3 {
        0 => {
            let action = attribute_collection_start::Action::Block(page);
            let body = attribute_collection_start::respond(&action, &sign_up);
            (Event::AttributeCollectionStart, None, body)
        }
        1 => {
            let action = attribute_collection_submit::Action::Block(page);
            let body = attribute_collection_submit::respond(&action, &sign_up);
            (Event::AttributeCollectionSubmit, None, body)
        }
        _ => {
            let action = password_submit::Action::Block(page);
            (Event::PasswordSubmit, None, password_submit::respond(&action, "nonce"))
        }
    }
}

fn sign_up(attributes: Vec<(String, Type)>) -> SignUp<'static> {
    let mut known = std::collections::HashSet::new();
    let attribute = |(name, value_type): (String, Type)| Attribute {
        name: name.into(),
        value: None,
        value_type: match value_type {
            Type::Text => ValueType::Text,
            Type::Integer => ValueType::Integer,
            Type::Boolean => ValueType::Boolean,
            Type::Texts => ValueType::Texts,
            Type::Other => ValueType::Other,
        },
        attribute_type: None,
    };
    // The parser takes no name twice.
    let once = attributes.into_iter().filter(|(name, _)| known.insert(name.clone()));
    SignUp {
        attributes: once.map(attribute).collect(),
        identities: Vec::new(),
    }
}

fn named(values: Vec<(String, Value)>) -> Vec<NamedValue> {
    let value = |(name, value)| NamedValue {
        name,
        value: match value {
            Value::Text(text) => AttributeValue::Text(text),
            Value::Integer(number) => AttributeValue::Integer(number),
            Value::Boolean(value) => AttributeValue::Boolean(value),
            Value::Texts(texts) => AttributeValue::Texts(texts),
        },
    };
    values.into_iter().map(value).collect()
}
