//! Decides who may sign up by the domain of the mail address, fills in attributes before the page is shown, and checks and
//! tidies what was typed.
//!
//! See the README for the settings.

mod attribute;
mod domains;
mod settings;
mod text;

use claimsmith_plugin::{
    AttributeCollectionStart, AttributeCollectionSubmit, AttributeValue, AttributeValues, BlockPage, Callout, Result,
    SignUp, ValidationError, log,
};

use crate::domains::domain;
use crate::settings::Settings;

#[claimsmith_plugin::attribute_collection_start]
fn start(callout: &Callout, sign_up: &SignUp, settings: &Settings) -> Result<AttributeCollectionStart> {
    if let Some(page) = block(callout, sign_up, settings) {
        return Ok(AttributeCollectionStart::Block(page));
    }
    let values = prefill(sign_up, settings);
    Ok(if values.is_empty() {
        AttributeCollectionStart::Proceed
    } else {
        AttributeCollectionStart::Prefill(values)
    })
}

#[claimsmith_plugin::attribute_collection_submit]
fn submit(callout: &Callout, sign_up: &SignUp, settings: &Settings) -> Result<AttributeCollectionSubmit> {
    if let Some(page) = block(callout, sign_up, settings) {
        return Ok(AttributeCollectionSubmit::Block(page));
    }
    let default = settings.default_language.as_str();
    let mut tidied = AttributeValues::new();
    let mut error = ValidationError::new(settings.correct_message.of(callout, default));
    for rule in &settings.attributes {
        // A page that does not have the attribute has nothing to be corrected.
        let Some(attribute) = sign_up.attribute(&rule.name) else {
            continue;
        };
        let typed = attribute.value.as_ref().map(text_of).unwrap_or_default();
        let text = rule.tidy(&typed);
        if !rule.accepts(&text)? {
            error.insert(&rule.name, rule.message.of(callout, default));
        } else if text != typed && matches!(attribute.value, Some(AttributeValue::Text(_))) {
            tidied.insert(&rule.name, text);
        }
    }
    Ok(if !error.is_empty() {
        AttributeCollectionSubmit::ValidationError(error)
    } else if tidied.is_empty() {
        AttributeCollectionSubmit::Proceed
    } else {
        AttributeCollectionSubmit::Modify(tidied)
    })
}

/// The page for somebody who may not sign up.
fn block(callout: &Callout, sign_up: &SignUp, settings: &Settings) -> Option<BlockPage> {
    let domain = sign_up.mail().and_then(domain);
    let is_blocked = match &domain {
        Some(domain) => {
            let is_allowed = settings
                .allowed_domains
                .as_ref()
                .is_none_or(|allowed| allowed.have(domain));
            !is_allowed || settings.blocked_domains.may_have(domain)
        }
        // Nobody is known to be of an allowed domain without having one.
        None => settings.allowed_domains.is_some(),
    };
    let default = settings.default_language.as_str();
    is_blocked.then(|| {
        log::info!("blocked by the domain of the mail address");
        BlockPage {
            title: settings
                .block_title
                .as_ref()
                .map(|title| title.of(callout, default).to_owned()),
            message: settings.block_message.of(callout, default).to_owned(),
        }
    })
}

/// Values for attributes that have none.
fn prefill(sign_up: &SignUp, settings: &Settings) -> AttributeValues {
    let mut values = AttributeValues::new();
    let domain = sign_up.mail().and_then(domain);
    let of_domain = domain.and_then(|domain| settings.prefill_by_domain.get(&domain));
    // What is known of a domain replaces what holds for everybody.
    for (name, value) in settings.prefill.iter().chain(of_domain.into_iter().flatten()) {
        let Some(attribute) = sign_up.attribute(name) else {
            continue;
        };
        let value = AttributeValue::from(value.clone());
        if attribute.value_type != value.value_type() {
            log::warn!(attribute = name.as_str(); "not filled in: the attribute has values of another type");
        } else if attribute.value.as_ref().is_none_or(|value| text_of(value).is_empty()) {
            values.insert(name, value);
        }
    }
    values
}

