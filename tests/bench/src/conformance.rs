//! Whether a subject does the work that it is measured for: the good request gets the scenario's answer, and what must be
//! refused is refused, so that nobody is fast by leaving a check out.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use claimsmith_local_entra::SignWith;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use uuid::Uuid;

use crate::entra::Entra;
use crate::scenario;

/// An hour that has passed, in seconds: far beyond any leeway.
const HOUR: u64 = 3600;

/// A request that must be refused.
struct Refused {
    what: &'static str,
    token: Option<String>,
    body: String,
    status: u16,
}

/// Checks a subject; what it answers to the good request, byte by byte.
///
/// # Errors
/// When it answers otherwise than it should: what was sent, what came.
pub async fn check(entra: &Entra, address: SocketAddr) -> Result<String> {
    let url = format!("http://{address}{}", scenario::PATH);
    let token = entra.token()?;
    let answer = good_answer(&url, &token, scenario::request(), Some(&scenario::answer()?)).await?;
    for case in refused(entra, &token)? {
        let (status, body) = send(&url, case.token.as_deref(), case.body).await?;
        ensure!(
            status == case.status,
            "{}: answered {status} `{body}`, expected {}",
            case.what,
            case.status
        );
    }
    Ok(answer)
}

/// What a subject answers to a good request, byte by byte; compared as JSON if it is known what must come.
///
/// # Errors
/// When it refuses, or answers something else.
pub async fn good_answer(url: &str, token: &str, body: &str, expected: Option<&Value>) -> Result<String> {
    let (status, answer) = send(url, Some(token), body.to_owned()).await?;
    ensure!(status == 200, "{url}: a good callout was answered {status} `{answer}`");
    let parsed: Value = serde_json::from_str(&answer).with_context(|| format!("`{answer}` is not JSON"))?;
    if let Some(expected) = expected
        && parsed != *expected
    {
        bail!("{url}: answered `{answer}`, expected `{expected}`");
    }
    Ok(answer)
}

async fn send(url: &str, token: Option<&str>, body: String) -> Result<(u16, String)> {
    let request = crate::process::client()?
        .post(url)
        .header(CONTENT_TYPE, "application/json");
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let answer = request
        .body(body)
        .send()
        .await
        .with_context(|| format!("{url} does not answer"))?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

fn refused(entra: &Entra, token: &str) -> Result<Vec<Refused>> {
    let body = scenario::request();
    let foreign = Entra::foreign_key()?;
    let tokens = [
        ("no token", None),
        ("a token with another key's signature", {
            Some(entra.minted(|token| token.sign_with(SignWith::Foreign(Box::new(foreign))))?)
        }),
        ("a token that has expired", Some(expired(entra)?)),
        ("a token for another audience", Some(with_claim(entra, "aud")?)),
        ("a token of another caller", Some(with_claim(entra, "azp")?)),
    ];
    let tokens = tokens.into_iter().map(|(what, token)| Refused {
        what,
        token,
        body: body.to_owned(),
        status: 401,
    });
    let mut other_tenant: Value = serde_json::from_str(body)?;
    let mut uncorrelated = other_tenant.clone();
    *other_tenant.pointer_mut("/data/tenantId").context("no tenantId")? = Uuid::nil().to_string().into();
    let context = uncorrelated
        .pointer_mut("/data/authenticationContext")
        .and_then(Value::as_object_mut);
    context.context("no authenticationContext")?.remove("correlationId");
    let half = body.chars().take(body.len() / 2).collect();
    let bodies = [
        ("a body of another tenant", other_tenant.to_string()),
        ("a body without correlationId", uncorrelated.to_string()),
        ("half a body", half),
    ];
    let bodies = bodies.into_iter().map(|(what, body)| Refused {
        what,
        token: Some(token.to_owned()),
        body,
        status: 400,
    });
    Ok(tokens.chain(bodies).collect())
}

fn expired(entra: &Entra) -> Result<String> {
    entra.minted(|token| {
        let issued_at = token.claims.get("iat").and_then(Value::as_u64).unwrap_or_default();
        let long_ago = issued_at - 2 * HOUR;
        token
            .claim("iat", long_ago)
            .claim("nbf", long_ago)
            .claim("exp", issued_at - HOUR)
    })
}

fn with_claim(entra: &Entra, name: &str) -> Result<String> {
    entra.minted(|token| token.claim(name, Uuid::nil().to_string()))
}
