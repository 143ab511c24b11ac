//! passwordSubmit: how the password is encrypted, what the answers do, and wrong ones on purpose.

use claimsmith_local_entra::{
    ContentAlgorithm, Event, Flaw, KeyAlgorithm, LocalEntra, PasswordContext, PasswordSubmitted, SubmitPasswordRequest,
};
use josekit::jwe::{JweHeader, RSA_OAEP, RSA_OAEP_256, deserialize_compact};
use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::events::{action, cause_with};
use crate::support::{Answer, Extension, TID, start_config};

const MIGRATION: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_00c5);

fn submit(password: &str) -> SubmitPasswordRequest {
    SubmitPasswordRequest::new(TID, "lin@example.org", password, "Shop")
}

fn context(entra: &LocalEntra) -> PasswordContext {
    entra
        .directory(TID)
        .unwrap()
        .password_context(MIGRATION, "lin@example.org", "legacy")
        .unwrap()
}

/// What the extension of the example decrypts: header of the JWE, header and claims of the inner token.
fn decrypt(entra: &LocalEntra, jwe: &str) -> Result<(JweHeader, Value, Value), josekit::JoseError> {
    let key = entra.directory(TID).unwrap().encryption_key(MIGRATION).unwrap();
    let pem = key.private_key_pem().unwrap();
    let header = josekit::jwt::decode_header(jwe)?;
    let (plaintext, header) = match header.claim("alg").and_then(Value::as_str) {
        Some("RSA-OAEP-256") => deserialize_compact(jwe, &RSA_OAEP_256.decrypter_from_pem(pem)?)?,
        _ => deserialize_compact(jwe, &RSA_OAEP.decrypter_from_pem(pem)?)?,
    };
    let token = String::from_utf8(plaintext).unwrap();
    let part = |number: usize| {
        use base64::Engine as _;
        let part = token.split('.').nth(number).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap_or_default()
    };
    assert!(token.ends_with('.'), "unsigned");
    Ok((header, part(0), part(1)))
}

