//! What must be accepted: a host that refuses everything would pass all the other tests.

use claimsmith_local_entra::TokenVersion;
use claimsmith_tests::world::{self, DIRECTORY, RESOURCE};
use claimsmith_tests::{Documents, Mood, Platform, Stage};
use serde_json::{Value, json};

use crate::range::Range;

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_both_versions_are_accepted() {
    let range = Range::start().await;
    let resource = RESOURCE.to_string();
    for (name, request) in [
        ("v2.0", range.good()),
        ("v1.0 for the identifier URI", range.good_v1()),
        (
            "v1.0 for the application id",
            range.good_v1().claim("aud", resource.as_str()),
        ),
        (
            "with claims that nobody knows",
            range.good().claim("x", json!({"y": [1, 2, {"z": null}]})),
        ),
    ] {
        range.accepts("claims", name, &range.mint(&request)).await;
    }
    let token = range.mint(&range.good());
    range.accepts_at("solo", "claims", "one document", &token).await;
}

/// A tenant with these documents of its directory (TOML), and tokens of it with any issuer.
struct Published {
    platform: Platform,
    #[expect(dead_code, reason = "it answers as long as it lives")]
    documents: Documents,
}

impl Published {
    /// `metadata` makes the tenant's documents (TOML) from those that it publishes, given the directory's public key.
    async fn start(metadata: impl Fn(&Documents, Value) -> String) -> Self {
        let (entra, documents) = Documents::start(world::config(), Mood::Serve).await;
        let stage = Stage::with(entra);
        let key = stage.entra.directory(DIRECTORY).unwrap().current_key().public_jwk();
        let toml = format!(
            "[[directories]]\nid = \"{DIRECTORY}\"\nmetadata = [{}]\n{}",
            metadata(&documents, key),
            world::extension_toml("claims", "", "misbehaving", ""),
        );
        let platform = stage.tenant("contoso", &toml).start().await;
        Self { platform, documents }
    }

    /// How a callout with a token of this issuer ends.
    async fn outcome(&self, issuer: &str) -> Value {
        let directory = self.platform.directory();
        let request = directory.callout_token(world::EXTENSION).unwrap().claim("iss", issuer);
        let token = directory.mint(&request).unwrap();
        let mark = self.platform.host.log_mark();
        self.platform.call(&token, &self.platform.body()).await;
        self.platform.host.callout_line(mark).await["outcome"].clone()
    }
}

fn with_issuer(key: &Value, issuer: &Value) -> Value {
    let mut key = key.clone();
    key["issuer"] = issuer.clone();
    key
}

/// External directories' tokens have been seen with the directory's id and with its domain as subdomain (contract.md,
/// section 2.1).
#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_an_external_directorys_issuer_are_accepted_where_configured() {
    let by_id = format!("https://{DIRECTORY}.ciamlogin.com/{DIRECTORY}/v2.0");
    let by_domain = format!("https://contoso.ciamlogin.com/{DIRECTORY}/v2.0");
    let workforce = format!("https://login.microsoftonline.com/{DIRECTORY}/v2.0");
    // The document names one form, and so do its keys; the other one is configured.
    let published = Published::start(|documents, key| {
        let ciam = documents.publish_issuer("/ciam", &by_id, &[with_issuer(&key, &json!(by_id))]);
        format!("{{ url = \"{ciam}\", issuers = [\"{by_domain}\"] }}")
    })
    .await;
    assert_eq!(published.outcome(&by_id).await, "answered");
    assert_eq!(published.outcome(&by_domain).await, "answered");
    assert_eq!(published.outcome(&workforce).await, "token_issuer");
    let fabrikam = by_domain.replace("contoso", "fabrikam");
    assert_eq!(published.outcome(&fabrikam).await, "token_issuer");

    // Two documents, of which only the second has the key.
    let published = Published::start(|documents, key| {
        let other = json!({"kty": "RSA", "use": "sig", "kid": "other", "n": key["n"], "e": "AQAB"});
        let first = documents.publish_issuer("/workforce", &workforce, &[other]);
        let second = documents.publish_issuer("/ciam", &by_domain, &[key]);
        format!("{{ url = \"{first}\", issuers = [\"{by_domain}\"] }}, {{ url = \"{second}\" }}")
    })
    .await;
    assert_eq!(published.outcome(&by_domain).await, "answered");
    assert_eq!(published.outcome(&workforce).await, "token_unknown_key");
    assert_eq!(published.outcome(&by_id).await, "token_issuer");
}

