//! `aud`, `iss` and `tid`: for whom, from whom. Compared exactly.

use claimsmith_local_entra::TokenVersion;
use claimsmith_tests::world::{self, DIRECTORY, EXTERNAL_DIRECTORY, RESOURCE};
use serde_json::{Value, json};

use crate::range::{Attack, OWN_APPLICATION, Range};

/// One claim with each of these values, in a token that is good otherwise.
fn values(range: &Range, claim: &str, outcome: &'static str, values: Vec<(&str, Value)>) -> Vec<Attack> {
    let attack = |(name, value): (&str, Value)| {
        let request = range.good().claim(claim, value);
        range.minted(&format!("{claim}: {name}"), &request, outcome)
    };
    values.into_iter().map(attack).collect()
}

/// One claim with values that are no text, and without it.
fn no_text(range: &Range, claim: &str) -> Vec<Attack> {
    let right = range.good().claims[claim].clone();
    let wrong = vec![
        ("null", Value::Null),
        ("a number", json!(2.0)),
        ("a boolean", json!(true)),
        ("an object", json!({"$ne": ""})),
        ("an empty array", json!([])),
        ("the right one in an array", json!([right])),
        ("the right one and another", json!([right, "x"])),
        ("another and the right one", json!(["x", right])),
    ];
    let mut attacks = values(range, claim, "token_malformed", wrong);
    let absent = range.good().without_claim(claim);
    attacks.push(range.minted(&format!("{claim}: missing"), &absent, "token_malformed"));
    attacks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_this_extension() {
    let range = Range::start().await;
    let (resource, id_uri) = (RESOURCE.to_string(), world::resource_id());
    let wrong = vec![
        ("another extension's", json!(OWN_APPLICATION)),
        ("Microsoft Graph", json!("00000003-0000-0000-c000-000000000000")),
        ("empty", json!("")),
        ("upper case", json!(resource.to_uppercase())),
        ("a slash more", json!(format!("{id_uri}/"))),
        ("a scope more", json!(format!("{id_uri}/.default"))),
        ("a character less", json!(resource[1..])),
        ("a space more", json!(format!("{resource} "))),
        ("a line break more", json!(format!("{resource}\n"))),
        ("a NUL more", json!(format!("{resource}\0"))),
        ("two in one text", json!(format!("{resource} {OWN_APPLICATION}"))),
        ("as URI of the id", json!(format!("api://{resource}"))),
        ("as URN", json!(format!("urn:uuid:{resource}"))),
        ("another host's URI", json!(format!("api://localhost/{resource}"))),
        ("a wildcard", json!("*")),
    ];
    let mut attacks = values(&range, "aud", "token_audience", wrong);
    attacks.extend(no_text(&range, "aud"));
    let ours = range.minted("aud: ours at another extension", &range.good(), "token_audience");
    attacks.push(ours.at("contoso", "other"));
    range.refuses(&attacks).await;

    let other = range.mint(&range.good().claim("aud", OWN_APPLICATION));
    range.accepts("other", "the other extension's", &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_from_an_issuer_of_the_tenant() {
    let range = Range::start().await;
    let issuer = range.directory().issuer(TokenVersion::V2);
    let host = issuer.strip_prefix("http://").unwrap();
    let (address, path) = host.split_once('/').unwrap();
    let wrong = vec![
        ("empty", json!("")),
        ("somebody else's", json!("https://login.example/v2.0")),
        ("a slash more", json!(format!("{issuer}/"))),
        ("a space more", json!(format!(" {issuer}"))),
        ("a NUL more", json!(format!("{issuer}\0"))),
        ("upper case", json!(issuer.to_uppercase())),
        ("scheme in upper case", json!(format!("HTTP://{host}"))),
        ("another scheme", json!(format!("https://{host}"))),
        ("no scheme", json!(host)),
        ("a user before the host", json!(format!("http://x@{host}"))),
        (
            "the issuer as user",
            json!(format!("http://{address}@{}", &range.trap.url("/")[7..])),
        ),
        ("a prefix of it", json!(issuer[..issuer.len() - 1])),
        ("longer", json!(format!("{issuer}.example"))),
        ("a query more", json!(format!("{issuer}?x=1"))),
        ("a fragment more", json!(format!("{issuer}#x"))),
        ("dots in the path", json!(format!("http://{address}/x/../{path}"))),
        ("two slashes", json!(format!("http://{address}//{path}"))),
        ("percent encoding", json!(issuer.replace("v2.0", "v2%2E0"))),
        ("a homograph", json!(issuer.replace("v2.0", "v2․0"))),
        ("punycode", json!(format!("http://xn--{host}"))),
        (
            "the placeholder",
            json!(issuer.replace(&DIRECTORY.to_string(), "{tenantid}")),
        ),
        ("common", json!(issuer.replace(&DIRECTORY.to_string(), "common"))),
        ("v1.0 without its slash", json!(range.directory().base_url())),
        ("its document", json!(range.directory().metadata_url(TokenVersion::V2))),
    ];
    let mut attacks = values(&range, "iss", "token_issuer", wrong);
    attacks.extend(no_text(&range, "iss"));
    // The tenant `solo` names the v2.0 document alone: its keys do not sign for the v1.0 issuer.
    let v1 = range.minted("iss: v1.0 with the v2.0 document", &range.good_v1(), "token_issuer");
    attacks.push(v1.at("solo", "claims"));
    let v1_issuer = range.good().claim("iss", range.directory().issuer(TokenVersion::V1));
    let v1_issuer = range.minted("iss: of v1.0 in a v2.0 token", &v1_issuer, "token_issuer");
    attacks.push(v1_issuer.at("solo", "claims"));
    range.refuses(&attacks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_from_the_directory_that_signed_it() {
    let range = Range::start().await;
    let tid = DIRECTORY.to_string();
    let wrong = vec![
        ("another directory's", json!(EXTERNAL_DIRECTORY.to_string())),
        ("nil", json!("00000000-0000-0000-0000-000000000000")),
        ("empty", json!("")),
        ("common", json!("common")),
        ("a domain", json!("contoso.example")),
        ("in braces", json!(format!("{{{tid}}}"))),
        ("as URN", json!(format!("urn:uuid:{tid}"))),
        ("without hyphens", json!(tid.replace('-', ""))),
        ("a space more", json!(format!("{tid} "))),
        ("the placeholder", json!("{tenantid}")),
    ];
    let mut attacks = values(&range, "tid", "token_tenant", wrong);
    attacks.extend(no_text(&range, "tid"));
    range.refuses(&attacks).await;

    // Case does not count in a GUID.
    let upper = range.mint(&range.good().claim("tid", tid.to_uppercase()));
    range.accepts("claims", "tid in upper case", &upper).await;
}
