//! Who signed what.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claimsmith_local_entra::{SignInRequest, SignWith, TokenRequest, TokenVersion};
use claimsmith_tests::world::{APPLICATION, DIRECTORY, EXTERNAL_DIRECTORY, EXTERNAL_EXTENSION, SOCIAL_USER};

use crate::range::{Attack, Range, encode, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_of_this_message_by_this_key() {
    let range = Range::start().await;
    let token = range.mint(&range.good());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let signed = |name: &str, bytes: &[u8]| {
        let token = format!("{message}.{}", encode(bytes));
        Attack::new(name, token, "token_signature")
    };
    let flipped = |position: usize| {
        let mut bytes = bytes.clone();
        bytes[position] ^= 1;
        bytes
    };
    let longer_lived = range.good().claim("exp", 4_102_444_800_u64);
    let changed = format!("{header}.{}.{signature}", encode(text(&longer_lived.claims)));
    let other_header = encode(text(&range.good().header("x", 1).header));
    let (_, claims) = message.split_once('.').unwrap();
    let der = [&[0x04, 0x82, 0x01, 0x00], &bytes[..]].concat();
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    let header_alone = range.directory().current_key().sign(header).unwrap();
    let attacks = [
        signed("empty", &[]),
        signed("one byte", &[0]),
        signed("all zeros", &[0; 256]),
        signed("all ones", &[0xff; 256]),
        signed("one byte less", &bytes[..255]),
        signed("half of it", &bytes[..128]),
        signed("one byte more", &[&bytes[..], &[0]].concat()),
        signed("one zero before", &[&[0], &bytes[..]].concat()),
        signed("twice", &[&bytes[..], &bytes[..]].concat()),
        signed("first bit flipped", &flipped(0)),
        signed("a bit in the middle flipped", &flipped(128)),
        signed("last bit flipped", &flipped(255)),
        signed("backwards", &reversed),
        signed("in DER", &der),
        signed("the message itself", message.as_bytes()),
        Attack::new("of another payload", changed, "token_signature"),
        Attack::new(
            "of another header",
            format!("{other_header}.{claims}.{signature}"),
            "token_signature",
        ),
        Attack::new(
            "of the header alone",
            format!("{message}.{header_alone}"),
            "token_signature",
        ),
        range.minted(
            "by the attacker",
            &range.signed_by(&range.attacker.key),
            "token_signature",
        ),
    ];
    range.refuses(&attacks).await;
}

/// A token of a directory, with what it takes to look like one of another.
fn crossed(request: &TokenRequest, issuer: Option<&str>, tid: Option<&str>, kid: Option<&str>) -> TokenRequest {
    let mut request = request.clone();
    for (name, value) in [("iss", issuer), ("tid", tid)] {
        if let Some(value) = value {
            request = request.claim(name, value);
        }
    }
    match kid {
        Some(kid) => request.header("kid", kid),
        None => request,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_signs_for_itself_only() {
    let range = Range::start().await;
    let (own, other) = (range.directory(), range.external());
    let issuer = own.issuer(TokenVersion::V2);
    let (issuer_v1, other_issuer) = (own.issuer(TokenVersion::V1), other.issuer(TokenVersion::V2));
    let (tid, other_tid) = (DIRECTORY.to_string(), EXTERNAL_DIRECTORY.to_string());
    let kid = own.current_key().key_id().to_owned();
    let theirs = other.callout_token(EXTERNAL_EXTENSION).unwrap();
    let attack = |name: &str, request: TokenRequest, outcome| {
        let token = other.mint(&request).unwrap();
        Attack::new(name, token, outcome)
    };
    let of = |iss, tid, kid| crossed(&theirs, iss, tid, kid);
    // Both are directories of the same tenant; the token is signed by one and speaks for the other.
    let mut attacks = vec![
        attack("tid of the other", of(None, Some(tid.as_str()), None), "token_tenant"),
        attack("iss of the other", of(Some(&issuer), None, None), "token_unknown_key"),
        attack(
            "v1.0 iss of the other",
            of(Some(&issuer_v1), None, None),
            "token_unknown_key",
        ),
        attack(
            "iss and tid of the other",
            of(Some(&issuer), Some(&tid), None),
            "token_unknown_key",
        ),
        attack(
            "iss, tid and kid of the other",
            of(Some(&issuer), Some(&tid), Some(&kid)),
            "token_signature",
        ),
        attack("kid of the other", of(None, None, Some(&kid)), "token_unknown_key"),
        range.minted(
            "iss and tid crossed",
            &range.good().claim("iss", other_issuer.as_str()),
            "token_unknown_key",
        ),
        range.minted(
            "tid crossed",
            &range.good().claim("tid", other_tid.as_str()),
            "token_tenant",
        ),
    ];
    // Another tenant of the same host: its directory's tokens are good there, and nowhere else.
    let good = other.mint(&theirs).unwrap();
    for (name, request, outcome) in [
        ("another tenant's token", of(None, None, None), "token_issuer"),
        (
            "another tenant's key",
            of(Some(&issuer), Some(&tid), None),
            "token_unknown_key",
        ),
        (
            "another tenant's key as ours",
            of(Some(&issuer), Some(&tid), Some(&kid)),
            "token_signature",
        ),
    ] {
        attacks.push(attack(name, request, outcome).at("solo", "claims"));
    }
    let ours = range.minted("our token at another tenant", &range.good(), "token_issuer");
    attacks.push(ours.at("fabrikam", "claims"));
    range.refuses(&attacks).await;

    let sign_in = SignInRequest::new(EXTERNAL_DIRECTORY, SOCIAL_USER, APPLICATION);
    let external_body = other.callout_body(&sign_in).unwrap().to_json();
    let request = range.request("fabrikam", "claims", &[format!("Bearer {good}")]);
    assert_eq!(request.json(&external_body).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_longer_published_signs_nothing() {
    let range = Range::start().await;
    range.directory().roll_keys(true).await.unwrap();
    let previous = range.good().sign_with(SignWith::Previous);
    // The new key is found by the fetch that it causes; with it, the old one is gone.
    let token = range.mint(&range.good());
    range.accepts("claims", "the new key", &token).await;
    let attacks = [range.minted("the previous key as the new one", &previous, "token_signature")];
    range.refuses(&attacks).await;
}
