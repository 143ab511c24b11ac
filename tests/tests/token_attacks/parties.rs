//! `ver`, `azp` and `appid`: which application got the token.

use claimsmith_tests::world::RESOURCE;
use serde_json::{Value, json};

use crate::range::{OWN_APPLICATION, Range};

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_is_entra() {
    let range = Range::start().await;
    let caller = range.good().claims["azp"].as_str().unwrap().to_owned();
    let wrong = [
        ("the tenant's own application", OWN_APPLICATION.to_owned()),
        ("the resource itself", RESOURCE.to_string()),
        ("nil", "00000000-0000-0000-0000-000000000000".to_owned()),
        ("empty", String::new()),
        ("a name", "Azure Active Directory Authentication Extensions".to_owned()),
        ("a space before", format!(" {caller}")),
        ("in braces", format!("{{{caller}}}")),
        ("as URN", format!("urn:uuid:{caller}")),
        ("without hyphens", caller.replace('-', "")),
        ("a digit less", caller[1..].to_owned()),
        ("a list", format!("{OWN_APPLICATION} {caller}")),
    ];
    let mut attacks = Vec::new();
    for (name, value) in wrong {
        for (claim, good) in [("azp", range.good()), ("appid", range.good_v1())] {
            let request = good.claim(claim, value.as_str());
            attacks.push(range.minted(&format!("{claim}: {name}"), &request, "token_caller"));
        }
    }
    for (name, value) in [
        ("null", Value::Null),
        ("a number", json!(99_045)),
        ("an array", json!([caller])),
        ("an object", json!({})),
    ] {
        let request = range.good().claim("azp", value);
        attacks.push(range.minted(&format!("azp: {name}"), &request, "token_malformed"));
    }
    range.refuses(&attacks).await;

    let upper = range.mint(&range.good().claim("azp", caller.to_uppercase()));
    range.accepts("claims", "azp in upper case", &upper).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_names_the_member_with_the_caller() {
    let range = Range::start().await;
    let caller = range.good().claims["azp"].as_str().unwrap().to_owned();
    let (v1, v2) = (range.good_v1(), range.good());
    let own = OWN_APPLICATION;
    let mut attacks = vec![
        range.minted("v2.0 without azp", &v2.clone().without_claim("azp"), "token_caller"),
        range.minted("v1.0 without appid", &v1.clone().without_claim("appid"), "token_caller"),
        range.minted(
            "v2.0 with appid only",
            &v2.clone().without_claim("azp").claim("appid", caller.as_str()),
            "token_caller",
        ),
        range.minted(
            "v1.0 with azp only",
            &v1.clone().without_claim("appid").claim("azp", caller.as_str()),
            "token_caller",
        ),
        range.minted(
            "v2.0 with another appid",
            &v2.clone().claim("appid", own),
            "token_caller",
        ),
        range.minted("v1.0 with another azp", &v1.clone().claim("azp", own), "token_caller"),
        range.minted(
            "v2.0 with another azp, right appid",
            &v2.clone().claim("azp", own).claim("appid", caller.as_str()),
            "token_caller",
        ),
        range.minted(
            "v1.0 with another appid, right azp",
            &v1.clone().claim("appid", own).claim("azp", caller.as_str()),
            "token_caller",
        ),
        range.minted(
            "a v2.0 token that says 1.0",
            &v2.clone().claim("ver", "1.0"),
            "token_caller",
        ),
        range.minted(
            "a v1.0 token that says 2.0",
            &v1.clone().claim("ver", "2.0"),
            "token_caller",
        ),
        range.minted("no ver", &v2.clone().without_claim("ver"), "token_malformed"),
    ];
    for ver in ["3.0", "2", "1", "", "2.00", "02.0", "2.0 ", "v2.0", "1.0,2.0"] {
        let request = v2.clone().claim("ver", ver);
        attacks.push(range.minted(&format!("ver {ver:?}"), &request, "token_version"));
    }
    for ver in [json!(2.0), json!(2), Value::Null, json!(["2.0"]), json!({})] {
        let request = v2.clone().claim("ver", ver.clone());
        attacks.push(range.minted(&format!("ver {ver}"), &request, "token_malformed"));
    }
    range.refuses(&attacks).await;

    // Who says the same twice is not ambiguous.
    for (name, request) in [
        ("v2.0 with both", v2.claim("appid", caller.as_str())),
        ("v1.0 with both", v1.claim("azp", caller.as_str())),
    ] {
        range.accepts("claims", name, &range.mint(&request)).await;
    }
}
