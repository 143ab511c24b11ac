//! Who may call: a callout is answered only with a token that Entra's authentication extensions service got for this
//! extension. Everything else is refused with 401, an empty body that tells the caller nothing, and a log line that tells
//! the operator which check failed, without the token.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claimsmith_local_entra::{Directory, LocalEntra, SignWith, SigningKey, TokenRequest, TokenVersion};
use claimsmith_tests::world::{
    self, DIRECTORY, EXTENSION, EXTENSION_V1, EXTERNAL_DIRECTORY, EXTERNAL_EXTENSION, RESOURCE,
};
use claimsmith_tests::{Documents, Mood, Platform, Stage, eventually};
use reqwest::Response;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// An application of the tenant's own.
const OWN_APPLICATION: &str = "0d1e0001-0000-4000-8000-0000000000a1";

/// What is sent as `Authorization`, and how the callout must end.
struct Case {
    name: &'static str,
    authorization: Vec<String>,
    outcome: &'static str,
}

fn case(name: &'static str, token: impl Into<String>, outcome: &'static str) -> Case {
    Case {
        name,
        authorization: vec![format!("Bearer {}", token.into())],
        outcome,
    }
}

/// Seconds since 1970, and some more or less.
fn now(offset: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap() + offset
}

/// A tenant whose extensions differ in what tokens they accept.
async fn platform() -> Platform {
    let stage = Stage::new().await;
    let toml = tenant(&stage.entra);
    stage.tenant("contoso", &toml).start().await
}

fn tenant(entra: &LocalEntra) -> String {
    let algorithms = "algorithms = [\"RS256\", \"RS384\", \"RS512\", \"PS256\", \"ES256\"]";
    let accept_callers = format!("accept_callers = [\"{OWN_APPLICATION}\"]");
    [
        world::directories_toml(entra),
        world::extension_toml("claims", "", "misbehaving", ""),
        world::extension_toml("algorithms", algorithms, "misbehaving", ""),
        world::extension_toml("diagnosis", &accept_callers, "misbehaving", ""),
        world::extension_toml("exact", "clock_leeway = \"0s\"", "misbehaving", ""),
    ]
    .concat()
}

fn good(directory: &Directory) -> TokenRequest {
    directory.callout_token(EXTENSION).unwrap()
}

fn good_v1(directory: &Directory) -> TokenRequest {
    directory.callout_token(EXTENSION_V1).unwrap()
}

async fn call(platform: &Platform, url: &str, authorization: &[String]) -> Response {
    let mut request = platform.http.post(url).json(&platform.body());
    for value in authorization {
        request = request.header("authorization", value);
    }
    request.send().await.unwrap()
}

/// Sends each case to the extension `claims`: each is refused as it must be, and nothing of its token is in the log.
async fn assert_refused(platform: &Platform, cases: &[Case]) {
    for case in cases {
        let (name, mark) = (case.name, platform.host.log_mark());
        let response = call(platform, &platform.url(), &case.authorization).await;
        let line = platform.host.callout_line(mark).await;
        assert_eq!(line["outcome"], case.outcome, "{name}: {line}");
        assert_eq!(
            (&line["message"], &line["status"]),
            (&json!("callout refused"), &json!(401)),
            "{name}"
        );
        assert_eq!(response.status(), 401, "{name}");
        let error = match case.outcome {
            "token_missing" => "Bearer error=\"invalid_request\"",
            _ => "Bearer error=\"invalid_token\"",
        };
        assert_eq!(response.headers()["www-authenticate"], error, "{name}");
        assert_eq!(response.headers().get("content-type"), None, "{name}");
        assert_eq!(response.bytes().await.unwrap(), "", "{name}");
    }
    assert_log_has_no_token(platform, cases);
    // And none of them did any harm.
    assert_accepted(platform, "claims", "a good token", &platform.token()).await;
}

