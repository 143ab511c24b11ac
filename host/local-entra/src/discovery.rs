//! The documents from which others learn issuer and keys, in Entra's v1 and v2 forms.

use serde_json::{Value, json};

use crate::config::TokenVersion;
use crate::directory::Directory;

/// `.well-known/openid-configuration`.
pub(crate) fn openid_configuration(directory: &Directory, version: TokenVersion) -> Value {
    let base = directory.base_url();
    let keys_path = match version {
        TokenVersion::V1 => "discovery/keys",
        TokenVersion::V2 => "discovery/v2.0/keys",
    };
    json!({
        "issuer": directory.issuer(version),
        "jwks_uri": format!("{base}/{keys_path}"),
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "response_types_supported": ["code", "id_token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "scopes_supported": ["openid", "profile", "email"],
        "claims_supported": [
            "aud", "email", "exp", "iat", "iss", "name", "nbf", "oid", "preferred_username", "sub", "tid", "ver",
        ],
    })
}

/// The published keys. The v2 document says which issuer a key belongs to; the v1 document never did.
pub(crate) fn key_set(directory: &Directory, version: TokenVersion) -> Value {
    let issuer = directory.issuer(version);
    let keys: Vec<Value> = directory
        .keys()
        .published
        .iter()
        .map(|key| {
            let mut jwk = key.public_jwk();
            if let (TokenVersion::V2, Value::Object(members)) = (version, &mut jwk) {
                members.insert("issuer".to_owned(), json!(issuer));
            }
            jwk
        })
        .collect();
    json!({ "keys": keys })
}
