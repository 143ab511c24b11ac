//! The objects of a directory, as they are configured.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use super::{ClaimsMappingPolicy, Secret};
use crate::callout::{CalloutErrorCode, Event};

/// One Entra directory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Directory id: the `tid` of tokens and the first segment of every URL.
    pub id: Uuid,
    /// Workforce or external.
    #[serde(default)]
    pub kind: DirectoryKind,
    /// The directory's domain, such as `contoso.onmicrosoft.com`; accepted in URLs in place of the id, as Entra does.
    pub domain: String,
    /// Applications users sign in to, and applications that ask for their own access tokens.
    #[serde(default)]
    pub applications: Vec<ApplicationConfig>,
    /// Users that can be signed in.
    #[serde(default)]
    pub users: Vec<UserConfig>,
    /// Custom authentication extensions.
    #[serde(default)]
    pub extensions: Vec<ExtensionConfig>,
    /// Event listeners: which applications' sign-ins call which extension.
    #[serde(default)]
    pub listeners: Vec<ListenerConfig>,
    /// Claims mapping policies: which returned claims reach which application's tokens.
    #[serde(default)]
    pub claims_mapping_policies: Vec<ClaimsMappingPolicy>,
}

/// The kind of a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryKind {
    /// Employees and guests of an organisation.
    #[default]
    Workforce,
    /// Customers (External ID); its users may be social accounts, which have no `user_principal_name`.
    External,
}

/// One application and its service principal in the directory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationConfig {
    /// Application (client) id.
    pub app_id: Uuid,
    /// Name shown to users; sign-ins may name the application by it.
    pub display_name: String,
    /// Object id of the service principal.
    pub service_principal_id: Uuid,
    /// The manifest's `acceptMappedClaims`. Without it a token with mapped claims is refused with AADSTS50146.
    #[serde(default)]
    pub accept_mapped_claims: bool,
    /// Where a browser sign-in returns to. Kept for the browser sign-in page; nothing reads it yet.
    #[serde(default)]
    pub redirect_uri: Option<String>,
    /// Client secret for the client-credentials grant, by reference: `env:NAME` or `file:path`.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// Client secret in plain text. Exists in the local simulator only, where it protects nothing; never put a secret of
    /// a real application here.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Claims of the tokens that it gets for itself, besides the usual ones: the app roles that it was assigned, as
    /// `roles`, or what a claims mapping policy of the resource adds.
    #[serde(default)]
    pub token_claims: BTreeMap<String, Vec<String>>,
}

/// One user. Attributes that are not set are absent from callouts, as in Entra.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// Object id.
    pub id: Uuid,
    /// `companyName`.
    #[serde(default)]
    pub company_name: Option<String>,
    /// `createdDateTime`, ISO 8601 such as `2026-01-05T08:00:00Z`.
    #[serde(default)]
    pub created_date_time: Option<String>,
    /// `displayName`.
    #[serde(default)]
    pub display_name: Option<String>,
    /// `givenName`.
    #[serde(default)]
    pub given_name: Option<String>,
    /// `mail`; sign-ins may name the user by it.
    #[serde(default)]
    pub mail: Option<String>,
    /// `onPremisesSamAccountName`.
    #[serde(default)]
    pub on_premises_sam_account_name: Option<String>,
    /// `onPremisesSecurityIdentifier`.
    #[serde(default)]
    pub on_premises_security_identifier: Option<String>,
    /// `onPremisesUserPrincipalName`.
    #[serde(default)]
    pub on_premises_user_principal_name: Option<String>,
    /// `preferredDataLocation`, such as `EUR`.
    #[serde(default)]
    pub preferred_data_location: Option<String>,
    /// `preferredLanguage`.
    #[serde(default)]
    pub preferred_language: Option<String>,
    /// `surname`.
    #[serde(default)]
    pub surname: Option<String>,
    /// `userPrincipalName`; sign-ins may name the user by it. A social account of an external directory has none.
    #[serde(default)]
    pub user_principal_name: Option<String>,
    /// `userType`: `Member` or `Guest`.
    #[serde(default)]
    pub user_type: Option<String>,
    /// The migration property: another password than the stored one is shown to the extension for passwordSubmit.
    #[serde(default)]
    pub needs_migration: bool,
    /// The stored password. Only `submit-password` asks for it; never put a password of a real user here.
    #[serde(default)]
    pub password: Option<Secret>,
}

