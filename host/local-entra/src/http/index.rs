//! `GET /`: what there is, for a person with curl or a browser.

use std::fmt::Write as _;

use axum::extract::State;

use super::Shared;
use crate::config::TokenVersion;

const ENDPOINTS: &str = "\
Endpoints of each directory:
  GET  /{tid}/v2.0/.well-known/openid-configuration   discovery (v1: without /v2.0)
  GET  /{tid}/discovery/v2.0/keys                     keys (v1: without /v2.0)
  POST /{tid}/oauth2/v2.0/token                       client credentials: grant_type, client_id, client_secret, scope
  POST /{tid}/sign-in                                 {\"user\", \"application\", \"protocol\"?, \"client\"?, \"correlation_id\"?}
  POST /{tid}/sign-up                                 {\"email\", \"application\", \"values\"?, \"corrections\"?, \"identities\"?, ...}
  POST /{tid}/send-otp                                {\"identifier\", \"application\", \"request_type\"?, \"one_time_code\"?, ...}
  POST /{tid}/submit-password                         {\"user\", \"password\", \"application\", \"new_password\"?, ...}
  POST /{tid}/recover-account                         {\"user\", \"application\", \"claims\", \"identities\"?, \"additional_info\"?, ...}
  GET  /{tid}/extensions/{id}/encryption-key          the certificate for passwords; with the private key if made at start
  GET  /{tid}/sign-ins                                the sign-in log with the callouts
  POST /{tid}/keys/roll                               {\"remove_previous\"?}
  POST /{tid}/callout-tokens                          {\"extension\"}: the token that Entra sends with a callout
  PUT  /{tid}/extensions/{id}/target-url              {\"target_url\"}
";

pub(super) async fn index(State(world): Shared) -> String {
    let mut page = format!("Local Entra, a simulator: anybody can sign in as anybody.\n\n{ENDPOINTS}");
    for directory in &world.directories {
        let config = directory.config();
        let mut section = || -> std::fmt::Result {
            writeln!(page, "\nDirectory {} ({})", config.id, config.domain)?;
            writeln!(page, "  issuer       {}", directory.issuer(TokenVersion::V2))?;
            for application in &config.applications {
                writeln!(
                    page,
                    "  application  {}  {}",
                    application.app_id, application.display_name
                )?;
            }
            for user in &config.users {
                let name = user
                    .user_principal_name
                    .as_deref()
                    .or(user.mail.as_deref())
                    .unwrap_or_default();
                writeln!(page, "  user         {}  {name}", user.id)?;
            }
            for extension in &config.extensions {
                writeln!(page, "  extension    {}  {}", extension.id, extension.resource_id)?;
            }
            Ok(())
        };
        // Writing to a String can't fail.
        if section().is_err() {
            break;
        }
    }
    page
}