/// A value as it is typed.
fn text_of(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Text(text) => text.clone(),
        AttributeValue::Integer(integer) => integer.to_string(),
        AttributeValue::Boolean(boolean) => boolean.to_string(),
        AttributeValue::Texts(texts) => texts.join(","),
    }
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::{Attribute, Client, Identity, ValueType, settings};

    use super::*;

    const SETTINGS: &str = r#"{
        "blocked_domains": ["mailinator.com", "*.mailinator.com"],
        "block_title": { "en": "Not here", "de": "Nicht hier" },
        "block_message": { "en": "Please use another address.", "de": "Bitte eine andere Adresse." },
        "prefill": { "country": "de", "newsletter": false, "year": 2026 },
        "prefill_by_domain": { "contoso.com": { "companyName": "Contoso", "country": "fr" } },
        "attributes": [
            { "name": "postalCode", "pattern": "^[0-9]{5}$", "trim": true,
              "message": { "en": "Five digits.", "de": "Fünf Ziffern." } },
            { "name": "country", "case": "lower", "one_of": ["de", "fr"], "message": "de or fr" },
            { "name": "displayName", "trim": true, "required": true, "max_length": 5, "message": "1 to 5 letters" },
            { "name": "year", "pattern": "^20", "message": "This century." }
        ]
    }"#;

    fn settings() -> Settings {
        settings::read(SETTINGS).unwrap()
    }

    fn callout(locale: &str) -> Callout {
        Callout {
            client: Some(Client {
                locale: Some(locale.to_owned()),
                ..Client::default()
            }),
            ..Callout::default()
        }
    }

    fn sign_up(mail: &str, attributes: Vec<Attribute>) -> SignUp {
        let mail = Identity {
            sign_in_type: Some("emailAddress".into()),
            issuer_assigned_id: Some(mail.to_owned()),
            ..Identity::default()
        };
        SignUp {
            attributes,
            identities: vec![mail],
        }
    }

    fn empty(name: &str, value_type: ValueType) -> Attribute {
        Attribute {
            name: name.to_owned(),
            value_type,
            ..Attribute::default()
        }
    }

    #[test]
    fn blocked_domains_see_the_page_in_their_language_at_both_events() {
        for mail in [
            "eve@mailinator.com",
            "eve@MAILINATOR.com",
            "eve@mailinator.com.",
            "eve@a.b.mailinator.com",
            " eve@mailinator.com ",
        ] {
            let expected = BlockPage {
                title: Some("Nicht hier".into()),
                message: "Bitte eine andere Adresse.".into(),
            };
            let started = start(&callout("de-at"), &sign_up(mail, vec![]), &settings()).unwrap();
            assert_eq!(started, AttributeCollectionStart::Block(expected.clone()), "{mail}");
            let submitted = SignUp {
                attributes: vec![Attribute::new("email", mail)],
                identities: vec![],
            };
            let submitted = submit(&callout("de-at"), &submitted, &settings()).unwrap();
            assert_eq!(submitted, AttributeCollectionSubmit::Block(expected), "{mail}");
        }
        for mail in ["ada@notmailinator.com", "ada@mailinator.org", "no address", ""] {
            let started = start(&callout("de"), &sign_up(mail, vec![]), &settings()).unwrap();
            assert_eq!(started, AttributeCollectionStart::Proceed, "{mail}");
        }
    }

    #[test]
    fn with_allowed_domains_nobody_else_signs_up() {
        let settings: Settings = settings::read(
            r#"{ "allowed_domains": ["contoso.com", "*.contoso.com"], "blocked_domains": ["old.contoso.com"] }"#,
        )
        .unwrap();
        for (mail, is_blocked) in [
            ("ada@contoso.com", false),
            ("ada@eu.contoso.com", false),
            ("ada@old.contoso.com", true),
            ("ada@fabrikam.com", true),
            ("ada", true),
            ("", true),
        ] {
            let action = start(&callout("en"), &sign_up(mail, vec![]), &settings).unwrap();
            let found = matches!(action, AttributeCollectionStart::Block(_));
            assert_eq!(found, is_blocked, "{mail}");
        }
        let nobody = start(&callout("en"), &SignUp::default(), &settings).unwrap();
        assert!(matches!(nobody, AttributeCollectionStart::Block(_)));
    }

    #[test]
    fn a_domain_that_looks_like_another_is_not_allowed_for_it_and_blocked_with_it() {
        // The sign of kelvin, whose lower case is `k`.
        let (allowed, blocked) = (
            r#"{ "allowed_domains": ["kontoso.com"] }"#,
            r#"{ "blocked_domains": ["*.kontoso.com"] }"#,
        );
        for (settings, mail, is_blocked) in [
            (allowed, "ada@KONTOSO.com", false),
            (allowed, "ada@\u{212a}ontoso.com", true),
            (blocked, "ada@b\u{fc}cher.com", false),
            (blocked, "ada@a.\u{212a}ontoso.com", true),
            (
                r#"{ "blocked_domains": ["b\u00fccher.com"] }"#,
                "ada@B\u{dc}CHER.com",
                true,
            ),
        ] {
            let settings: Settings = settings::read(settings).unwrap();
            let action = start(&callout("en"), &sign_up(mail, vec![]), &settings).unwrap();
            let found = matches!(action, AttributeCollectionStart::Block(_));
            assert_eq!(found, is_blocked, "{mail}");
        }
    }

    #[test]
    fn attributes_without_a_value_are_filled_in() {
        let attributes = || {
            vec![
                empty("country", ValueType::Text),
                empty("companyName", ValueType::Text),
                empty("newsletter", ValueType::Boolean),
                empty("year", ValueType::Text),
            ]
        };
        let of = |mail| start(&callout("en"), &sign_up(mail, attributes()), &settings()).unwrap();
        let anyone = AttributeValues::new().with("country", "de").with("newsletter", false);
        assert_eq!(of("ada@example.org"), AttributeCollectionStart::Prefill(anyone));
        let known = AttributeValues::new()
            .with("country", "fr")
            .with("newsletter", false)
            .with("companyName", "Contoso");
        assert_eq!(of("ada@Contoso.com"), AttributeCollectionStart::Prefill(known));

        let there = vec![Attribute::new("country", "es")];
        let action = start(&callout("en"), &sign_up("ada@example.org", there), &settings()).unwrap();
        assert_eq!(action, AttributeCollectionStart::Proceed);
    }

    #[test]
    fn what_was_typed_is_checked_and_tidied() {
        let submitted = |postal_code: &str, country: &str, name: &str| {
            let attributes = vec![
                Attribute::new("postalCode", postal_code),
                Attribute::new("country", country),
                Attribute::new("displayName", name),
                Attribute::new("year", 2026),
            ];
            submit(&callout("de"), &sign_up("ada@example.org", attributes), &settings()).unwrap()
        };
        assert_eq!(submitted("12345", "de", "Ada"), AttributeCollectionSubmit::Proceed);
        assert_eq!(
            submitted(" 12345 ", "DE", "Ada "),
            AttributeCollectionSubmit::Modify(
                AttributeValues::new()
                    .with("postalCode", "12345")
                    .with("country", "de")
                    .with("displayName", "Ada")
            )
        );
        let wrong = ValidationError::new("Please correct the marked fields.")
            .with("postalCode", "Fünf Ziffern.")
            .with("country", "de or fr")
            .with("displayName", "1 to 5 letters");
        assert_eq!(
            submitted("1234a", "es", "  "),
            AttributeCollectionSubmit::ValidationError(wrong)
        );
        // Optional ones may be left out, and those that the page does not have are nobody's fault.
        let name = vec![Attribute::new("displayName", "Ädä"), Attribute::new("postalCode", "")];
        let action = submit(&callout("en"), &sign_up("ada@example.org", name), &settings()).unwrap();
        assert_eq!(action, AttributeCollectionSubmit::Proceed);
        let integer = vec![Attribute::new("year", 1999)];
        let action = submit(&callout("en"), &sign_up("ada@example.org", integer), &settings()).unwrap();
        assert!(matches!(action, AttributeCollectionSubmit::ValidationError(_)));
    }
}
