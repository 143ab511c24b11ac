//! The plugin `signup-guard`: people sign up, and are let in, helped, corrected or turned away.

use std::fs;
use std::path::Path;

use claimsmith_local_entra::{Config, LocalEntra, SignUpRequest, SignedUp};
use claimsmith_tests::{Platform, Stage, plugin, world};
use serde_json::{Value, json};
use uuid::Uuid;

use super::LOOPBACK;

const CUSTOMERS: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_0001);
/// The extensions of the local Entra's example: the last digits of their ids, their names and events.
const EXTENSIONS: &[(u128, &str, &str)] = &[
    (0xc2, "page", "attributeCollectionStart"),
    (0xc3, "check", "attributeCollectionSubmit"),
];

/// Of both extensions.
const SETTINGS: &str = r#"
blocked_domains = ["mailinator.com", "*.mailinator.com"]
block_title = "Another address, please"
block_message = { en = "No throw-away addresses.", de = "Keine Wegwerfadressen." }
prefill = { city = "Paris", extension_a1b2c3d40000400080000000000000a1_Year = 1815 }
prefill_by_domain."contoso.com" = { city = "Rome" }
attributes = [
    { name = "displayName", required = true, trim = true, max_length = 20, message = { en = "Your name, please.", de = "Ihr Name, bitte." } },
    { name = "city", pattern = '^[^0-9]+$', message = "Letters only." },
]
"#;

async fn start() -> Platform {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/local-entra/example.toml");
    let config = Config::load(&example).unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let entra = LocalEntra::start(Config { listen, ..config }).await.unwrap();
    let stage = Stage::with(entra).host_config(LOOPBACK);
    let extensions = EXTENSIONS.iter().map(|(_, name, event)| {
        format!(
            "[extensions.{name}]
event = \"{event}\"
audiences = [\"a1b2c3d4-0000-4000-8000-0000000000d1\"]
[[extensions.{name}.bindings]]
plugin = \"signup-guard\"
[extensions.{name}.bindings.settings]
{SETTINGS}"
        )
    });
    let toml = world::directories_toml(&stage.entra) + &extensions.collect::<String>();
    let tenant = stage.file("tenants/contoso");
    fs::create_dir_all(tenant.join("plugins")).unwrap();
    fs::copy(plugin("signup-guard"), tenant.join("plugins/signup-guard.wasm")).unwrap();
    fs::write(tenant.join("tenant.toml"), toml).unwrap();
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

/// Somebody signs up: what comes of it.
async fn sign_up(platform: &Platform, email: &str, locale: &str, submitted: Value) -> SignedUp {
    let Value::Object(submitted) = submitted else {
        panic!("{submitted}")
    };
    let mut request = SignUpRequest::new(CUSTOMERS, email, "Shop", submitted);
    locale.clone_into(&mut request.circumstances.client.locale);
    let outcome = platform.entra.sign_up(&request).await.unwrap();
    for callout in outcome.callouts {
        assert_eq!(callout.warnings, Vec::<String>::new());
    }
    outcome.result.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_up_with_what_is_known_of_the_domain_and_a_tidy_name() {
    let platform = start().await;
    let name = json!({ "displayName": "  Ada Byron " });
    let done = sign_up(&platform, "new@example.org", "en-us", name.clone()).await;
    let SignedUp::Created { shown, attributes, .. } = done else {
        panic!("{done:?}")
    };
    assert_eq!(
        (&shown["city"], &attributes["city"]),
        (&json!("Paris"), &json!("Paris"))
    );
    assert_eq!(shown["extension_a1b2c3d40000400080000000000000a1_Year"], 1815);
    assert_eq!(attributes["displayName"], "Ada Byron");
    let done = sign_up(&platform, "other@Contoso.com", "en-us", name).await;
    let SignedUp::Created { shown, .. } = done else {
        panic!("{done:?}")
    };
    assert_eq!(shown["city"], "Rome");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throw_away_address_is_turned_away_in_its_language() {
    let platform = start().await;
    for (locale, message) in [("de-de", "Keine Wegwerfadressen."), ("es", "No throw-away addresses.")] {
        for email in ["eve@mailinator.com", "eve@a.MAILINATOR.com"] {
            let done = sign_up(&platform, email, locale, json!({ "displayName": "Eve" })).await;
            let SignedUp::Blocked { page } = done else {
                panic!("{email}: {done:?}")
            };
            assert_eq!(page.title.as_deref(), Some("Another address, please"));
            assert_eq!(page.message, message);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_not_do_is_told_beside_the_attribute() {
    let platform = start().await;
    let submitted = json!({ "displayName": " ", "city": "P4ris" });
    let done = sign_up(&platform, "new@example.org", "de-de", submitted).await;
    let SignedUp::Invalid { error } = done else {
        panic!("{done:?}")
    };
    let error = serde_json::to_value(error).unwrap();
    let text = error.to_string();
    for part in ["Please correct the marked fields.", "Ihr Name, bitte.", "Letters only."] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
