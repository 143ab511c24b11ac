//! `exp` and `nbf`: numbers, and now between them.

use claimsmith_local_entra::TokenRequest;
use serde_json::{Value, json};

use crate::range::{Attack, Range, now, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_accepted_in_its_time_only() {
    let range = Range::start().await;
    let timed = |nbf: i64, exp: i64| range.good().claim("nbf", now(nbf)).claim("exp", now(exp));
    let attack = |name: &str, request: TokenRequest, outcome| range.minted(name, &request, outcome);
    // Far enough from the edge of the leeway, a minute, for a slow machine.
    let attacks = [
        attack("expired an hour ago", timed(-7200, -3600), "token_expired"),
        attack("expired beyond the leeway", timed(-3600, -61), "token_expired"),
        attack("expired in 1970", range.good().claim("exp", 0), "token_expired"),
        attack("expired before it was valid", timed(3600, -3600), "token_expired"),
        attack("not valid for an hour", timed(3600, 7200), "token_not_yet_valid"),
        attack(
            "not valid yet, beyond the leeway",
            timed(90, 3600),
            "token_not_yet_valid",
        ),
        attack(
            "never valid",
            range.good().claim("nbf", u64::MAX),
            "token_not_yet_valid",
        ),
        attack(
            "in milliseconds",
            range.good().claim("nbf", now(0) * 1000),
            "token_not_yet_valid",
        ),
        attack("expired, no leeway", timed(-3600, -2), "token_expired").at("contoso", "exact"),
        attack("not valid yet, no leeway", timed(30, 3600), "token_not_yet_valid").at("contoso", "exact"),
    ];
    range.refuses(&attacks).await;

    for (name, request) in [
        ("expired within the leeway", timed(-3600, -20)),
        ("valid within the leeway", timed(30, 3600)),
        ("the largest exp", range.good().claim("exp", u64::MAX)),
    ] {
        range.accepts("claims", name, &range.mint(&request)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_whole_seconds() {
    let range = Range::start().await;
    let values = [
        ("text", json!(now(600).to_string())),
        ("a date", json!("2099-01-01T00:00:00Z")),
        ("a fraction", json!(4_102_444_800.5)),
        ("negative", json!(-1)),
        ("huge", json!(1e300)),
        ("null", Value::Null),
        ("true", json!(true)),
        ("an array", json!([now(600)])),
        ("an object", json!({"$gt": 0})),
    ];
    let mut attacks = Vec::new();
    for claim in ["exp", "nbf"] {
        for (name, value) in &values {
            let request = range.good().claim(claim, value.clone());
            attacks.push(range.minted(&format!("{claim} is {name}"), &request, "token_malformed"));
        }
        let request = range.good().without_claim(claim);
        attacks.push(range.minted(&format!("no {claim}"), &request, "token_malformed"));
        // Numbers that no serializer of ours writes.
        let header = text(&range.good().header);
        for number in ["18446744073709551616", "4.1e9", "1e999", "-0", "0x7fffffff", "010"] {
            let claims = text(&range.good().without_claim(claim).claims);
            let claims = claims.replacen('{', &format!("{{\"{claim}\":{number},"), 1);
            let token = range.raw(&header, claims);
            attacks.push(Attack::new(format!("{claim} is {number}"), token, "token_malformed"));
        }
    }
    range.refuses(&attacks).await;
}
