//! The token of a callout: good ones verify through discovery, wrong ones are wrong in the way that was asked for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claimsmith_local_entra::{
    AUTHENTICATION_EXTENSIONS_APP_ID, Directory, LocalEntra, SignWith, SigningKey, TokenVersion,
};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value, json};

use crate::support::{Answer, EXTENSION, Extension, RESOURCE, TID, ada, claims, directory, start, start_with};

const RESOURCE_ID: &str = "api://127.0.0.1/a1b2c3d4-0000-4000-8000-0000000000d1";

async fn get(url: &str) -> Value {
    reqwest::get(url)
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// Verifies a token as a relying party does: with what discovery says and nothing else.
async fn verify(
    directory: &Directory,
    version: TokenVersion,
    token: &str,
    audience: &str,
) -> Result<Map<String, Value>, String> {
    let metadata = get(&directory.metadata_url(version)).await;
    let keys: JwkSet = serde_json::from_value(get(metadata["jwks_uri"].as_str().unwrap()).await).unwrap();
    let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
    let key = keys.find(&header.kid.unwrap()).ok_or("unknown kid")?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.leeway = 0;
    validation.validate_nbf = true;
    validation.set_audience(&[audience]);
    validation.set_issuer(&[metadata["issuer"].as_str().unwrap()]);
    jsonwebtoken::decode(token, &DecodingKey::from_jwk(key).unwrap(), &validation)
        .map(|token| token.claims)
        .map_err(|error| error.to_string())
}

fn header_of(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_version_2_token_verifies_through_v2_discovery() {
    let entra = start(|_| {}).await;
    let directory = directory(&entra);
    let token = directory.callout_bearer(EXTENSION).unwrap();
    let claims = verify(directory, TokenVersion::V2, &token, &RESOURCE.to_string())
        .await
        .unwrap();
    assert_eq!(claims["iss"], format!("{}/{TID}/v2.0", entra.url()));
    assert_eq!(claims["ver"], "2.0");
    assert_eq!(claims["azp"], AUTHENTICATION_EXTENSIONS_APP_ID.to_string());
    assert_eq!(claims["azpacr"], "2");
    assert_eq!(claims["tid"], TID.to_string());
    assert_eq!(claims["oid"], claims["sub"]);
    assert!(!claims.contains_key("appid") && !claims.contains_key("scp"));
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert!((3600..=5400).contains(&lifetime), "{lifetime}");
    let kid = directory.current_key().key_id().to_owned();
    assert_eq!(header_of(&token), json!({"typ": "JWT", "alg": "RS256", "kid": kid}));
}

#[tokio::test]
async fn a_version_1_token_verifies_through_v1_discovery() {
    let entra = start(|directory| directory.extensions[0].token_version = TokenVersion::V1).await;
    let directory = directory(&entra);
    let token = directory.callout_bearer(EXTENSION).unwrap();
    let claims = verify(directory, TokenVersion::V1, &token, RESOURCE_ID).await.unwrap();
    assert_eq!(claims["iss"], format!("{}/{TID}/", entra.url()));
    assert_eq!(claims["ver"], "1.0");
    assert_eq!(claims["appid"], AUTHENTICATION_EXTENSIONS_APP_ID.to_string());
    assert_eq!(claims["appidacr"], "2");
    assert!(!claims.contains_key("azp"));
    assert_eq!(header_of(&token)["x5t"], header_of(&token)["kid"]);
}

#[tokio::test]
async fn key_sets_have_entras_members() {
    let entra = start(|_| {}).await;
    let directory = directory(&entra);
    let v2 = get(&format!("{}/discovery/v2.0/keys", directory.base_url())).await;
    assert_eq!(v2["keys"][0]["issuer"], directory.issuer(TokenVersion::V2));
    assert_eq!(
        (&v2["keys"][0]["kty"], &v2["keys"][0]["use"], &v2["keys"][0]["e"]),
        (&json!("RSA"), &json!("sig"), &json!("AQAB"))
    );
    let v1 = get(&format!("{}/discovery/keys", directory.base_url())).await;
    assert_eq!(v1["keys"][0]["n"], v2["keys"][0]["n"]);
    assert_eq!(v1["keys"][0].get("issuer"), None);
}

#[tokio::test]
async fn a_token_is_used_again_until_the_keys_roll() {
    let extension = Extension::start(vec![Answer::Json(claims(&json!({})))]).await;
    let entra = start_with(&extension.url).await;
    let directory = directory(&entra);
    let before = directory.callout_bearer(EXTENSION).unwrap();
    for _ in 0..2 {
        entra.sign_in(&ada()).await.unwrap().result.unwrap();
    }
    directory.roll_keys(false).await.unwrap();
    entra.sign_in(&ada()).await.unwrap().result.unwrap();
    let sent: Vec<String> = extension
        .seen()
        .iter()
        .map(|seen| seen.headers["authorization"].to_str().unwrap().replace("Bearer ", ""))
        .collect();
    assert_eq!(sent[0], before);
    assert_eq!(sent[1], before);
    assert_ne!(sent[2], before);
    assert_eq!(header_of(&sent[2])["kid"], directory.current_key().key_id());
}

#[tokio::test]
async fn a_roll_keeps_old_tokens_good_unless_the_old_key_is_removed() {
    let entra = start(|_| {}).await;
    let directory = directory(&entra);
    let audience = RESOURCE.to_string();
    let old = directory.callout_bearer(EXTENSION).unwrap();
    directory.roll_keys(false).await.unwrap();
    let new = directory.callout_bearer(EXTENSION).unwrap();
    verify(directory, TokenVersion::V2, &old, &audience).await.unwrap();
    verify(directory, TokenVersion::V2, &new, &audience).await.unwrap();
    directory.roll_keys(true).await.unwrap();
    assert_eq!(
        verify(directory, TokenVersion::V2, &new, &audience).await.unwrap_err(),
        "unknown kid"
    );
    let newest = directory.callout_bearer(EXTENSION).unwrap();
    verify(directory, TokenVersion::V2, &newest, &audience).await.unwrap();
}

async fn refused(entra: &LocalEntra, token: &str) -> String {
    verify(directory(entra), TokenVersion::V2, token, &RESOURCE.to_string())
        .await
        .unwrap_err()
}

#[tokio::test]
async fn wrong_tokens_are_wrong_as_asked() {
    let entra = start(|_| {}).await;
    let directory = directory(&entra);
    let good = directory.callout_token(EXTENSION).unwrap();
    verify(
        directory,
        TokenVersion::V2,
        &directory.mint(&good).unwrap(),
        &RESOURCE.to_string(),
    )
    .await
    .unwrap();

    for (request, expected) in [
        (good.clone().claim("exp", 1), "ExpiredSignature"),
        (good.clone().claim("nbf", 9_999_999_999_u64), "ImmatureSignature"),
        (good.clone().claim("aud", "other"), "InvalidAudience"),
        (good.clone().without_claim("exp"), "Missing required claim: exp"),
        (good.clone().header("kid", "other"), "unknown kid"),
        (good.clone().header("alg", "RS512"), "InvalidAlgorithm"),
        (
            good.clone()
                .sign_with(SignWith::Foreign(Box::new(SigningKey::generate().unwrap()))),
            "InvalidSignature",
        ),
        (good.clone().sign_with(SignWith::Nothing), "InvalidSignature"),
    ] {
        let error = refused(&entra, &directory.mint(&request).unwrap()).await;
        assert_eq!(error.replace("JWT error: ", ""), expected);
    }

    assert!(directory.mint(&good.clone().sign_with(SignWith::Previous)).is_err());
    directory.roll_keys(true).await.unwrap();
    let previous = directory.mint(&good.sign_with(SignWith::Previous)).unwrap();
    assert_eq!(refused(&entra, &previous).await, "unknown kid");
}

#[tokio::test]
async fn the_public_key_can_be_abused_as_a_shared_secret() {
    let entra = start(|_| {}).await;
    let directory = directory(&entra);
    let pem = directory.public_key_pem();
    let request = directory.callout_token(EXTENSION).unwrap();
    let request = request
        .header("alg", "HS256")
        .sign_with(SignWith::Hmac(pem.clone().into_bytes()));
    let token = directory.mint(&request).unwrap();
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[RESOURCE]);
    let secret = DecodingKey::from_secret(pem.as_bytes());
    jsonwebtoken::decode::<Map<String, Value>>(&token, &secret, &validation).unwrap();
    assert_eq!(refused(&entra, &token).await, "InvalidAlgorithm");
}

#[tokio::test]
async fn an_unsigned_token_has_an_empty_signature() {
    let entra = start(|_| {}).await;
    let directory = directory(&entra);
    let request = directory
        .callout_token(EXTENSION)
        .unwrap()
        .header("alg", "none")
        .sign_with(SignWith::Nothing);
    let token = directory.mint(&request).unwrap();
    assert!(token.ends_with('.'));
    assert_eq!(header_of(&token)["alg"], "none");
}