/// Decrypts and answers an action with the nonce.
async fn migration_extension(entra: &LocalEntra, answers: &'static [(&'static str, &'static str)]) {
    let key = entra.directory(TID).unwrap().encryption_key(MIGRATION).unwrap();
    let pem = key.private_key_pem().unwrap().to_owned();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let router = axum::Router::new().fallback(move |axum::Json(body): axum::Json<Value>| async move {
        let jwe = body["data"]["encryptedPasswordContext"].as_str().unwrap();
        let (plaintext, _) = deserialize_compact(jwe, &RSA_OAEP.decrypter_from_pem(&pem).unwrap()).unwrap();
        let token = String::from_utf8(plaintext).unwrap();
        let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&token);
        let nonce = claims.map_or_else(|_| nonce_of(&token), |token| token.claims["nonce"].clone());
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (name, members) = answers[number.min(answers.len() - 1)];
        let members = serde_json::from_str(members).unwrap();
        let mut answer = action(Event::PasswordSubmit, &format!("passwordSubmit.{name}"), members);
        answer["data"]["nonce"] = nonce;
        axum::Json(answer)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    entra
        .set_target_url(MIGRATION, &format!("http://{}/", listener.local_addr().unwrap()))
        .unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
}

fn nonce_of(token: &str) -> Value {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    serde_json::from_slice::<Value>(&bytes).unwrap()["nonce"].clone()
}

#[tokio::test]
async fn the_password_is_encrypted_as_recorded() {
    let extension = Extension::start(vec![Answer::Raw(500, None, String::new())]).await;
    let entra = start_config(crate::support::at(&extension.url)).await;
    entra.submit_password(&submit("legacy")).await.unwrap();
    let data = extension.seen()[0].body["data"].clone();
    let jwe = data["encryptedPasswordContext"].as_str().unwrap();
    let (header, token_header, claims) = decrypt(&entra, jwe).unwrap();
    let key = entra.directory(TID).unwrap().encryption_key(MIGRATION).unwrap();
    let expected = json!({"alg": "RSA-OAEP", "enc": "A128CBC-HS256", "x5t": key.thumbprint(), "zip": "DEF"});
    assert_eq!(Value::Object(header.claims_set().clone()), expected);
    assert_eq!(token_header["alg"], "none");
    assert_eq!(
        (&claims["user-password"], &claims["username"]),
        (&json!("legacy"), &json!("lin@example.org"))
    );
    assert_eq!(claims["aud"], "a1b2c3d4-0000-4000-8000-0000000000d1");
    assert_eq!(claims["iss"], "api://127.0.0.1/a1b2c3d4-0000-4000-8000-0000000000d1");
    assert_eq!(claims["exp"].as_u64().unwrap(), claims["iat"].as_u64().unwrap() + 600);
    Uuid::parse_str(claims["nonce"].as_str().unwrap()).unwrap();
    // The example's listener sends the recorded nulls.
    assert_eq!(
        (&data["otpContext"], &data["userSignUpInfo"]),
        (&Value::Null, &Value::Null)
    );
    assert!(data.as_object().unwrap().contains_key("otpContext"));
    assert_eq!(data["authenticationContext"]["resourceServicePrincipal"], Value::Null);
    assert_eq!(data["authenticationContext"]["user"]["mail"], "lin@example.org");
    assert!(
        !json!(entra.directory(TID).unwrap().sign_ins())
            .to_string()
            .contains("legacy")
    );
}

#[tokio::test]
async fn other_algorithms_decrypt_too() {
    let entra = start_config(|_| {}).await;
    for key_algorithm in [KeyAlgorithm::RsaOaep, KeyAlgorithm::RsaOaep256] {
        for content_algorithm in [ContentAlgorithm::A128CbcHs256, ContentAlgorithm::A256Gcm] {
            for compressed in [true, false] {
                let context = context(&entra)
                    .key_algorithm(key_algorithm)
                    .content_algorithm(content_algorithm)
                    .compressed(compressed);
                let (_, _, claims) = decrypt(&entra, &context.encrypt().unwrap()).unwrap();
                assert_eq!(claims["user-password"], "legacy");
            }
        }
    }
}

#[tokio::test]
async fn wrong_ones_are_wrong_in_the_way_that_was_asked_for() {
    let entra = start_config(|_| {}).await;
    let decrypted = |context: PasswordContext| decrypt(&entra, &context.encrypt().unwrap());
    for flaw in [
        Flaw::CorruptedTag,
        Flaw::CorruptedCiphertext,
        Flaw::CorruptedKey,
        Flaw::NotDeflated,
    ] {
        decrypted(context(&entra).flaw(flaw)).unwrap_err();
    }
    let foreign = claimsmith_local_entra::EncryptionKey::generate().unwrap();
    decrypted(context(&entra).encrypt_for(foreign)).unwrap_err();
    let (_, _, claims) = decrypted(context(&entra).expired().without_claim("nonce").claim("aud", "x")).unwrap();
    assert!(claims["exp"].as_u64().unwrap() < claims["iat"].as_u64().unwrap() + 601);
    assert_eq!((claims.get("nonce"), &claims["aud"]), (None, &json!("x")));
    let jwe = context(&entra).claim("padding", "x".repeat(4 << 20)).encrypt().unwrap();
    assert!(
        jwe.len() < 64 << 10,
        "a large plaintext is small when compressed: {}",
        jwe.len()
    );
    assert!(!format!("{:?} {:?}", context(&entra), submit("legacy")).contains("legacy"));
}

#[tokio::test]
async fn a_migrated_password_is_taken_over() {
    let entra = start_config(|_| {}).await;
    migration_extension(
        &entra,
        &[
            ("Retry", "{}"),
            ("Block", r#"{"title":"Sorry","message":"no"}"#),
            ("UpdatePassword", r#"{"message":"too weak"}"#),
            ("MigratePassword", "{}"),
        ],
    )
    .await;
    let mut results = Vec::new();
    for _ in 0..5 {
        let outcome = entra.submit_password(&submit("legacy")).await.unwrap();
        results.push(json!(outcome.result.unwrap()));
    }
    assert_eq!(
        results,
        [
            json!({"result": "retry", "title": null, "message": null}),
            json!({"result": "blocked", "title": "Sorry", "message": "no"}),
            json!({"result": "update_needed", "title": null, "message": "too weak", "updated": false}),
            json!({"result": "migrated"}),
            json!({"result": "accepted"}),
        ]
    );
    let wrong = entra.submit_password(&submit("initial-local-only")).await.unwrap();
    assert_eq!(wrong.result.unwrap(), PasswordSubmitted::Wrong);
    let log = entra.directory(TID).unwrap().sign_ins();
    let codes: Vec<u32> = log.iter().map(|record| record.error_code).collect();
    assert_eq!(codes, [50_126, 0, 0, 50_055, 50_057, 50_126]);
}

#[tokio::test]
async fn the_stored_password_is_not_shown_to_the_extension() {
    let entra = start_config(|_| {}).await;
    let outcome = entra.submit_password(&submit("initial-local-only")).await.unwrap();
    assert!(outcome.callout().is_none());
    assert_eq!(outcome.result.unwrap(), PasswordSubmitted::Accepted);
    // The user is migrated by that.
    let outcome = entra.submit_password(&submit("legacy")).await.unwrap();
    assert_eq!(outcome.result.unwrap(), PasswordSubmitted::Wrong);
}

#[tokio::test]
async fn the_nonce_must_come_back() {
    for nonce in [Value::Null, json!(""), json!(Uuid::nil()), json!(1)] {
        let mut answer = action(Event::PasswordSubmit, "passwordSubmit.MigratePassword", json!({}));
        answer["data"]["nonce"] = nonce;
        let (callout, result) = cause_with(Event::PasswordSubmit, Answer::Json(answer)).await;
        assert_eq!((callout.error_code.unwrap().code(), result), (1_003_003, None));
        assert!(callout.error_detail.unwrap().contains("nonce"));
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_sent() {
    let entra = start_config(|config| config.encryption.clear()).await;
    let outcome = entra.submit_password(&submit("legacy")).await.unwrap();
    let callout = outcome.callout().unwrap();
    assert_eq!(
        (callout.error_code.unwrap().code(), callout.number_of_attempts),
        (1_003_000, 0)
    );
}

#[tokio::test]
async fn all_of_it_over_http() {
    let entra = start_config(|_| {}).await;
    migration_extension(&entra, &[("MigratePassword", "{}")]).await;
    let post = async |directory: &str, path: &str, body: Value| {
        let url = format!("{}/{directory}/{path}", entra.url());
        let response = Client::new().post(url).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let contoso = "contoso.onmicrosoft.com";
    let body = json!({"user": "lin@example.org", "password": "legacy", "application": "Shop"});
    let (status, answer) = post(contoso, "submit-password", body).await;
    assert_eq!((status, &answer["result"]), (200, &json!("migrated")), "{answer}");
    assert_eq!(
        answer["callouts"][0]["action"],
        "microsoft.graph.passwordSubmit.MigratePassword"
    );

    // Nothing listens at the other extensions' addresses.
    let body = json!({"email": "a@example.org", "application": "Shop", "values": {"city": "Paris"}});
    let (status, answer) = post(contoso, "sign-up", body).await;
    assert_eq!((status, &answer["error_codes"]), (400, &json!([1_100_001])), "{answer}");
    assert_eq!(answer["callout"]["eventType"], "attributeCollectionStart");
    let (status, answer) = post(
        contoso,
        "send-otp",
        json!({"identifier": "a@b.c", "application": "Shop"}),
    )
    .await;
    assert_eq!(
        (status, &answer["result"]),
        (200, &json!("by_microsoft_after_failure")),
        "{answer}"
    );
    let body = json!({"user": "grace@northwind.example", "application": "Help desk", "claims": {"firstName": "G"}});
    let (status, answer) = post("northwind.example", "recover-account", body).await;
    assert_eq!(
        (status, &answer["callout"]["eventType"]),
        (400, &json!("verifiedIdClaimValidation"))
    );

    let url = format!("{}/{contoso}/extensions/{MIGRATION}/encryption-key", entra.url());
    let key: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert!(
        key["certificate"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE")
    );
    assert!(
        key["private_key"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN PRIVATE KEY")
    );
}
