//! The `claimsmith` command with the logic of `attribute-map` linked in, for benchmarks: the same code and the same
//! configuration, and no sandbox around that one plugin. Its component is loaded, described and has its settings checked
//! as usual; its invocations are native.

use std::process::ExitCode;

use attribute_map::Settings;
use claimsmith_plugin::__private::{Failure, token_issuance_start as guest};
use claimsmith_plugin::{Callout, Client, ServicePrincipal, User, settings};
use claimsmith_runtime::interface::callout as host;
use claimsmith_runtime::interface::token_issuance_start::{Claim, ClaimValue};
use claimsmith_runtime::native;

fn main() -> ExitCode {
    native::install("attribute-map", provide_claims);
    claimsmith_cli::main()
}

/// What lowering, the guest's bindings and lifting do: the callout and the settings become the SDK's types, as owned by
/// the plugin as in the sandbox, and its claims the host's.
fn provide_claims(context: &host::Context<'_>, settings: &str) -> Result<Vec<Claim>, host::Failure> {
    let callout = callout(context);
    let settings = settings::read::<Settings>(settings);
    match settings.and_then(|settings| attribute_map::provide_claims(&callout, &settings)) {
        Ok(claims) => Ok(guest::Answer::from(claims).into_iter().map(claim).collect()),
        Err(error) => Err(failure(error.into())),
    }
}

fn callout(context: &host::Context<'_>) -> Callout {
    let pair = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    Callout {
        correlation_id: context.correlation_id.to_owned(),
        tenant_id: context.tenant_id.to_owned(),
        listener_id: text(context.listener_id),
        extension_id: text(context.extension_id),
        client: context.client.as_ref().map(client),
        protocol: text(context.protocol),
        request_type: text(context.request_type),
        client_service_principal: context.client_service_principal.as_ref().map(service_principal),
        resource_service_principal: context.resource_service_principal.as_ref().map(service_principal),
        user: context.user.as_ref().map(user),
        additional: context.additional.iter().map(pair).collect(),
    }
}

fn text(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn client(client: &host::Client<'_>) -> Client {
    Client {
        ip: text(client.ip),
        locale: text(client.locale),
        market: text(client.market),
    }
}

fn service_principal(principal: &host::ServicePrincipal<'_>) -> ServicePrincipal {
    ServicePrincipal {
        id: text(principal.id),
        app_id: text(principal.app_id),
        app_display_name: text(principal.app_display_name),
        display_name: text(principal.display_name),
    }
}

fn user(user: &host::User<'_>) -> User {
    User {
        id: text(user.id),
        company_name: text(user.company_name),
        created_date_time: text(user.created_date_time),
        display_name: text(user.display_name),
        given_name: text(user.given_name),
        mail: text(user.mail),
        on_premises_sam_account_name: text(user.on_premises_sam_account_name),
        on_premises_security_identifier: text(user.on_premises_security_identifier),
        on_premises_user_principal_name: text(user.on_premises_user_principal_name),
        preferred_data_location: text(user.preferred_data_location),
        preferred_language: text(user.preferred_language),
        surname: text(user.surname),
        user_principal_name: text(user.user_principal_name),
        user_type: text(user.user_type),
    }
}

fn claim(claim: guest::Claim) -> Claim {
    let value = match claim.value {
        guest::ClaimValue::Text(text) => ClaimValue::Text(text),
        guest::ClaimValue::Texts(texts) => ClaimValue::Texts(texts),
    };
    Claim { id: claim.id, value }
}

fn failure(failure: Failure) -> host::Failure {
    match failure {
        Failure::Unavailable(message) => host::Failure::Unavailable(message),
        Failure::Rejected(message) => host::Failure::Rejected(message),
        Failure::Internal(message) => host::Failure::Internal(message),
    }
}
