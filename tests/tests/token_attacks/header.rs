//! The other members of the header: which key, and what kind of token.

use serde_json::{Map, Value, json};

use crate::range::{Attack, Range, text, with_member};

#[tokio::test(flavor = "multi_thread")]
async fn kid_names_a_published_key_and_nothing_else() {
    let range = Range::start().await;
    let kid = range.directory().current_key().key_id().to_owned();
    let unknown: Vec<String> = [
        "",
        "*",
        "../../../../../../dev/null",
        "/dev/null",
        "C:\\Windows\\win.ini",
        "' OR '1'='1",
        "x' UNION SELECT 'secret' --",
        "$(id)",
        "{tenantid}",
        "null",
        "0",
        "\0",
        "\r\nx-injected: 1",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([
        range.trap.url("/keys"),
        format!("file://{kid}"),
        format!("{kid}\0"),
        format!("{kid} "),
        format!("{kid}/../{kid}"),
        kid.to_lowercase(),
        kid[..kid.len() - 1].to_owned(),
        "k".repeat(8000),
    ])
    .collect();
    let with_kid = |kid: Value| range.good().header("kid", kid);
    let mut attacks = Vec::new();
    for kid in unknown {
        let name = format!("kid {kid:.40?}");
        attacks.push(range.minted(&name, &with_kid(json!(kid)), "token_unknown_key"));
    }
    for (name, kid) in [
        ("kid is a number", json!(7)),
        ("kid is null", Value::Null),
        ("kid is an array", json!([kid])),
        ("kid is an object", json!({"kid": kid})),
    ] {
        attacks.push(range.minted(name, &with_kid(kid), "token_malformed"));
    }
    let mut absent = range.good();
    absent.header.remove("kid");
    attacks.push(range.minted("kid is missing", &absent, "token_malformed"));
    range.refuses(&attacks).await;
}

/// RFC 7515, section 4.1.11: what is critical and not understood makes the token invalid, and nothing is understood.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_says_that_the_token_is_a_plain_one() {
    let range = Range::start().await;
    let with = |members: Value| {
        let Value::Object(members) = members else {
            panic!("an object")
        };
        let request = range.good();
        members
            .into_iter()
            .fold(request, |request, (name, value)| request.header(&name, value))
    };
    let headers = [
        ("crit that everybody knows", json!({"crit": ["exp"], "exp": 1})),
        ("crit that nobody knows", json!({"crit": ["urn:x"], "urn:x": true})),
        ("crit of an absent member", json!({"crit": ["absent"]})),
        ("empty crit", json!({"crit": []})),
        ("crit is null", json!({"crit": null})),
        ("crit is text", json!({"crit": "b64"})),
        ("unencoded payload", json!({"crit": ["b64"], "b64": false})),
        ("unencoded payload, not critical", json!({"b64": false})),
        ("nested token", json!({"cty": "JWT"})),
        ("another content", json!({"cty": "application/json"})),
        ("a logout token", json!({"typ": "logout+jwt"})),
        ("a security event", json!({"typ": "secevent+jwt"})),
        ("a proof", json!({"typ": "dpop+jwt"})),
        ("typ is a number", json!({"typ": 1})),
    ];
    let attacks: Vec<_> = headers
        .into_iter()
        .map(|(name, members)| range.minted(name, &with(members), "token_malformed"))
        .collect();
    range.refuses(&attacks).await;

    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        let token = range.mint(&with(json!({ "typ": typ })));
        range.accepts("claims", typ, &token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_says_everything_once() {
    let range = Range::start().await;
    let request = range.good();
    let (header, claims) = (text(&request.header), text(&request.claims));
    let kid = request.header["kid"].to_string();
    let members = [
        ("alg none first", "\"alg\":\"none\"".to_owned()),
        ("alg twice the same", "\"alg\":\"RS256\"".to_owned()),
        ("kid of nobody first", "\"kid\":\"x\"".to_owned()),
        ("kid twice the same", format!("\"kid\":{kid}")),
        ("kid in escapes", "\"\\u006bid\":\"x\"".to_owned()),
        ("typ twice", "\"typ\":\"JWT\"".to_owned()),
        ("an unknown member twice", "\"x\":1,\"x\":2".to_owned()),
    ];
    let mut attacks: Vec<_> = members
        .into_iter()
        .map(|(name, member)| {
            let token = range.raw(with_member(&header, &member), &claims);
            Attack::new(name, token, "token_malformed")
        })
        .collect();
    // A deserializer may take an array for an object whose members it expects in that order.
    let array = json!(["RS256", request.header["kid"], null]).to_string();
    let token = range.raw(array, &claims);
    attacks.push(Attack::new("an array", token, "token_malformed"));
    let empty = text(&Map::new());
    attacks.push(Attack::new("empty", range.raw(empty, &claims), "token_malformed"));
    range.refuses(&attacks).await;

    // What is not repeated is no reason to refuse.
    let token = range.raw(with_member(&header, "\"x\":1,\"y\":2"), &claims);
    range.accepts("claims", "unknown members", &token).await;
}
