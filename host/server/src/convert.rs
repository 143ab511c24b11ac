//! Between the wire contract's types and the plugin interface's: a callout going in, actions coming out.

use std::borrow::Cow;

use claimsmith_contract::sign_up::{Attribute, AttributeValue, Identity, NamedValue, SignUp, ValueType};
use claimsmith_contract::token_issuance_start::{Claim, ClaimValue};
use claimsmith_contract::verified_id_claim_validation::Verdict;
use claimsmith_contract::{
    BlockPage, Callout, Client, ServicePrincipal, User, attribute_collection_start, attribute_collection_submit,
    password_submit,
};
use claimsmith_runtime::interface as wit;

/// The additional members of a callout, as the plugin interface takes them.
pub(crate) fn additional<'a>(callout: &'a Callout<'_>) -> Vec<(&'a str, &'a str)> {
    let pair = |(path, text): &'a (String, Cow<'_, str>)| (path.as_str(), text.as_ref());
    callout.additional.iter().map(pair).collect()
}

/// A callout as the plugin interface takes it, borrowed from the request, with members that no field names.
#[must_use]
pub fn context<'a>(callout: &'a Callout<'_>, additional: &'a [(&'a str, &'a str)]) -> wit::callout::Context<'a> {
    wit::callout::Context {
        correlation_id: &callout.correlation_id,
        tenant_id: &callout.tenant_id_text,
        listener_id: callout.listener_id.as_deref(),
        extension_id: callout.extension_id.as_deref(),
        client: callout.client.as_ref().map(client),
        protocol: callout.protocol.as_deref(),
        request_type: callout.request_type.as_deref(),
        client_service_principal: callout.client_service_principal.as_ref().map(service_principal),
        resource_service_principal: callout.resource_service_principal.as_ref().map(service_principal),
        user: callout.user.as_ref().map(user),
        additional,
    }
}

fn client<'a>(client: &'a Client<'_>) -> wit::callout::Client<'a> {
    wit::callout::Client {
        ip: client.ip.as_deref(),
        locale: client.locale.as_deref(),
        market: client.market.as_deref(),
    }
}

fn service_principal<'a>(principal: &'a ServicePrincipal<'_>) -> wit::callout::ServicePrincipal<'a> {
    wit::callout::ServicePrincipal {
        id: principal.id.as_deref(),
        app_id: principal.app_id.as_deref(),
        app_display_name: principal.app_display_name.as_deref(),
        display_name: principal.display_name.as_deref(),
    }
}

fn user<'a>(user: &'a User<'_>) -> wit::callout::User<'a> {
    wit::callout::User {
        id: user.id.as_deref(),
        company_name: user.company_name.as_deref(),
        created_date_time: user.created_date_time.as_deref(),
        display_name: user.display_name.as_deref(),
        given_name: user.given_name.as_deref(),
        mail: user.mail.as_deref(),
        on_premises_sam_account_name: user.on_premises_sam_account_name.as_deref(),
        on_premises_security_identifier: user.on_premises_security_identifier.as_deref(),
        on_premises_user_principal_name: user.on_premises_user_principal_name.as_deref(),
        preferred_data_location: user.preferred_data_location.as_deref(),
        preferred_language: user.preferred_language.as_deref(),
        surname: user.surname.as_deref(),
        user_principal_name: user.user_principal_name.as_deref(),
        user_type: user.user_type.as_deref(),
    }
}

/// The values of a sign-up's attributes, which [`sign_up_attributes`] borrows from.
pub(crate) fn attribute_values(sign_up: &SignUp<'_>) -> Vec<Option<wit::sign_up::AttributeValue>> {
    let value = |attribute: &Attribute<'_>| attribute.value.clone().map(attribute_value);
    sign_up.attributes.iter().map(value).collect()
}

/// A sign-up's attributes as the plugin interface takes them.
pub(crate) fn sign_up_attributes<'a>(
    sign_up: &'a SignUp<'_>,
    values: &'a [Option<wit::sign_up::AttributeValue>],
) -> Vec<wit::sign_up::Attribute<'a>> {
    let attribute = |(attribute, value): (&'a Attribute<'_>, &'a Option<_>)| wit::sign_up::Attribute {
        name: &attribute.name,
        value: value.as_ref(),
        value_type: match attribute.value_type {
            ValueType::Text => wit::sign_up::ValueType::Text,
            ValueType::Integer => wit::sign_up::ValueType::Integer,
            ValueType::Boolean => wit::sign_up::ValueType::Boolean,
            ValueType::Texts => wit::sign_up::ValueType::Texts,
            ValueType::Other => wit::sign_up::ValueType::Other,
        },
        attribute_type: match attribute.attribute_type.as_deref() {
            Some("builtIn") => wit::sign_up::AttributeType::BuiltIn,
            Some("directorySchemaExtension") => wit::sign_up::AttributeType::DirectorySchemaExtension,
            _ => wit::sign_up::AttributeType::Other,
        },
    };
    sign_up.attributes.iter().zip(values).map(attribute).collect()
}

