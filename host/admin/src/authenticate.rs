//! From a bearer token, or the process at the other end of the unix socket, to an identity.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use claimsmith_catalog::AdminTokenConfig;
use claimsmith_token::{
    Algorithm, Directory, FetchError, MetadataStore, Policy, TokenError, TokenPolicy, TrustedDocument, bearer_token,
};
use tokio::time::Instant;

use crate::identity::Identity;

/// How long keys may take that are fetched for a token.
const PATIENCE: Duration = Duration::from_secs(10);

/// What tokens are accepted, and what they allow.
#[derive(Debug)]
pub(crate) struct Tokens {
    policy: TokenPolicy,
    config: AdminTokenConfig,
}

impl Tokens {
    /// Documents begin to be fetched.
    pub(crate) fn new(config: &AdminTokenConfig, metadata: &MetadataStore) -> Result<Self, FetchError> {
        let documents = config.metadata.iter().map(|url| {
            metadata.check_url(url)?;
            Ok(TrustedDocument {
                document: metadata.document(url),
                issuers: Vec::new(),
            })
        });
        let directory = Directory {
            id: config.directory,
            documents: documents.collect::<Result<_, FetchError>>()?,
        };
        let mut clients = config.clients.iter().copied();
        let policy = Policy {
            directories: vec![directory],
            audiences: config.audiences.clone(),
            caller: clients.next().unwrap_or_default(),
            accept_callers: clients.collect(),
            algorithms: vec![Algorithm::RS256],
            leeway: config.clock_leeway,
            // People call with tokens that an application got for them.
            app_only: false,
        };
        Ok(Self {
            policy: TokenPolicy::new(policy),
            config: config.clone(),
        })
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// Why it is not accepted: for the log, not for whoever shows it.
    pub(crate) async fn identity(&self, headers: &HeaderMap) -> Result<Identity, TokenError> {
        let values = headers.get_all(AUTHORIZATION).iter();
        let token = bearer_token(values.map(axum::http::HeaderValue::as_bytes))?;
        let config = &self.config;
        let names = [config.roles_claim.as_str(), &config.tenants_claim, "oid"];
        let deadline = Instant::now() + PATIENCE;
        let (valid, claims) = self.policy.validate_and_read(token, &names, deadline).await?;
        let mut claims = claims.into_iter();
        let (roles, tenants, person) = (
            claims.next().unwrap_or_default(),
            claims.next().unwrap_or_default(),
            claims.next().unwrap_or_default(),
        );
        let tenant = |value: String| {
            if config.tenants.is_empty() {
                return Some(value);
            }
            config.tenants.get(&value).cloned()
        };
        let client = valid.caller_id.map(|id| format!("app:{id}")).unwrap_or_default();
        // An object id is a GUID; whatever else it is does not belong into the log.
        let person = person.first().and_then(|id| uuid::Uuid::try_parse(id).ok());
        Ok(Identity {
            actor: person.map_or_else(|| client.clone(), |id| format!("{client} oid:{id}")),
            roles: roles
                .iter()
                .filter_map(|value| config.roles.get(value).copied())
                .collect(),
            tenants: tenants.into_iter().filter_map(tenant).collect(),
        })
    }

    /// Why a token is not accepted, in the words of `[admin.token]` where the tenants' configuration has others.
    pub(crate) fn why_refused(&self, error: &TokenError) -> String {
        let config = &self.config;
        match error {
            TokenError::Caller { member, found, .. } => {
                let clients: Vec<_> = config.clients.iter().map(ToString::to_string).collect();
                let clients = clients.join(", ");
                format!(
                    "the token's {member} is {found}, expected one of admin.token.clients ({clients}), and no other in azp or \
                     appid; add the application there if it may ask for tokens for the admin API"
                )
            }
            TokenError::Audience { found, accepted } => format!(
                "the token's aud is {found}, expected one of admin.token.audiences {accepted:?}; ask for a token for the \
                 admin API's application"
            ),
            TokenError::Tenant { found, expected } => format!(
                "the token's tid is {found}, expected admin.token.directory {expected}; get a token of that directory"
            ),
            TokenError::Issuer { found, accepted } => format!(
                "the token's iss is {found}, the documents of admin.token.metadata accept {accepted:?}; name the document \
                 of that issuer there if it is yours"
            ),
            TokenError::UnknownKey {
                kid,
                issuer,
                known,
                pause,
            } => {
                let pause = pause.as_ref().map(|pause| format!("; {pause}")).unwrap_or_default();
                format!(
                    "no document of admin.token.metadata with issuer {issuer} has the token's kid {kid}, they have {known:?}\
                     {pause}; name the document that has it there"
                )
            }
            other => other.to_string(),
        }
    }
}

/// How whoever asks is recognised on a listener.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// By a token.
    Tokens(Arc<Tokens>),
    /// As the process at the other end of the socket, which has been looked at.
    Owner { uid: u32 },
}