/// Tenant-independent metadata: the document and its keys have a placeholder in their issuers, and some keys are of one
/// directory alone (contract.md, section 2.2).
#[tokio::test(flavor = "multi_thread")]
async fn keys_sign_for_the_issuer_that_they_name() {
    let placeholder = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let issuer = placeholder.replace("{tenantid}", &DIRECTORY.to_string());
    let consumers = placeholder.replace("{tenantid}", "9188040d-6c67-4c5b-b112-36a304b66dad");
    let cases = [
        (json!(placeholder), "answered"),
        (json!(issuer), "answered"),
        (json!(consumers), "token_unknown_key"),
        (
            json!("https://login.microsoftonline.com/common/v2.0"),
            "token_unknown_key",
        ),
        (json!(""), "token_unknown_key"),
    ];
    for (key_issuer, outcome) in cases {
        let published = Published::start(|documents, key| {
            let document = documents.publish_issuer("/common", placeholder, &[with_issuer(&key, &key_issuer)]);
            format!("{{ url = \"{document}\" }}")
        })
        .await;
        assert_eq!(published.outcome(&issuer).await, outcome, "{key_issuer}");
        assert_eq!(published.outcome(&consumers).await, "token_issuer", "{key_issuer}");
        assert_eq!(published.outcome(placeholder).await, "token_issuer", "{key_issuer}");
    }
}

/// A key that says what it is for is not used for anything else (RFC 7517, sections 4.2 to 4.4), and one whose limits
/// cannot be read is not used at all.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_used_for_what_they_are_published_for() {
    let issuer = "https://login.example/v2.0";
    let unusable = json!({"kty": "RSA", "use": "sig", "kid": "other", "n": "AQAB", "e": "AQAB"});
    let cases = [
        (json!({"alg": "RS256"}), "answered"),
        (json!({"key_ops": ["verify"]}), "answered"),
        (json!({"alg": "RS512"}), "token_algorithm"),
        (json!({"alg": "RSA-OAEP"}), "token_unknown_key"),
        (json!({"alg": 256}), "token_unknown_key"),
        (json!({"use": "enc"}), "token_unknown_key"),
        (json!({"key_ops": ["encrypt"]}), "token_unknown_key"),
        (json!({"issuer": 7}), "token_unknown_key"),
        (json!({"issuer": null}), "token_unknown_key"),
        (json!({"kty": "oct", "k": "AQAB"}), "token_unknown_key"),
    ];
    for (members, outcome) in cases {
        let published = Published::start(|documents, mut key| {
            for (name, value) in members.as_object().unwrap() {
                key[name] = value.clone();
            }
            let document = documents.publish_issuer("/keys", issuer, &[key, unusable.clone()]);
            format!("{{ url = \"{document}\" }}")
        })
        .await;
        assert_eq!(published.outcome(issuer).await, outcome, "{members}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_each_version_needs_its_own_document() {
    let range = Range::start().await;
    let v1 = range.directory().issuer(TokenVersion::V1);
    assert_eq!(range.good_v1().claims["iss"], v1.as_str());
    range
        .accepts("claims", "v1.0 with both documents", &range.mint(&range.good_v1()))
        .await;
    let asked = range
        .documents
        .requests(&format!("/{DIRECTORY}/.well-known/openid-configuration"));
    assert_eq!(asked, 1);
}
