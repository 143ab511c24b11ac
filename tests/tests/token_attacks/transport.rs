//! How the token comes: in exactly one `Authorization: Bearer` header (RFC 6750, section 2.1).

use reqwest::StatusCode;
use serde_json::json;

use crate::range::{Attack, Range};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_in_one_authorization_header() {
    let range = Range::start().await;
    let token = range.mint(&range.good());
    let bearer = format!("Bearer {token}");
    let missing = |name: &str, headers: &[&str]| {
        let headers = headers.iter().map(|&header| header.to_owned()).collect();
        Attack::with_headers(name, headers, "token_missing")
    };
    let comma = format!("{token}, {bearer}");
    let attacks = [
        missing("no header", &[]),
        missing("the good one twice", &[&bearer, &bearer]),
        missing("a bad one after the good one", &[&bearer, "Bearer x"]),
        missing("a bad one before the good one", &["Bearer x", &bearer]),
        missing("another scheme after the good one", &[&bearer, "Basic YTpi"]),
        missing("another scheme before the good one", &["Basic YTpi", &bearer]),
        missing("an empty one beside the good one", &["", &bearer]),
        missing("Basic", &["Basic dXNlcjpwYXNzd29yZA=="]),
        missing("Basic with the token", &[&format!("Basic {token}")]),
        missing("DPoP with the token", &[&format!("DPoP {token}")]),
        missing("Bearer with a colon", &[&format!("Bearer: {token}")]),
        missing("no scheme", &[&token]),
        missing("the scheme alone", &["Bearer"]),
        missing("an empty token", &["Bearer   "]),
        missing("an empty header", &[""]),
        missing("quoted", &[&format!("\"Bearer\" {token}")]),
        Attack::new("two tokens in one header", comma, "token_malformed"),
        Attack::new("a quoted token", format!("\"{token}\""), "token_malformed"),
        Attack::new("the scheme twice", bearer.clone(), "token_malformed"),
        Attack::new("as a parameter", format!("token=\"{token}\""), "token_malformed"),
    ];
    range.refuses(&attacks).await;

    for scheme in ["bearer", "BEARER", "bEaReR", "Bearer  "] {
        let request = range.request("contoso", "claims", &[format!("{scheme} {token}")]);
        let response = request.json(&range.platform.body()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{scheme}");
    }
}

/// RFC 6750 knows two more places for a token, and others look in more: here they are not looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_elsewhere_is_no_token() {
    let range = Range::start().await;
    let token = range.mint(&range.good());
    let url = range.platform.url_of("contoso", "claims");
    let mut body = range.platform.body();
    let http = &range.platform.http;
    let in_header = |name: &str| http.post(&url).header(name, format!("Bearer {token}")).json(&body);
    let mut requests = vec![
        ("query", http.post(format!("{url}?access_token={token}")).json(&body)),
        (
            "cookie",
            http.post(&url)
                .header("cookie", format!("access_token={token}"))
                .json(&body),
        ),
        ("proxy-authorization", in_header("proxy-authorization")),
        ("x-forwarded-authorization", in_header("x-forwarded-authorization")),
        // What App Service writes for an authenticated caller, and anybody else can write too.
        ("x-ms-client-principal", in_header("x-ms-client-principal")),
        ("x-ms-token-aad-access-token", in_header("x-ms-token-aad-access-token")),
    ];
    body["access_token"] = json!(token);
    requests.push(("body", http.post(&url).json(&body)));
    for (name, request) in requests {
        let mark = range.platform.host.log_mark();
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401, "{name}");
        assert_eq!(response.bytes().await.unwrap(), "", "{name}");
        assert_eq!(
            range.platform.host.callout_line(mark).await["outcome"],
            "token_missing",
            "{name}"
        );
    }

    // A form is no callout, whatever is in it.
    let form = http
        .post(&url)
        .header("content-type", "application/x-www-form-urlencoded");
    let response = form.body(format!("access_token={token}")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let log: String = range.platform.host.log().iter().map(ToString::to_string).collect();
    let (_, signature) = token.rsplit_once('.').unwrap();
    assert!(!log.contains(signature), "the log has the token");
}
