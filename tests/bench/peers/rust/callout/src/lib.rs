//! What both Rust peers do with a callout, as a team would write it that has no Claimsmith.

mod claims;
mod request;
mod token;

pub use claims::{Response, provide_claims};
pub use request::Request;
pub use token::{Expected, Token, Verifier};

/// Why a callout is refused.
#[derive(Debug)]
pub enum Refusal {
    /// 401. What was wrong with the token is nobody's business but the log's.
    Unauthorized,
    /// 400, with what is wrong.
    BadRequest(String),
}

/// Checks that the directory of the request is the token's, and answers.
///
/// # Errors
/// When it is another one.
pub fn answer<'a>(request: &'a Request, token: &Token) -> Result<Response<'a>, Refusal> {
    if request.data.tenant_id != token.tid {
        return Err(Refusal::BadRequest("data.tenantId is not the token's".into()));
    }
    Ok(provide_claims(&request.data.authentication_context))
}
