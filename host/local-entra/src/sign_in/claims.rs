//! The claims an ID token has before mapping.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::config::{ApplicationConfig, TokenVersion, UserConfig};
use crate::directory::Directory;
use crate::token;

/// The core claims, and the basic claim set (`name`, `preferred_username`, `email`) if wanted.
pub(super) fn id_token_claims(
    directory: &Directory,
    application: &ApplicationConfig,
    user: &UserConfig,
    basic_claim_set: bool,
) -> Map<String, Value> {
    let issued_at = token::now();
    let tenant_id = directory.id().to_string();
    // Pairwise: another application sees another subject for the same user.
    let subject = token::stable_id(&[
        "subject",
        &tenant_id,
        &application.app_id.to_string(),
        &user.id.to_string(),
    ]);
    let mut claims = Map::from_iter([
        ("aud".to_owned(), json!(application.app_id)),
        ("iss".to_owned(), json!(directory.issuer(TokenVersion::V2))),
        ("iat".to_owned(), json!(issued_at)),
        ("nbf".to_owned(), json!(issued_at)),
        ("exp".to_owned(), json!(issued_at + token::lifetime_seconds())),
        ("oid".to_owned(), json!(user.id)),
        ("sub".to_owned(), json!(URL_SAFE_NO_PAD.encode(subject))),
        ("tid".to_owned(), json!(tenant_id)),
        ("uti".to_owned(), json!(token::unique_token_id())),
        ("ver".to_owned(), json!("2.0")),
    ]);
    if basic_claim_set {
        let username = user.user_principal_name.as_ref().or(user.mail.as_ref());
        let basic = [
            ("name", user.display_name.as_ref()),
            ("preferred_username", username),
            ("email", user.mail.as_ref()),
        ];
        let present = basic
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
        claims.extend(present);
    }
    claims
}
