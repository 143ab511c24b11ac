//! `alg`: what the attacker claims the token is signed with (RFC 8725, sections 2.1 and 3.1).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claimsmith_local_entra::{SignWith, TokenRequest};
use serde_json::{Value, json};

use crate::range::{Attack, Range, encode, text};

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_tokens_are_refused_however_they_say_so() {
    let range = Range::start().await;
    let unsigned = |alg: &str| range.good().header("alg", alg).sign_with(SignWith::Nothing);
    let mut attacks = Vec::new();
    for alg in ["none", "None", "nOnE", "NONE", "none ", ""] {
        let name = format!("unsigned, alg {alg:?}");
        attacks.push(range.minted(&name, &unsigned(alg), "token_algorithm"));
        // The signature is right, but says that it is not to be looked at.
        let name = format!("signed, alg {alg:?}");
        attacks.push(range.minted(&name, &range.good().header("alg", alg), "token_algorithm"));
    }
    let no_signature = range.good().sign_with(SignWith::Nothing);
    attacks.push(range.minted("unsigned, alg RS256", &no_signature, "token_signature"));
    range.refuses(&attacks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_key_is_no_hmac_secret() {
    let range = Range::start().await;
    let key = range.directory().current_key();
    let pem = key.public_key_pem();
    let der = STANDARD
        .decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>())
        .unwrap();
    let jwk = key.public_jwk();
    let modulus = jwk["n"].as_str().unwrap();
    let secrets: [(&str, Vec<u8>); 8] = [
        ("the PEM", pem.clone().into_bytes()),
        ("the PEM without its last line break", pem.trim().into()),
        ("the PEM in one line", pem.replace('\n', "").into()),
        ("the DER", der),
        ("the modulus", URL_SAFE_NO_PAD.decode(modulus).unwrap()),
        ("the modulus' text", modulus.into()),
        ("the JWK", jwk.to_string().into()),
        ("nothing", Vec::new()),
    ];
    let mut attacks = Vec::new();
    for (name, secret) in secrets {
        for alg in ["HS256", "HS384", "HS512"] {
            let request = range.good().header("alg", alg);
            let request = request.sign_with(SignWith::Hmac(secret.clone()));
            attacks.push(range.minted(&format!("{alg} with {name}"), &request, "token_algorithm"));
            // Nor where more algorithms are allowed.
            let attack = range.minted(&format!("{alg} with {name}, all allowed"), &request, "token_algorithm");
            attacks.push(attack.at("contoso", "algorithms"));
        }
        let request = range.good().sign_with(SignWith::Hmac(secret));
        attacks.push(range.minted(&format!("an HMAC with {name} as RS256"), &request, "token_signature"));
    }
    range.refuses(&attacks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_algorithms_verify() {
    let range = Range::start().await;
    let with_alg = |alg: Value| range.good().header("alg", alg);
    let mut attacks = Vec::new();
    // Really signed so, by the directory's own key.
    for alg in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
        attacks.push(range.minted(alg, &with_alg(json!(alg)), "token_algorithm"));
    }
    for alg in ["rs256", "RS256 ", " RS256", "RS256\0", "RSA-SHA256", "ES256", "EdDSA"] {
        attacks.push(range.minted(&format!("alg {alg:?}"), &with_alg(json!(alg)), "token_algorithm"));
    }
    for (name, alg) in [
        ("alg is a number", json!(256)),
        ("alg is null", Value::Null),
        ("alg is an array", json!(["RS256"])),
        ("alg is an object", json!({"RS256": true})),
        ("alg is a boolean", json!(true)),
    ] {
        attacks.push(range.minted(name, &with_alg(alg), "token_malformed"));
    }
    let mut absent = range.good();
    absent.header.remove("alg");
    attacks.push(range.minted("alg is missing", &absent, "token_malformed"));
    attacks.extend(elliptic_curve(&range));
    range.refuses(&attacks).await;

    for alg in ["RS256", "RS384", "RS512", "PS256"] {
        let token = range.mint(&with_alg(json!(alg)));
        range.accepts("algorithms", alg, &token).await;
    }
}

/// Tokens signed with ES256 by an attacker who brings the key along, in both forms that such a signature has: two
/// numbers side by side (RFC 7518, section 3.4) and DER.
fn elliptic_curve(range: &Range) -> Vec<Attack> {
    let request = range.good().header("alg", "ES256");
    let raw = es256(&request, false);
    let der = es256(&request, true);
    vec![
        Attack::new("ES256", &raw, "token_algorithm"),
        Attack::new("ES256 in DER", &der, "token_algorithm"),
        // An RSA key is no EC key, whatever is allowed.
        Attack::new("ES256, allowed", &raw, "token_signature").at("contoso", "algorithms"),
        Attack::new("ES256 in DER, allowed", &der, "token_signature").at("contoso", "algorithms"),
        range
            .minted("an RSA signature as ES256, allowed", &request, "token_signature")
            .at("contoso", "algorithms"),
    ]
}

fn es256(request: &TokenRequest, der: bool) -> String {
    let form = if der {
        &ECDSA_P256_SHA256_ASN1_SIGNING
    } else {
        &ECDSA_P256_SHA256_FIXED_SIGNING
    };
    let key = EcdsaKeyPair::generate(form).unwrap();
    let message = format!("{}.{}", encode(text(&request.header)), encode(text(&request.claims)));
    let signature = key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", encode(signature))
}
