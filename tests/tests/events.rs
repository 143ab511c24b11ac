//! People do what Entra calls extensions for: the local Entra calls the host for every event, one real plugin answers
//! them all, and what it answers takes effect.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use claimsmith_local_entra::{
    AccountRecovered, CalloutErrorCode, CodeDelivered, Config, LocalEntra, PasswordSubmitted, RecoverAccountRequest,
    Refusal, SendOtpRequest, SignUpRequest, SignedUp, SubmitPasswordRequest, VerifiedIdClaims,
};
use claimsmith_tests::{Platform, Stage, cases, eventually, plugin, world};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The directory of customers, and the one of staff, of the local Entra's example.
const CUSTOMERS: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_0001);
const STAFF: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_0002);
const MIGRATION: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_00c5);

/// The extensions of the example: the last digits of their ids, their names, their events, and their directories.
const EXTENSIONS: &[(u128, &str, &str)] = &[
    (0xc2, "page", "attributeCollectionStart"),
    (0xc3, "check", "attributeCollectionSubmit"),
    (0xc4, "mail", "emailOtpSend"),
    (0xc5, "migration", "passwordSubmit"),
    (0xc6, "recovery", "verifiedIdClaimValidation"),
];

/// What the plugin does for each event: settings in TOML, by the extension's name.
type Settings<'s> = &'s [(&'s str, &'s str)];

