//! Between the wire contract's types and the plugin interface's: a callout going in, claims coming out.

use std::borrow::Cow;

use claimsmith_contract::token_issuance_start::{Claim, ClaimValue};
use claimsmith_contract::{Callout, Client, ServicePrincipal, User};
use claimsmith_runtime::callout as wit;

/// The additional members of a callout, as the plugin interface takes them.
pub(crate) fn additional<'a>(callout: &'a Callout<'_>) -> Vec<(&'a str, &'a str)> {
    let pair = |(path, text): &'a (String, Cow<'_, str>)| (path.as_str(), text.as_ref());
    callout.additional.iter().map(pair).collect()
}

/// A callout as the plugin interface takes it, borrowed from the request.
pub(crate) fn context<'a>(callout: &'a Callout<'_>, additional: &'a [(&'a str, &'a str)]) -> wit::Context<'a> {
    wit::Context {
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

fn client<'a>(client: &'a Client<'_>) -> wit::Client<'a> {
    wit::Client {
        ip: client.ip.as_deref(),
        locale: client.locale.as_deref(),
        market: client.market.as_deref(),
    }
}

fn service_principal<'a>(principal: &'a ServicePrincipal<'_>) -> wit::ServicePrincipal<'a> {
    wit::ServicePrincipal {
        id: principal.id.as_deref(),
        app_id: principal.app_id.as_deref(),
        app_display_name: principal.app_display_name.as_deref(),
        display_name: principal.display_name.as_deref(),
    }
}

fn user<'a>(user: &'a User<'_>) -> wit::User<'a> {
    wit::User {
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

/// A claim of a plugin's answer.
pub(crate) fn claim(claim: claimsmith_runtime::Claim) -> Claim {
    Claim {
        id: claim.id,
        value: match claim.value {
            claimsmith_runtime::ClaimValue::Text(text) => ClaimValue::Text(text),
            claimsmith_runtime::ClaimValue::Texts(texts) => ClaimValue::Texts(texts),
        },
    }
}