/// Identities as the plugin interface takes them.
pub(crate) fn identities<'a>(identities: &'a [Identity<'_>]) -> Vec<wit::sign_up::Identity<'a>> {
    let identity = |identity: &'a Identity<'_>| wit::sign_up::Identity {
        sign_in_type: identity.sign_in_type.as_deref(),
        issuer: identity.issuer.as_deref(),
        issuer_assigned_id: identity.issuer_assigned_id.as_deref(),
    };
    identities.iter().map(identity).collect()
}

/// Named texts as the plugin interface takes them.
pub(crate) fn named_texts<'a>(
    texts: &'a [(Cow<'_, str>, Cow<'_, str>)],
) -> Vec<wit::verified_id_claim_validation::NamedText<'a>> {
    let text =
        |(name, value): &'a (Cow<'_, str>, Cow<'_, str>)| wit::verified_id_claim_validation::NamedText { name, value };
    texts.iter().map(text).collect()
}

fn attribute_value(value: AttributeValue) -> wit::sign_up::AttributeValue {
    match value {
        AttributeValue::Text(text) => wit::sign_up::AttributeValue::Text(text),
        AttributeValue::Integer(number) => wit::sign_up::AttributeValue::Integer(number),
        AttributeValue::Boolean(value) => wit::sign_up::AttributeValue::Boolean(value),
        AttributeValue::Texts(texts) => wit::sign_up::AttributeValue::Texts(texts),
    }
}

/// A claim of a plugin's answer.
pub(crate) fn claim(claim: wit::token_issuance_start::Claim) -> Claim {
    Claim {
        id: claim.id,
        value: match claim.value {
            wit::token_issuance_start::ClaimValue::Text(text) => ClaimValue::Text(text),
            wit::token_issuance_start::ClaimValue::Texts(texts) => ClaimValue::Texts(texts),
        },
    }
}

/// An action of attributeCollectionStart.
pub(crate) fn start_action(action: wit::attribute_collection_start::Action) -> attribute_collection_start::Action {
    use attribute_collection_start::Action;
    match action {
        wit::attribute_collection_start::Action::Proceed => Action::Proceed,
        wit::attribute_collection_start::Action::Prefill(values) => Action::Prefill(named_values(values)),
        wit::attribute_collection_start::Action::Block(page) => Action::Block(block_page(page)),
    }
}

/// An action of attributeCollectionSubmit.
pub(crate) fn submit_action(action: wit::attribute_collection_submit::Action) -> attribute_collection_submit::Action {
    use attribute_collection_submit::{Action, ValidationError};
    match action {
        wit::attribute_collection_submit::Action::Proceed => Action::Proceed,
        wit::attribute_collection_submit::Action::Modify(values) => Action::Modify(named_values(values)),
        wit::attribute_collection_submit::Action::ValidationError(error) => {
            let errors = error.attribute_errors.into_iter();
            Action::ValidationError(ValidationError {
                message: error.message,
                attribute_errors: errors.map(|error| (error.name, error.message)).collect(),
            })
        }
        wit::attribute_collection_submit::Action::Block(page) => Action::Block(block_page(page)),
    }
}

/// A verdict of verifiedIdClaimValidation.
pub(crate) fn verdict(verdict: wit::verified_id_claim_validation::Verdict) -> Verdict {
    match verdict {
        wit::verified_id_claim_validation::Verdict::Pass => Verdict::Pass,
        wit::verified_id_claim_validation::Verdict::Failed(names) => Verdict::Failed(names),
    }
}

/// An action of passwordSubmit.
pub(crate) fn password_action(action: wit::password_submit::Action) -> password_submit::Action {
    use password_submit::Action;
    match action {
        wit::password_submit::Action::Migrate => Action::Migrate,
        wit::password_submit::Action::Update => Action::Update,
        wit::password_submit::Action::Retry => Action::Retry,
        wit::password_submit::Action::Block(page) => Action::Block(block_page(page)),
    }
}

fn named_values(values: Vec<wit::sign_up::NamedValue>) -> Vec<NamedValue> {
    let value = |named: wit::sign_up::NamedValue| NamedValue {
        name: named.name,
        value: match named.value {
            wit::sign_up::AttributeValue::Text(text) => AttributeValue::Text(text),
            wit::sign_up::AttributeValue::Integer(number) => AttributeValue::Integer(number),
            wit::sign_up::AttributeValue::Boolean(value) => AttributeValue::Boolean(value),
            wit::sign_up::AttributeValue::Texts(texts) => AttributeValue::Texts(texts),
        },
    };
    values.into_iter().map(value).collect()
}

fn block_page(page: wit::sign_up::BlockPage) -> BlockPage {
    BlockPage {
        title: page.title,
        message: page.message,
    }
}
