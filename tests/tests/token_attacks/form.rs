//! What a token looks like: three parts of base64url, two of which are JSON objects.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE};
use serde_json::{Value, json};

use crate::range::{Attack, Range, encode, text, with_member};

fn malformed(name: &str, token: impl AsRef<str>) -> Attack {
    Attack::new(name, token, "token_malformed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_three_parts() {
    let range = Range::start().await;
    let token = range.mint(&range.good());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts")
    };
    let encrypted = encode(json!({"alg": "RSA-OAEP", "enc": "A256GCM", "cty": "JWT"}).to_string());
    let general = json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]});
    let flattened = json!({"payload": payload, "protected": header, "signature": signature});
    let attacks = [
        malformed("garbage", "garbage"),
        malformed("one dot", "."),
        malformed("two dots", ".."),
        malformed("two parts", format!("{header}.{payload}")),
        malformed("no header", format!(".{payload}.{signature}")),
        malformed("no payload", format!("{header}..{signature}")),
        malformed("four parts", format!("{token}.{signature}")),
        malformed("a dot at the end", format!("{token}.")),
        malformed("a dot at the beginning", format!(".{token}")),
        malformed("two tokens", format!("{token}.{token}")),
        malformed(
            "an encrypted token",
            format!("{encrypted}.{payload}.{header}.{payload}.{signature}"),
        ),
        malformed(
            "an encrypted token's header",
            format!("{encrypted}.{payload}.{signature}"),
        ),
        malformed("JSON serialisation", general.to_string()),
        malformed("flattened JSON serialisation", flattened.to_string()),
        malformed("an unsecured payload in clear", format!("{header}.{{}}.{signature}")),
        malformed("two tokens with a comma", format!("{token},{token}")),
    ];
    range.refuses(&attacks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_base64url_in_its_one_form() {
    let range = Range::start().await;
    // Texts that need the characters in which the alphabets differ, and padding.
    let request = range.good().claim("x", "???>>>~~~");
    let (header, claims) = (text(&request.header), padded_text(&text(&request.claims)));
    let (plain, standard) = (encode(&claims), STANDARD_NO_PAD.encode(&claims));
    assert_ne!(plain, standard);
    let padded = URL_SAFE.encode(&claims);
    assert!(padded.ends_with('='));
    let header = encode(header);
    let token = range.encoded(&header, &plain);
    range.accepts("claims", "the same well encoded", &token).await;

    let (message, signature) = token.rsplit_once('.').unwrap();
    let attacks = [
        malformed("standard alphabet", range.encoded(&header, &standard)),
        malformed("padded payload", range.encoded(&header, &padded)),
        malformed("padded header", range.encoded(&format!("{header}=="), &plain)),
        malformed("padded signature", format!("{token}=")),
        malformed(
            "space in the payload",
            range.encoded(&header, &plain.replacen('e', "e ", 1)),
        ),
        malformed("space after the header", format!("{header} .{plain}.{signature}")),
        malformed("tab in the signature", format!("{message}.\t{signature}")),
        malformed(
            "percent encoding",
            range.encoded(&header, &plain.replacen('_', "%5F", 1)),
        ),
        malformed(
            "left-over bits in the payload",
            range.encoded(&header, &with_left_over_bits(&plain)),
        ),
        malformed(
            "left-over bits in the signature",
            format!("{message}.{}", with_left_over_bits(signature)),
        ),
        malformed("one character too many", range.encoded(&header, &format!("{plain}AAA"))),
        malformed("beyond ASCII", format!("{header}.{plain}é.{signature}")),
    ];
    range.refuses(&attacks).await;
}

/// JSON text with spaces, until its base64 needs padding.
fn padded_text(json: &str) -> String {
    let mut text = json.to_owned();
    while text.len() % 3 != 1 {
        text.push(' ');
    }
    text
}

/// Another text for the same bytes, for a lenient decoder: the bits that belong to no byte are not zero.
fn with_left_over_bits(base64url: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(base64url.len() % 4, 0);
    let (rest, last) = base64url.split_at(base64url.len() - 1);
    let position = ALPHABET.find(last).unwrap();
    format!("{rest}{}", &ALPHABET[position + 1..position + 2])
}

#[tokio::test(flavor = "multi_thread")]
async fn header_and_payload_are_json_objects() {
    let range = Range::start().await;
    let request = range.good();
    let (header, claims) = (text(&request.header), text(&request.claims));
    let inner = range.mint(&range.good());
    let broken = |bytes: &[u8]| [&claims.as_bytes()[..claims.len() - 1], bytes].concat();
    let claims_array: Vec<_> = ["iss", "aud", "exp", "nbf", "ver", "tid", "azp", "appid"]
        .iter()
        .map(|name| request.claims.get(*name).unwrap_or(&Value::Null))
        .collect();
    let payload = |name: &str, payload: &[u8]| malformed(name, range.raw(&header, payload));
    let mut attacks = vec![
        payload("empty payload", b""),
        payload("empty object", b"{}"),
        payload("a nested token", inner.as_bytes()),
        payload("a nested token as JSON", json!(inner).to_string().as_bytes()),
        payload("claims as an array", json!(claims_array).to_string().as_bytes()),
        payload("a list of claims", format!("[{claims}]").as_bytes()),
        payload("null", b"null"),
        payload("unfinished", &broken(b"")),
        payload("one brace too many", &broken(b"}}")),
        payload("two objects", format!("{claims}{claims}").as_bytes()),
        payload("a trailing comma", &broken(b",}")),
        payload("a comment", &broken(b"/**/}")),
        payload("not UTF-8", &broken(b",\"x\":\"\xff\"}")),
        payload("half a surrogate pair", &broken(b",\"x\":\"\\ud800\"}")),
        payload("overlong UTF-8", &broken(b",\"x\":\"\xc0\xaf\"}")),
        payload("a byte order mark", format!("\u{feff}{claims}").as_bytes()),
        payload(
            "UTF-16",
            &claims.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
        ),
        payload("not a number", &broken(b",\"x\":NaN}")),
        payload(
            "100 levels deep",
            &broken(format!(",\"x\":{}{}}}", "[".repeat(100), "]".repeat(100)).as_bytes()),
        ),
        payload(
            "6000 levels deep",
            &broken(format!(",\"x\":{}", "{\"x\":".repeat(1000) + &"[".repeat(4000)).as_bytes()),
        ),
    ];
    attacks.push(malformed(
        "header is not UTF-8",
        range.raw(b"{\"alg\":\"\xff\"}", &claims),
    ));
    attacks.push(malformed("header is text", range.raw(b"\"RS256\"", &claims)));
    attacks.push(malformed("header is a list", range.raw(format!("[{header}]"), &claims)));
    range.refuses(&attacks).await;

    let spaced = claims.replacen('{', "{ \n", 1);
    range
        .accepts("claims", "spaces in JSON", &range.raw(&header, spaced))
        .await;
}

/// Two readers of a payload that says something twice could disagree about which was checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_says_everything_once() {
    let range = Range::start().await;
    let request = range.good();
    let (header, claims) = (text(&request.header), text(&request.claims));
    let again = |name: &str| format!("\"{name}\":{}", request.claims[name]);
    let members = [
        ("exp later first", "\"exp\":4102444800".to_owned()),
        ("exp twice the same", again("exp")),
        ("exp in escapes", "\"e\\u0078p\":4102444800".to_owned()),
        ("nbf twice", again("nbf")),
        (
            "iss of somebody else first",
            format!("\"iss\":{:?}", range.trap.url("/v2.0")),
        ),
        ("iss twice the same", again("iss")),
        ("aud of another first", "\"aud\":\"x\"".to_owned()),
        ("aud twice the same", again("aud")),
        ("azp twice", again("azp")),
        ("tid twice", again("tid")),
        ("ver twice", again("ver")),
        ("a claim that nobody checks twice", again("sub")),
        ("twice deeper", "\"x\":{\"y\":1,\"y\":2}".to_owned()),
    ];
    let attacks: Vec<_> = members
        .into_iter()
        .map(|(name, member)| malformed(name, range.raw(&header, with_member(&claims, &member))))
        .collect();
    range.refuses(&attacks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_beyond_the_limit_are_refused() {
    let range = Range::start().await;
    let padded = |kib: usize| range.mint(&range.good().claim("padding", "x".repeat(kib << 10)));
    let long_header = range.good().header("padding", "x".repeat(17 << 10));
    let attacks = [
        malformed("17 KiB of payload", padded(17)),
        malformed("30 KiB of payload", padded(30)),
        range.minted("17 KiB of header", &long_header, "token_malformed"),
        malformed("17 KiB of dots", ".".repeat(17 << 10)),
        malformed("17 KiB of signature", range.mint(&range.good()) + &"A".repeat(17 << 10)),
    ];
    range.refuses(&attacks).await;

    range.accepts("claims", "10 KiB of payload", &padded(10)).await;
}