/// One custom authentication extension.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionConfig {
    /// Object id.
    pub id: Uuid,
    /// Where callouts go, used exactly as written. https, or http to a loopback host; anything else fails the sign-in
    /// with 1003020.
    pub target_url: String,
    /// Application id of the resource application: the audience of callout tokens.
    pub resource_app_id: Uuid,
    /// Identifier URI of the resource application: `api://{host of target_url}/{resource_app_id}`. Another form fails the
    /// sign-in with 1003014, another host with 1003015.
    pub resource_id: String,
    /// The resource application's `requestedAccessTokenVersion`: 1 or 2 (default, as the portal sets it).
    #[serde(default = "default_token_version")]
    pub token_version: TokenVersion,
    /// Time for one attempt in milliseconds, 200 to 2000.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
    /// Attempts after the first: 0 or 1.
    #[serde(default = "default_maximum_retries")]
    pub maximum_retries: u8,
    /// Makes every callout of this extension fail before it is sent, with one of the codes that depend on parts of Entra
    /// which the local Entra does not have (a missing consent, a disabled service principal, throttling): 1003004, 1003016 to
    /// 1003019, 1003021 to 1003023.
    #[serde(default)]
    pub refused_with: Option<CalloutErrorCode>,
}

/// Version of the access tokens an application gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum TokenVersion {
    /// `ver` 1.0: the caller is in `appid`, the audience is the identifier URI.
    V1,
    /// `ver` 2.0: the caller is in `azp`, the audience is the application id.
    V2,
}

/// One event listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Object id.
    pub id: Uuid,
    /// The event listened to.
    pub event: Event,
    /// Application ids whose sign-ins call the extension.
    pub applications: Vec<Uuid>,
    /// Object id of the extension to call. One that does not exist fails the sign-in with 1003011.
    pub extension: Uuid,
    /// Overrides the extension's `timeout`.
    #[serde(default)]
    pub timeout: Option<u64>,
    /// Overrides the extension's `maximum_retries`.
    #[serde(default)]
    pub maximum_retries: Option<u8>,
}

// === impl UserConfig ===

impl UserConfig {
    /// The attributes that are set, by Graph name, in the order of Entra's reference page.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("companyName", &self.company_name),
            ("createdDateTime", &self.created_date_time),
            ("displayName", &self.display_name),
            ("givenName", &self.given_name),
            ("mail", &self.mail),
            ("onPremisesSamAccountName", &self.on_premises_sam_account_name),
            ("onPremisesSecurityIdentifier", &self.on_premises_security_identifier),
            ("onPremisesUserPrincipalName", &self.on_premises_user_principal_name),
            ("preferredDataLocation", &self.preferred_data_location),
            ("preferredLanguage", &self.preferred_language),
            ("surname", &self.surname),
            ("userPrincipalName", &self.user_principal_name),
            ("userType", &self.user_type),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.as_deref().map(|value| (name, value)))
    }
}

// === impl TokenVersion ===

impl TryFrom<u8> for TokenVersion {
    type Error = &'static str;

    fn try_from(version: u8) -> Result<Self, &'static str> {
        match version {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            _ => Err("a token version is 1 or 2"),
        }
    }
}

fn default_token_version() -> TokenVersion {
    TokenVersion::V2
}

fn default_timeout() -> u64 {
    1000
}

fn default_maximum_retries() -> u8 {
    1
}
