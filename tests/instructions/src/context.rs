//! A callout as the plugin interface takes it. The server's own way there is counted with the whole callout.

use claimsmith_contract::Callout;
use claimsmith_runtime::interface::callout::{Client, Context, ServicePrincipal, User};

/// What of a callout the scenario's request has.
pub(crate) fn context<'c>(callout: &'c Callout<'_>) -> Context<'c> {
    Context {
        correlation_id: &callout.correlation_id,
        tenant_id: &callout.tenant_id_text,
        listener_id: callout.listener_id.as_deref(),
        extension_id: callout.extension_id.as_deref(),
        client: callout.client.as_ref().map(|client| Client {
            ip: client.ip.as_deref(),
            locale: client.locale.as_deref(),
            market: client.market.as_deref(),
        }),
        protocol: callout.protocol.as_deref(),
        request_type: callout.request_type.as_deref(),
        client_service_principal: callout.client_service_principal.as_ref().map(service_principal),
        resource_service_principal: callout.resource_service_principal.as_ref().map(service_principal),
        user: callout.user.as_ref().map(user),
        additional: &[],
    }
}

fn service_principal<'c>(principal: &'c claimsmith_contract::ServicePrincipal<'_>) -> ServicePrincipal<'c> {
    ServicePrincipal {
        id: principal.id.as_deref(),
        app_id: principal.app_id.as_deref(),
        app_display_name: principal.app_display_name.as_deref(),
        display_name: principal.display_name.as_deref(),
    }
}

fn user<'c>(user: &'c claimsmith_contract::User<'_>) -> User<'c> {
    User {
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