/// Neither the token nor its payload or signature: with the payload, anybody knows what to forge; with all, there is no
/// need to.
fn assert_log_has_no_token(platform: &Platform, cases: &[Case]) {
    let log: String = platform.host.log().iter().map(Value::to_string).collect();
    for case in cases {
        for value in &case.authorization {
            let secrets = value.split([' ', '.', ',']).filter(|part| part.len() > 20);
            for secret in secrets.skip_while(|part| *part == "Bearer") {
                assert!(!log.contains(secret), "{}: the log has {secret}", case.name);
            }
        }
    }
}

async fn assert_accepted(platform: &Platform, extension: &str, name: &str, token: &str) {
    let mark = platform.host.log_mark();
    let url = platform.url_of("contoso", extension);
    let response = call(platform, &url, &[format!("Bearer {token}")]).await;
    let line = platform.host.callout_line(mark).await;
    assert_eq!(response.status(), 200, "{name}: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_needs_exactly_one_bearer_token() {
    let platform = platform().await;
    let token = platform.token();
    let missing = |name, authorization: &[String]| Case {
        name,
        authorization: authorization.to_vec(),
        outcome: "token_missing",
    };
    let bearer = format!("Bearer {token}");
    let cases = [
        missing("no header", &[]),
        missing("two headers", &[bearer.clone(), bearer.clone()]),
        missing(
            "a good token and another scheme",
            &[bearer.clone(), "Basic YTpi".to_owned()],
        ),
        missing("Basic", &["Basic dXNlcjpwYXNzd29yZA==".to_owned()]),
        missing("empty header", &[String::new()]),
        missing("the scheme alone", &["Bearer".to_owned()]),
        missing("an empty token", &["Bearer  ".to_owned()]),
        missing("no scheme", std::slice::from_ref(&token)),
        missing("another scheme with the token", &[format!("DPoP {token}")]),
        case(
            "two tokens in one header",
            format!("{token}, {bearer}"),
            "token_malformed",
        ),
    ];
    assert_refused(&platform, &cases).await;

    for scheme in ["bearer", "BEARER", "Bearer "] {
        let response = call(&platform, &platform.url(), &[format!("{scheme} {token}")]).await;
        assert_eq!(response.status(), 200, "{scheme}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_must_be_a_jws_with_the_members_of_entras() {
    let platform = platform().await;
    let directory = platform.directory();
    let mint = |request: TokenRequest| directory.mint(&request).unwrap();
    let token = mint(good(directory));
    let parts: Vec<&str> = token.split('.').collect();
    let standard_alphabet = STANDARD.encode(URL_SAFE_NO_PAD.decode(parts[1]).unwrap());
    let malformed = |name, token| case(name, token, "token_malformed");
    let mut cases = vec![
        malformed("garbage", "garbage".to_owned()),
        malformed("dots", "..".to_owned()),
        malformed("two parts", format!("{}.{}", parts[0], parts[1])),
        malformed("four parts", format!("{token}.{}", parts[2])),
        malformed("five parts, as an encrypted token has", format!("{token}.a.b")),
        malformed("header is not base64url", format!("%{token}")),
        malformed(
            "payload is padded",
            format!("{}.{standard_alphabet}=.{}", parts[0], parts[2]),
        ),
        malformed(
            "header is no JSON",
            format!("{}.{}.{}", encode("{"), parts[1], parts[2]),
        ),
        malformed(
            "header is an array",
            format!("{}.{}.{}", encode("[]"), parts[1], parts[2]),
        ),
        malformed(
            "payload is no JSON",
            format!("{}.{}.{}", parts[0], encode("{}}"), parts[2]),
        ),
        malformed(
            "payload is not UTF-8",
            format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(b"\"\xff\""), parts[2]),
        ),
        malformed("no payload", format!("{}..{}", parts[0], parts[2])),
        malformed("20 KiB", mint(good(directory).claim("padding", "x".repeat(20 << 10)))),
        malformed(
            "crit",
            mint(good(directory).header("crit", json!(["exp"])).header("exp", 1)),
        ),
        malformed("empty crit", mint(good(directory).header("crit", json!([])))),
        malformed("kid is a number", mint(good(directory).header("kid", 7))),
        malformed("kid is null", mint(good(directory).header("kid", Value::Null))),
        malformed("alg is missing", mint(without_header(good(directory), "alg"))),
        malformed("kid is missing", mint(without_header(good(directory), "kid"))),
        malformed("aud is an array", mint(good(directory).claim("aud", json!([RESOURCE])))),
        malformed(
            "iss is an array",
            mint(good(directory).claim("iss", json!([directory.issuer(TokenVersion::V2)]))),
        ),
        malformed("azp is an object", mint(good(directory).claim("azp", json!({})))),
        malformed("exp is text", mint(good(directory).claim("exp", now(600).to_string()))),
        malformed("exp is a fraction", mint(good(directory).claim("exp", 4_102_444_800.5))),
        malformed("exp is negative", mint(good(directory).claim("exp", -1))),
        malformed("exp is huge", mint(good(directory).claim("exp", 1e300))),
        malformed("exp is null", mint(good(directory).claim("exp", Value::Null))),
        malformed("nbf is text", mint(good(directory).claim("nbf", "0"))),
        malformed("ver is a number", mint(good(directory).claim("ver", 2.0))),
    ];
    for (name, claim) in [
        ("no iss", "iss"),
        ("no aud", "aud"),
        ("no exp", "exp"),
        ("no nbf", "nbf"),
        ("no ver", "ver"),
        ("no tid", "tid"),
    ] {
        cases.push(malformed(name, mint(good(directory).without_claim(claim))));
    }
    // Two readers of a payload with two audiences could disagree about which was checked. Nothing signs such a token
    // here: without the repetition it fails for its signature, so with it it fails for the repetition.
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let twice = payload.replacen('{', &format!("{{\"aud\":\"{RESOURCE}\","), 1);
    cases.push(malformed(
        "two aud",
        format!("{}.{}.{}", parts[0], encode(&twice), parts[2]),
    ));
    let spaced = payload.replacen('{', "{ ", 1);
    let resigned = format!("{}.{}.{}", parts[0], encode(&spaced), parts[2]);
    cases.push(case("a space more than was signed", resigned, "token_signature"));
    assert_refused(&platform, &cases).await;

    let largest = good(directory).claim("exp", u64::MAX);
    assert_accepted(&platform, "claims", "the largest exp", &mint(largest)).await;
}

fn first_half(text: &str) -> &str {
    text.split_at(text.len() / 2).0
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn without_header(mut request: TokenRequest, name: &str) -> TokenRequest {
    request.header.remove(name);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_must_be_signed_with_a_key_that_its_directory_publishes() {
    let platform = platform().await;
    let directory = platform.directory();
    let external = platform.entra.directory(EXTERNAL_DIRECTORY).unwrap();
    let foreign = SigningKey::generate().unwrap();
    let foreign_kid = foreign.key_id().to_owned();
    let mint = |request: TokenRequest| directory.mint(&request).unwrap();
    let signed = |key: &SigningKey| good(directory).sign_with(SignWith::Foreign(Box::new(key.clone())));
    let hmac = |secret: &str| good(directory).sign_with(SignWith::Hmac(secret.as_bytes().to_vec()));
    let token = mint(good(directory));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let pem = directory.public_key_pem();
    let algorithm = |name, request: TokenRequest| case(name, mint(request), "token_algorithm");
    let unsigned = |alg: &str| good(directory).header("alg", alg).sign_with(SignWith::Nothing);
    let cases = [
        algorithm("alg none", unsigned("none")),
        algorithm("alg None", unsigned("None")),
        algorithm("alg NONE", unsigned("NONE")),
        algorithm("empty alg", unsigned("")),
        algorithm("alg rs256", good(directory).header("alg", "rs256")),
        algorithm("HS256 with the public key as secret", hmac(&pem).header("alg", "HS256")),
        algorithm(
            "HS256 with the trimmed key as secret",
            hmac(pem.trim()).header("alg", "HS256"),
        ),
        algorithm("RS512", good(directory).header("alg", "RS512")),
        algorithm("PS256", good(directory).header("alg", "PS256")),
        case("an HMAC under alg RS256", mint(hmac(&pem)), "token_signature"),
        case(
            "no signature under alg RS256",
            mint(unsigned("RS256")),
            "token_signature",
        ),
        case(
            "PKCS#1 under alg RS256 of another message",
            format!("{message}x.{signature}"),
            "token_malformed",
        ),
        case(
            "half a signature",
            format!("{message}.{}", first_half(signature)),
            "token_signature",
        ),
        case("not base64url", format!("{message}.{signature}="), "token_signature"),
        case(
            "a foreign key with the right kid",
            mint(signed(&foreign)),
            "token_signature",
        ),
        case(
            "the other directory's key with the right kid",
            mint(signed(&external.current_key())),
            "token_signature",
        ),
        case(
            "the other directory's key with its own kid",
            mint(signed(&external.current_key()).header("kid", external.current_key().key_id())),
            "token_unknown_key",
        ),
        case(
            "unknown kid",
            mint(signed(&foreign).header("kid", foreign_kid)),
            "token_unknown_key",
        ),
        case(
            "empty kid",
            mint(good(directory).header("kid", "")),
            "token_unknown_key",
        ),
    ];
    assert_refused(&platform, &cases).await;

    for alg in ["RS256", "RS384", "RS512", "PS256"] {
        let token = mint(good(directory).header("alg", alg));
        assert_accepted(&platform, "algorithms", alg, &token).await;
    }
    // An RSA key is no EC key, and no HMAC secret, whatever is allowed.
    let url = platform.url_of("contoso", "algorithms");
    for (request, outcome) in [
        (good(directory).header("alg", "ES256"), "token_signature"),
        (hmac(&pem).header("alg", "HS256"), "token_algorithm"),
        (unsigned("none"), "token_algorithm"),
    ] {
        let mark = platform.host.log_mark();
        let response = call(&platform, &url, &[format!("Bearer {}", mint(request))]).await;
        assert_eq!(response.status(), 401);
        assert_eq!(platform.host.callout_line(mark).await["outcome"], outcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_token_says_of_its_own_keys_is_followed() {
    let platform = platform().await;
    let directory = platform.directory();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let foreign = SigningKey::generate().unwrap();
    let jwk = json!({"kty": "RSA", "use": "sig", "kid": foreign.key_id(), "e": "AQAB", "n": modulus(&foreign)});
    let headers = |request: TokenRequest| {
        [
            ("jku", request.clone().header("jku", url.as_str())),
            ("x5u", request.clone().header("x5u", url.as_str())),
            ("jwk", request.clone().header("jwk", jwk.clone())),
            (
                "all",
                request
                    .header("jku", url.as_str())
                    .header("x5u", url.as_str())
                    .header("jwk", jwk.clone()),
            ),
        ]
    };
    let with_foreign_key = good(directory).sign_with(SignWith::Foreign(Box::new(foreign.clone())));
    let mut cases = Vec::new();
    for (name, request) in headers(with_foreign_key.clone()) {
        cases.push(case(name, directory.mint(&request).unwrap(), "token_signature"));
        let own_kid = request.header("kid", foreign.key_id());
        cases.push(case(name, directory.mint(&own_kid).unwrap(), "token_unknown_key"));
    }
    for (name, issuer) in [
        ("iss", url.as_str()),
        ("iss without path", url.trim_end_matches("/keys")),
    ] {
        let request = with_foreign_key.clone().claim("iss", issuer);
        cases.push(case(name, directory.mint(&request).unwrap(), "token_issuer"));
    }
    assert_refused(&platform, &cases).await;
    for (name, request) in headers(good(directory)) {
        assert_accepted(&platform, "claims", name, &directory.mint(&request).unwrap()).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0, "the host asked a URL of a token");
}

/// The modulus of a public key: the 256 bytes before the exponent at the end of its DER.
fn modulus(key: &SigningKey) -> String {
    let pem = key.public_key_pem();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(base64).unwrap();
    let end = der.len() - 5;
    URL_SAFE_NO_PAD.encode(&der[end - 256..end])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_accepted_in_its_time_only() {
    let platform = platform().await;
    let directory = platform.directory();
    let timed = |nbf: i64, exp: i64| good(directory).claim("nbf", now(nbf)).claim("exp", now(exp));
    let mint = |request: TokenRequest| directory.mint(&request).unwrap();
    // Far enough from the edge of the leeway for a slow machine.
    let cases = [
        case("expired", mint(timed(-7200, -3600)), "token_expired"),
        case("expired beyond the leeway", mint(timed(-3600, -61)), "token_expired"),
        case(
            "expired in 1970",
            mint(good(directory).claim("exp", 0)),
            "token_expired",
        ),
        case("not valid yet", mint(timed(3600, 7200)), "token_not_yet_valid"),
        case(
            "not valid yet, beyond the leeway",
            mint(timed(90, 3600)),
            "token_not_yet_valid",
        ),
        case(
            "never valid",
            mint(good(directory).claim("nbf", u64::MAX)),
            "token_not_yet_valid",
        ),
    ];
    assert_refused(&platform, &cases).await;

    assert_accepted(
        &platform,
        "claims",
        "expired within the leeway",
        &mint(timed(-3600, -20)),
    )
    .await;
    assert_accepted(&platform, "claims", "valid within the leeway", &mint(timed(30, 3600))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_token_is_refused_once_it_has_expired() {
    let platform = platform().await;
    let token = platform
        .directory()
        .mint(&good(platform.directory()).claim("exp", now(3)))
        .unwrap();
    let (url, authorization) = (platform.url_of("contoso", "exact"), [format!("Bearer {token}")]);
    assert_eq!(call(&platform, &url, &authorization).await.status(), 200);
    assert_eq!(call(&platform, &url, &authorization).await.status(), 200);
    eventually("the token expires", async || {
        call(&platform, &url, &authorization).await.status() == 401
    })
    .await;
    let line = platform.host.log_line("expired", |line| line["status"] == 401).await;
    assert_eq!(line["outcome"], "token_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_must_be_of_the_tenants_directory_for_this_extension_and_got_by_entra() {
    let platform = platform().await;
    let directory = platform.directory();
    let issuer = directory.issuer(TokenVersion::V2);
    let resource = RESOURCE.to_string();
    let caller = good(directory).claims["azp"].as_str().unwrap().to_owned();
    let claim = |name, claim: &str, value: &str, outcome| {
        let token = directory.mint(&good(directory).claim(claim, value)).unwrap();
        case(name, token, outcome)
    };
    let minted = |name, request: TokenRequest, outcome| case(name, directory.mint(&request).unwrap(), outcome);
    let id_uri = world::resource_id();
    let cases = [
        claim("another aud", "aud", OWN_APPLICATION, "token_audience"),
        claim("empty aud", "aud", "", "token_audience"),
        claim("aud in upper case", "aud", &resource.to_uppercase(), "token_audience"),
        claim("aud with a slash", "aud", &format!("{id_uri}/"), "token_audience"),
        claim(
            "aud with a scope",
            "aud",
            &format!("{id_uri}/.default"),
            "token_audience",
        ),
        claim(
            "aud as URI of the id",
            "aud",
            &format!("api://{resource}"),
            "token_audience",
        ),
        claim("aud with a space", "aud", &format!("{resource} "), "token_audience"),
        claim("another iss", "iss", "https://login.example/v2.0", "token_issuer"),
        claim("empty iss", "iss", "", "token_issuer"),
        claim("iss with a slash", "iss", &format!("{issuer}/"), "token_issuer"),
        claim("iss in upper case", "iss", &issuer.to_uppercase(), "token_issuer"),
        claim("iss with more", "iss", &format!("{issuer}.example"), "token_issuer"),
        claim(
            "iss of v1 without its slash",
            "iss",
            directory.base_url(),
            "token_issuer",
        ),
        claim("another azp", "azp", OWN_APPLICATION, "token_caller"),
        claim("azp is no GUID", "azp", "Azure Active Directory", "token_caller"),
        claim("azp with a space", "azp", &format!(" {caller}"), "token_caller"),
        minted("no azp", good(directory).without_claim("azp"), "token_caller"),
        minted(
            "v2.0 with appid only",
            good(directory).without_claim("azp").claim("appid", caller.as_str()),
            "token_caller",
        ),
        minted(
            "v1.0 with azp only",
            good_v1(directory).without_claim("appid").claim("azp", caller.as_str()),
            "token_caller",
        ),
        minted(
            "v1.0 with the right azp and another appid",
            good_v1(directory)
                .claim("appid", OWN_APPLICATION)
                .claim("azp", caller.as_str()),
            "token_caller",
        ),
        claim("ver 3.0", "ver", "3.0", "token_version"),
        claim("ver 2", "ver", "2", "token_version"),
        claim("empty ver", "ver", "", "token_version"),
        claim("another tid", "tid", &EXTERNAL_DIRECTORY.to_string(), "token_tenant"),
        claim("no GUID as tid", "tid", "common", "token_tenant"),
        claim("nil tid", "tid", "00000000-0000-0000-0000-000000000000", "token_tenant"),
    ];
    assert_refused(&platform, &cases).await;

    // Of these every tenant has one.
    let accepted = [
        ("v2.0", good(directory)),
        ("v1.0", good_v1(directory)),
        (
            "v1.0 for the application id",
            good_v1(directory).claim("aud", resource.as_str()),
        ),
        (
            "GUIDs in upper case",
            good(directory).claim("tid", DIRECTORY.to_string().to_uppercase()),
        ),
        ("azp in upper case", good(directory).claim("azp", caller.to_uppercase())),
    ];
    for (name, request) in accepted {
        assert_accepted(&platform, "claims", name, &directory.mint(&request).unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_directory_does_not_speak_for_another() {
    let platform = platform().await;
    let external = platform.entra.directory(EXTERNAL_DIRECTORY).unwrap();
    let token = external.callout_bearer(EXTERNAL_EXTENSION).unwrap();
    // A body of the workforce directory.
    let body = platform.body();
    let response = platform.call(&token, &body).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "tenant_mismatch");
    assert_eq!(
        problem["correlationId"],
        body["data"]["authenticationContext"]["correlationId"]
    );
    assert!(problem["errors"][0].as_str().unwrap().starts_with("/data/tenantId: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_of_accept_callers_is_answered_and_warned_about() {
    let platform = platform().await;
    let directory = platform.directory();
    let own = directory.mint(&good(directory).claim("azp", OWN_APPLICATION)).unwrap();
    let loud = |line: &Value| line["level"] == "WARN" && line["application"] == OWN_APPLICATION;

    // Each call is warned about, also when the token is remembered.
    for _ in 0..2 {
        let mark = platform.host.log_mark();
        assert_accepted(&platform, "diagnosis", "own application", &own).await;
        let line = platform.host.log_line_after(mark, "the warning", loud).await;
        assert!(line["message"].as_str().unwrap().contains("accept_callers"), "{line}");
        assert_eq!(line["span"]["extension"], "diagnosis");
    }

    // Entra itself still may, without a warning; others may not; and the list is this extension's alone.
    let mark = platform.host.log_mark();
    assert_accepted(&platform, "diagnosis", "Entra", &platform.token()).await;
    assert!(!platform.host.log_after(mark).iter().any(loud));
    let other = good(directory).claim("azp", RESOURCE.to_string());
    let other = [format!("Bearer {}", directory.mint(&other).unwrap())];
    let (diagnosis, mark) = (platform.url_of("contoso", "diagnosis"), platform.host.log_mark());
    assert_eq!(call(&platform, &diagnosis, &other).await.status(), 401);
    assert_eq!(platform.host.callout_line(mark).await["outcome"], "token_caller");
    assert_refused(&platform, &[case("another extension", own, "token_caller")]).await;
}

/// A platform whose metadata documents are reached through a proxy.
async fn behind_proxy(host_config: &str, mood: Mood) -> (Platform, Documents) {
    let (entra, documents) = Documents::start(world::config(), mood).await;
    let stage = Stage::with(entra).host_config(host_config);
    let toml = tenant(&stage.entra);
    (stage.tenant("contoso", &toml).start().await, documents)
}

const V2_DOCUMENT: &str = "/v2.0/.well-known/openid-configuration";
const V2_KEYS: &str = "/discovery/v2.0/keys";

#[tokio::test(flavor = "multi_thread")]
async fn many_unknown_keys_cause_one_fetch_of_each_document() {
    let (platform, documents) = behind_proxy("", Mood::Serve).await;
    let all = [
        V2_DOCUMENT,
        V2_KEYS,
        "/.well-known/openid-configuration",
        "/discovery/keys",
    ];
    let of_directory = |path| format!("/{DIRECTORY}{path}");
    let counts = || all.map(|path| documents.requests(&of_directory(path)));
    let before = counts();
    assert_eq!(before, [1, 1, 1, 1], "each document is fetched once at the start");

    let mut calls = JoinSet::new();
    for number in 0..200 {
        let directory = platform.directory();
        let request = good(directory).header("kid", format!("bogus-{number}"));
        let call = platform.http.post(platform.url()).json(&platform.body());
        calls.spawn(call.bearer_auth(directory.mint(&request).unwrap()).send());
    }
    for response in calls.join_all().await {
        assert_eq!(response.unwrap().status(), 401);
    }
    // Of the issuer's document only: the other document does not sign for it.
    assert_eq!(counts(), [2, 2, 1, 1]);
    let unknown = platform.host.log();
    let unknown = unknown.iter().filter(|line| line["outcome"] == "token_unknown_key");
    assert_eq!(unknown.count(), 200);
    assert_eq!(platform.callout().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_roll_again_are_found_when_the_window_is_over() {
    let (platform, documents) = behind_proxy("token.unknown_key_interval = \"1s\"", Mood::Serve).await;
    for _ in 0..2 {
        platform.directory().roll_keys(true).await.unwrap();
        eventually("the new key is known", async || platform.callout().await.0 == 200).await;
    }
    assert!(documents.requests(&format!("{DIRECTORY}{V2_KEYS}")) >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_reachable_keys_mends_itself() {
    for mood in [Mood::Refuse, Mood::Hang] {
        let (platform, documents) = behind_proxy("token.timeout = \"1s\"", mood).await;
        let mark = platform.host.log_mark();
        let response = platform.call(&platform.token(), &platform.body()).await;
        assert_eq!(response.status(), 503, "{mood:?}");
        assert_eq!(response.headers()["retry-after"], "1");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "keys_unavailable");
        assert_eq!(problem["errors"], json!([]), "the address of the keys is for the log");
        let line = platform.host.callout_line(mark).await;
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains(".well-known/openid-configuration"), "{reason}");
        // A token that cannot be good is told so all the same.
        assert_eq!(platform.call("garbage", &platform.body()).await.status(), 401);

        documents.set_mood(Mood::Serve);
        eventually("the keys are fetched", async || platform.callout().await.0 == 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_the_documents_they_came_from() {
    let (platform, documents) = behind_proxy("token.refresh_interval = \"100ms\"", Mood::Serve).await;
    assert_eq!(platform.callout().await.0, 200);
    documents.set_mood(Mood::Refuse);
    let failed = |line: &Value| line["message"] == "metadata document could not be fetched";
    let line = platform.host.log_line("a failed fetch", failed).await;
    assert_eq!(
        (&line["last_good_keys"], &line["level"]),
        (&json!(true), &json!("WARN"))
    );
    let fresh = platform.directory().mint(&good(platform.directory())).unwrap();
    assert_eq!(platform.call(&fresh, &platform.body()).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_callout_is_looked_at_only_with_a_good_token() {
    let platform = platform().await;
    let mark = platform.host.log_mark();
    let empty = Value::Object(Map::new());
    assert_eq!(platform.call("garbage", &empty).await.status(), 401);
    assert_eq!(platform.host.callout_line(mark).await["outcome"], "token_malformed");
}