fn tenant_toml(entra: &LocalEntra, settings: Settings<'_>, keys: &str) -> String {
    let mut toml = world::directories_toml(entra);
    for (_, name, event) in EXTENSIONS {
        let settings = settings
            .iter()
            .find(|(of, _)| of == name)
            .map_or("", |(_, settings)| settings);
        let keys = if *name == "migration" { keys } else { "" };
        let extension = format!(
            "[extensions.{name}]
event = \"{event}\"
audiences = [\"a1b2c3d4-0000-4000-8000-0000000000d1\", \"a1b2c3d4-0000-4000-8000-0000000000d2\"]
bindings = [{{ plugin = \"every-event\", settings = {{ {settings} }} }}]
{keys}
"
        );
        toml.push_str(&extension);
    }
    toml
}

/// Keys in PEM, in the tenant's `secrets`.
const PEM: &str =
    "decryption_keys = [{ private_key = \"file:migration.key.pem\", certificate = \"file:migration.pem\" }]";

fn write_key(entra: &LocalEntra, tenant: &Path) {
    let key = entra
        .directory(CUSTOMERS)
        .unwrap()
        .encryption_key(MIGRATION)
        .unwrap()
        .clone();
    fs::create_dir_all(tenant.join("secrets")).unwrap();
    fs::write(tenant.join("secrets/migration.key.pem"), key.private_key_pem().unwrap()).unwrap();
    fs::write(tenant.join("secrets/migration.pem"), key.certificate_pem().unwrap()).unwrap();
}

async fn entra() -> LocalEntra {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/local-entra/example.toml");
    let config = Config::load(&example).unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    LocalEntra::start(Config { listen, ..config }).await.unwrap()
}

async fn start(settings: Settings<'_>) -> Platform {
    // Records are in the store when answers come, so that it can be searched for secrets.
    let stage = Stage::with(entra().await).host_config(claimsmith_tests::audit::REQUIRED);
    let toml = tenant_toml(&stage.entra, settings, PEM);
    let tenant = stage.file("tenants/contoso");
    fs::create_dir_all(tenant.join("plugins")).unwrap();
    fs::copy(plugin("every-event"), tenant.join("plugins/every-event.wasm")).unwrap();
    fs::write(tenant.join("tenant.toml"), toml).unwrap();
    write_key(&stage.entra, &tenant);
    let platform = stage.start().await;
    for (id, name, _) in EXTENSIONS {
        let id = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_0000 + id);
        platform
            .entra
            .set_target_url(id, &platform.url_of("contoso", name))
            .unwrap();
    }
    platform
}

fn values(values: Value) -> Map<String, Value> {
    let Value::Object(values) = values else {
        panic!("{values}")
    };
    values
}

fn sign_up(submitted: Value) -> SignUpRequest {
    SignUpRequest::new(CUSTOMERS, "new@example.org", "Shop", values(submitted))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_up_with_values_that_plugins_have_filled_in_and_changed() {
    let platform = start(&[
        ("page", "action = \"prefill\", values = { city = \"Paris\" }"),
        ("check", "action = \"modify\", values = { displayName = \"Ada B.\" }"),
    ])
    .await;
    let request = sign_up(json!({"displayName": "ada"}));
    let outcome = platform.entra.sign_up(&request).await.unwrap();
    let Ok(SignedUp::Created { shown, attributes, .. }) = outcome.result else {
        panic!("{:?}", outcome.result)
    };
    assert_eq!(shown["city"], "Paris");
    assert_eq!(attributes["city"], "Paris");
    assert_eq!(attributes["displayName"], "Ada B.");
    assert_eq!(outcome.callouts.len(), 2);
    for callout in outcome.callouts {
        assert_eq!(callout.warnings, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_is_blocked_or_asked_to_be_corrected() {
    let platform = start(&[
        (
            "page",
            "action = \"block\", title = \"Closed\", message = \"Come back on Monday.\"",
        ),
        (
            "check",
            "action = \"validation_error\", message = \"Please correct.\", errors = { city = \"Letters only\" }",
        ),
    ])
    .await;
    let outcome = platform.entra.sign_up(&sign_up(json!({}))).await.unwrap();
    let Ok(SignedUp::Blocked { page }) = outcome.result else {
        panic!("{:?}", outcome.result)
    };
    assert_eq!(
        (page.title.as_deref(), page.message.as_str()),
        (Some("Closed"), "Come back on Monday.")
    );

    fs::write(
        platform.tenant_file("tenant.toml"),
        tenant_toml(
            &platform.entra,
            &[(
                "check",
                "action = \"validation_error\", errors = { city = \"Letters only\" }",
            )],
            PEM,
        ),
    )
    .unwrap();
    eventually("the page is open", async || {
        let outcome = platform
            .entra
            .sign_up(&sign_up(json!({"city": "P4ris"})))
            .await
            .unwrap();
        let Ok(SignedUp::Invalid { error }) = outcome.result else {
            return false;
        };
        serde_json::to_value(error)
            .unwrap()
            .to_string()
            .contains("Letters only")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_code_is_sent_by_the_extension_or_else_by_microsoft_and_is_in_no_log() {
    let code = "40718263";
    let echo = format!("action = \"echo\", only = \"code\", secret = \"{code}\"");
    let request = SendOtpRequest {
        one_time_code: Some(code.to_owned()),
        ..SendOtpRequest::new(CUSTOMERS, "ada@example.org", "Shop")
    };
    for (settings, expected) in [
        (echo.as_str(), CodeDelivered::ByExtension),
        ("action = \"unavailable\"", CodeDelivered::ByMicrosoftAfterFailure),
        ("action = \"panic\"", CodeDelivered::ByMicrosoftAfterFailure),
    ] {
        let platform = start(&[("mail", settings)]).await;
        let outcome = platform.entra.send_otp(&request).await.unwrap();
        assert_eq!(outcome.result, Ok(expected), "{settings}");
        if expected == CodeDelivered::ByExtension {
            let said = |line: &Value| line.to_string().contains("code.matches");
            let line = platform.host.log_line("what the plugin was given", said).await;
            assert!(
                line["message"].as_str().unwrap().contains(r#""code.matches":"true""#),
                "{line}"
            );
        }
        platform.host.callout_line(0).await;
        for line in platform.host.log() {
            assert!(!line.to_string().contains(code), "{line}");
        }
        claimsmith_tests::audit::assert_nowhere_in_store(platform.directory.path(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_migrated_updated_tried_again_or_blocked_and_is_in_no_log() {
    let password = "correct horse battery staple";
    for (settings, migrated) in [
        ("action = \"migrate\"", "migrated"),
        ("action = \"update\"", "update_needed"),
        ("action = \"retry\"", "retry"),
        (
            "action = \"block\", title = \"Locked\", message = \"Call us.\"",
            "blocked",
        ),
    ] {
        let platform = start(&[("migration", settings)]).await;
        let request = SubmitPasswordRequest::new(CUSTOMERS, "lin@example.org", password, "Shop");
        let outcome = platform.entra.submit_password(&request).await.unwrap();
        let result = serde_json::to_value(outcome.result.as_ref().unwrap()).unwrap();
        assert_eq!(result["result"], migrated, "{settings}: {result}");
        if let Ok(PasswordSubmitted::Migrated) = outcome.result {
            // From now on Entra knows the password, and asks nobody.
            let again = platform.entra.submit_password(&request).await.unwrap();
            assert_eq!(
                (again.result, again.callouts.len()),
                (Ok(PasswordSubmitted::Accepted), 0)
            );
        }
        platform.host.callout_line(0).await;
        for line in platform.host.log() {
            assert!(!line.to_string().contains("correct horse"), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_any_characters_is_in_no_log() {
    let platform = start(&[("migration", "action = \"blab\"")]).await;
    for before in [
        "",
        "tab\t",
        "\"quoted\" ",
        "back\\slash",
        "bidi\u{202e}",
        "line\u{2028}",
        "ä\u{1f511}",
    ] {
        let password = format!("{before}hunter2");
        let mark = platform.host.log_mark();
        let request = SubmitPasswordRequest::new(CUSTOMERS, "lin@example.org", &password, "Shop");
        platform.entra.submit_password(&request).await.unwrap();
        let line = platform.host.callout_line(mark).await;
        let stderr = line["guest_stderr"].as_str().unwrap_or_default();
        assert!(stderr.contains("is left out"), "{line}");
    }
    for line in platform.host.log() {
        assert!(!line.to_string().contains("hunter2"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_plugin_is_given_is_what_was_typed() {
    let password = "p\"\\ä\u{1f511}";
    let platform = start(&[(
        "migration",
        &format!("action = \"echo\", only = \"pass\", secret = {}", json!(password)),
    )])
    .await;
    let request = SubmitPasswordRequest::new(CUSTOMERS, "lin@example.org", password, "Shop");
    let outcome = platform.entra.submit_password(&request).await.unwrap();
    let Ok(PasswordSubmitted::Blocked(page)) = outcome.result else {
        panic!("{:?}", outcome.result)
    };
    let page = serde_json::to_value(page).unwrap().to_string();
    assert!(page.contains(r#"\"password.matches\":\"true\""#), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decryption_key_is_replaced_without_a_restart() {
    let platform = start(&[("migration", "action = \"retry\"")]).await;
    let request = SubmitPasswordRequest::new(CUSTOMERS, "lin@example.org", "wrong so far", "Shop");
    let other = claimsmith_local_entra::EncryptionKey::generate().unwrap();
    let secret = |name: &str| platform.tenant_file("secrets").join(name);
    fs::write(secret("migration.key.pem"), other.private_key_pem().unwrap()).unwrap();
    fs::write(secret("migration.pem"), other.certificate_pem().unwrap()).unwrap();
    let refused = Err(Refusal::Callout(CalloutErrorCode::CustomExtensionInvalidHTTPStatus));
    eventually("the other key is used", async || {
        platform.entra.submit_password(&request).await.unwrap().result == refused
    })
    .await;
    let why = |line: &Value| {
        line["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("not configured"))
    };
    let line = platform.host.log_line("why", why).await;
    assert_eq!(line["outcome"], "password_context");
    assert!(line["reason"].as_str().unwrap().contains(other.thumbprint()), "{line}");

    write_key(&platform.entra, &platform.tenant_file(""));
    eventually("Entra's key is used", async || {
        platform.entra.submit_password(&request).await.unwrap().result.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_recovered_unless_claims_fail() {
    let claims = || VerifiedIdClaims {
        claims: [("firstName", "Grace"), ("lastName", "Hopper")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..VerifiedIdClaims::default()
    };
    let request = RecoverAccountRequest::new(STAFF, "grace@northwind.example", "Help desk", claims());
    let platform = start(&[]).await;
    let outcome = platform.entra.recover_account(&request).await.unwrap();
    assert!(
        matches!(outcome.result, Ok(AccountRecovered::TemporaryAccessPassIssued { .. })),
        "{:?}",
        outcome.result
    );
    let platform = start(&[("recovery", "action = \"failed\", failed = [\"lastName\"]")]).await;
    let outcome = platform.entra.recover_account(&request).await.unwrap();
    let failed_claims = vec!["lastName".to_owned()];
    assert_eq!(outcome.result, Ok(AccountRecovered::ClaimsFailed { failed_claims }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_used_is_a_mistake_with_a_place_and_a_reason() {
    let mut stage = Stage::with(entra().await);
    let other = claimsmith_local_entra::EncryptionKey::generate().unwrap();
    let cases = cases("configuration/keys.json");
    for (number, case) in cases.iter().enumerate() {
        let tenant = stage.file("tenants").join(format!("key-{number}"));
        let toml = world::directories_toml(&stage.entra)
            + "[extensions.migration]\nevent = \"passwordSubmit\"\naudiences = [\"a\"]\n\
               bindings = [{ plugin = \"every-event\" }]\n"
            + case["keys"].as_str().unwrap();
        fs::create_dir_all(tenant.join("plugins")).unwrap();
        fs::copy(plugin("every-event"), tenant.join("plugins/every-event.wasm")).unwrap();
        write_key(&stage.entra, &tenant);
        fs::write(tenant.join("secrets/other.pem"), other.certificate_pem().unwrap()).unwrap();
        fs::write(tenant.join("secrets/migration.p12"), "no PKCS#12").unwrap();
        fs::write(tenant.join("tenant.toml"), toml).unwrap();
    }
    stage = stage.host_config("watch.enabled = false");
    let platform = stage.listen("json").await;
    for (number, case) in cases.iter().enumerate() {
        let tenant = format!("key-{number}");
        let of_tenant = |line: &Value| line["level"] == "ERROR" && line["tenant"] == *tenant;
        let line = platform.host.log_line(&tenant, of_tenant).await;
        let message = line["message"].as_str().unwrap();
        for expected in case["error"].as_array().unwrap() {
            assert!(message.contains(expected.as_str().unwrap()), "{case}: {message}");
        }
        let place = format!("tenants/{tenant}/tenant.toml:");
        assert!(message.starts_with(&place), "{case}: {message}");
    }
    let key = platform
        .entra
        .directory(CUSTOMERS)
        .unwrap()
        .encryption_key(MIGRATION)
        .unwrap();
    let of_the_key = key.private_key_pem().unwrap().lines().nth(5).unwrap();
    for line in platform.host.log() {
        assert!(!line.to_string().contains(of_the_key), "{line}");
    }
}
