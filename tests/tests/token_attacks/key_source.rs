//! Headers and claims that name a key, or where to get one: nobody there is asked (RFC 8725, section 3.10).

use claimsmith_local_entra::TokenRequest;
use claimsmith_tests::{Platform, Trap, eventually};
use serde_json::{Value, json};

use crate::range::Range;

/// Every way in which a header can bring or name a key.
fn key_sources(range: &Range) -> Vec<(&'static str, Value)> {
    let url = range.trap.url("/keys");
    let (jwk, certificate) = (range.attacker.key.public_jwk(), &range.attacker.certificate);
    let metadata = range.trap.url("/.well-known/openid-configuration");
    vec![
        ("jku", json!({"jku": url})),
        (
            "jku with credentials",
            json!({"jku": url.replacen("http://", "http://user:pass@", 1)}),
        ),
        ("x5u", json!({"x5u": url})),
        ("jwk", json!({"jwk": jwk})),
        ("x5c", json!({"x5c": [certificate]})),
        ("x5t", json!({"x5t": range.attacker.key.key_id()})),
        ("iss in the header", json!({"iss": metadata, "jwks_uri": url})),
        (
            "all",
            json!({"jku": url, "x5u": url, "jwk": jwk, "x5c": [certificate], "jwks": {"keys": [jwk]}}),
        ),
    ]
}

fn with_headers(request: TokenRequest, headers: &Value) -> TokenRequest {
    let headers = headers.as_object().unwrap().clone();
    let add = |request: TokenRequest, (name, value): (String, Value)| request.header(&name, value);
    headers.into_iter().fold(request, add)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_token_brings_or_names_is_not_used() {
    let range = Range::start().await;
    let signed = range.signed_by(&range.attacker.key);
    let mut attacks = Vec::new();
    for (name, headers) in key_sources(&range) {
        let request = with_headers(signed.clone(), &headers);
        let published = format!("{name}, kid of the directory's key");
        attacks.push(range.minted(&published, &request, "token_signature"));
        let own = format!("{name}, kid of the attacker's key");
        let request = request.header("kid", range.attacker.key.key_id());
        attacks.push(range.minted(&own, &request, "token_unknown_key"));
        let url = format!("{name}, a URL as kid");
        let request = request.header("kid", range.trap.url("/keys"));
        attacks.push(range.minted(&url, &request, "token_unknown_key"));
    }
    let metadata = "/v2.0/.well-known/openid-configuration";
    for (name, issuer) in [
        ("iss is the attacker's", range.trap.url("/v2.0")),
        ("iss is the attacker's document", range.trap.url(metadata)),
        ("iss is the attacker's root", range.trap.url("")),
    ] {
        let request = signed.clone().claim("iss", issuer);
        attacks.push(range.minted(name, &request, "token_issuer"));
    }
    range.refuses(&attacks).await;

    // They are not followed, which is not the same as refused: the directory's own token stays good.
    for (name, headers) in key_sources(&range) {
        let token = range.mint(&with_headers(range.good(), &headers));
        range.accepts("claims", name, &token).await;
    }
    assert_eq!(range.trap.connections(), 0);
}

/// The trap counts: the host does come when its configuration names it.
#[tokio::test(flavor = "multi_thread")]
async fn the_trap_counts_what_the_host_asks() {
    let platform = Platform::start("[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\n").await;
    let trap = Trap::set().await;
    let url = trap.url("/.well-known/openid-configuration");
    let toml = platform.tenant_toml("[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\n");
    let directory =
        format!("[[directories]]\nid = \"0d1e0001-0000-4000-8000-0000000000d9\"\nmetadata = [{{ url = \"{url}\" }}]\n");
    let toml = toml.replacen("[[directories]]", &format!("{directory}[[directories]]"), 1);
    tokio::fs::write(platform.tenant_file("tenant.toml"), toml)
        .await
        .unwrap();
    eventually("the host asks the trap", async || trap.connections() > 0).await;
}
