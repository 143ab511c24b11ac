//! What is counted: each function of this module, with all it calls. Their names are those of `counts.toml`.
//!
//! Each is called once for each thing that is counted, is not inlined, and makes nothing that is not counted.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use claimsmith_contract::token_issuance_start::{Claim, respond};
use claimsmith_contract::{Callout, Event, GuardError, ParseError};
use claimsmith_runtime::interface::callout::Context;
use claimsmith_runtime::interface::token_issuance_start;
use claimsmith_runtime::{Binding, Report};
use claimsmith_token::{TokenError, TokenPolicy, ValidToken};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tower_service::Service as _;

use crate::stage::TIME;

/// Reading the request's body.
#[inline(never)]
pub(crate) fn parse(body: &[u8]) -> Result<Callout<'_>, ParseError> {
    Callout::parse(body, Event::TokenIssuanceStart)
}

/// Validating a token that the policy has accepted before.
#[inline(never)]
pub(crate) fn remembered_token(runtime: &Runtime, policy: &TokenPolicy, token: &str) -> Result<ValidToken, TokenError> {
    runtime.block_on(policy.validate(token, Instant::now() + TIME))
}

/// Validating a token that the policy has not seen.
#[inline(never)]
pub(crate) fn new_token(runtime: &Runtime, policy: &TokenPolicy, token: &str) -> Result<ValidToken, TokenError> {
    runtime.block_on(policy.validate(token, Instant::now() + TIME))
}

/// Guarding claims and rendering the answer.
#[inline(never)]
pub(crate) fn render(claims: &[Claim]) -> Result<Vec<u8>, GuardError> {
    respond(claims, 3_000)
}

/// One invocation: a fresh instance, the call, and dropping it.
#[inline(never)]
pub(crate) fn invocation(
    runtime: &Runtime,
    binding: &Binding,
    context: Context<'_>,
) -> Report<Vec<token_issuance_start::Claim>> {
    runtime.block_on(binding.token_issuance_start(context, Instant::now() + TIME))
}

/// A callout from the route to its answer, with a token that is remembered.
#[inline(never)]
pub(crate) fn callout(runtime: &Runtime, router: &mut Router, request: Request) -> Response {
    runtime
        .block_on(router.call(request))
        .unwrap_or_else(|never| match never {})
}

/// A callout that is refused because it has no token.
#[inline(never)]
pub(crate) fn refusal(runtime: &Runtime, router: &mut Router, request: Request) -> Response {
    runtime
        .block_on(router.call(request))
        .unwrap_or_else(|never| match never {})
}
