//! HTTP upstreams: the capability `claimsmith:plugin/http`.

mod authentication;
mod client;
mod config;
mod headers;
pub(crate) mod load;
mod oauth;
mod target;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::interface::http::{Error, Method as WitMethod, Request, Response};
use claimsmith_runtime::{Breaker, CallContext, CapabilityFuture, HttpUpstream as Capability};
use reqwest::Method;
use reqwest::header::HeaderMap;
use tokio::sync::Semaphore;
use url::Url;

use self::authentication::Authentication;
pub use self::config::{AuthenticationConfig, ClientAuthentication, HttpConfig, OAuthConfig};
use self::target::Rule;

pub(crate) use self::client::describe;
pub(crate) use self::load::check_base;
pub(crate) use self::oauth::sensitive;

/// An HTTP upstream that has been checked, with its connections.
pub struct HttpUpstream {
    /// The tenant's and its own name, for the log.
    tenant: String,
    name: String,
    url: Url,
    rules: Vec<Rule>,
    /// Fields of every request.
    headers: HeaderMap,
    authentication: Authentication,
    client: reqwest::Client,
    places: Semaphore,
    breaker: Arc<Breaker>,
    limits: Limits,
}

/// What one call may use.
#[derive(Clone, Copy, Debug)]
struct Limits {
    timeout: Duration,
    retries: usize,
    max_request_bytes: usize,
    max_response_bytes: usize,
}

impl Capability for HttpUpstream {
    fn fetch(&self, request: Request, context: CallContext) -> CapabilityFuture<'_, Response, Error> {
        Box::pin(async move {
            let mut request = self.check(request)?;
            if let Some(parent) = client::trace_parent(context) {
                request.headers_mut().insert("traceparent", parent);
            }
            self.call(request, context).await
        })
    }
}

impl HttpUpstream {
    /// Whether the upstream takes a request, and what is sent for it.
    fn check(&self, request: Request) -> Result<reqwest::Request, Error> {
        let invalid = |why: &str| Error::Invalid(why.to_owned());
        let method = match &request.method {
            WitMethod::Get => Method::GET,
            WitMethod::Head => Method::HEAD,
            WitMethod::Post => Method::POST,
            WitMethod::Put => Method::PUT,
            WitMethod::Patch => Method::PATCH,
            WitMethod::Delete => Method::DELETE,
            WitMethod::Other(name) => target::method(name).map_err(Error::Invalid)?,
        };
        target::check_path(&request.path).map_err(invalid)?;
        if let Some(query) = &request.query {
            target::check_query(query).map_err(invalid)?;
        }
        if !target::is_allowed(&self.rules, &method, &request.path) {
            let why = format!(
                "upstream `{}` is not open for {method} on this path; see its `allow`",
                self.name
            );
            return Err(Error::NotAllowed(why));
        }
        let url = target::url(&self.url, &request.path, request.query.as_deref()).map_err(invalid)?;
        let own = self.headers.keys().chain(self.authentication.header_name());
        let headers = headers::of_request(&request.headers, own).map_err(Error::Invalid)?;
        let bytes = request.body.as_ref().map_or(0, Vec::len);
        if bytes > self.limits.max_request_bytes {
            let most = self.limits.max_request_bytes;
            return Err(Error::TooLarge(format!(
                "the request's body has {bytes} bytes: expected at most {most}"
            )));
        }
        let mut made = reqwest::Request::new(method, url);
        *made.headers_mut() = headers;
        made.headers_mut().extend(self.headers.clone());
        *made.body_mut() = request.body.map(Into::into);
        Ok(made)
    }
}

impl fmt::Debug for HttpUpstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpUpstream")
            .field("tenant", &self.tenant)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
