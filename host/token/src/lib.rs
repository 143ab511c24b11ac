//! Validation of the bearer token that Entra sends with a callout (contract.md, section 2).
//!
//! Keys come from configured metadata documents only ([`MetadataStore`]): nothing a token says of itself (`jku`, `x5u`,
//! `jwk`, `iss`) is ever followed. Documents are fetched when they are first named, refreshed in the background, and
//! keep their last good keys when a refresh fails; a callout causes a fetch only by a `kid` that no document has, on
//! average at most once per document and [`MetadataOptions::unknown_key_interval`].
//!
//! [`TokenPolicy::validate`] runs the checks. What it accepted it remembers by the token's SHA-256 until the token
//! expires or the document's keys change, so that a repeated token costs no RSA operation.

mod check;
mod claims;
mod error;
mod explain;
mod metadata;
mod own_issuer;
mod policy;

pub use error::TokenError;
pub use explain::Explained;
pub use jsonwebtoken::Algorithm;
pub use metadata::{FetchError, FetchPause, MetadataDocument, MetadataOptions, MetadataStore};
pub use own_issuer::{OWN_KEY_ID, OwnIssuer, OwnIssuerError};
pub use policy::{Caller, Directory, Policy, TokenPolicy, TrustedDocument, ValidToken, bearer_token};

/// The application id of Microsoft's "Azure Active Directory Authentication Extensions" in the public cloud: the
/// caller of every callout (contract.md, section 2).
pub const ENTRA_CALLER: uuid::Uuid = uuid::uuid!("99045fe1-7639-4a75-9d4a-577b6ca3810f");
