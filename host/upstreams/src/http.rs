//! HTTP upstreams: the capability `claimsmith:plugin/http`.

mod authentication;
mod client;
mod config;
mod headers;
mod load;
mod target;

use std::fmt;

use claimsmith_runtime::interface::http::{Error, Method as WitMethod, Request, Response};
use claimsmith_runtime::{CallContext, HttpFuture, HttpUpstream as Capability};
use reqwest::Method;
use reqwest::header::HeaderMap;
use tokio::sync::Semaphore;
use url::Url;

use self::authentication::Authentication;
pub use self::config::{AuthenticationConfig, HttpConfig};
use self::target::Rule;

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
    limits: Limits,
}

/// What one call may use.
#[derive(Clone, Copy, Debug)]
struct Limits {
    timeout: std::time::Duration,
    max_request_bytes: usize,
    max_response_bytes: usize,
}

impl Capability for HttpUpstream {
    fn fetch(&self, request: Request, context: CallContext) -> HttpFuture<'_> {
        Box::pin(async move {
            let checked = self.check(request)?;
            let call = self.call(checked, context);
            match tokio::time::timeout(self.limits.timeout, call).await {
                Ok(result) => result,
                Err(_) => Err(Error::DeadlineExceeded),
            }
        })
    }
}

/// A request that may be sent.
struct Checked {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl HttpUpstream {
    /// Whether the upstream takes a request, and what is sent for it.
    fn check(&self, request: Request) -> Result<Checked, Error> {
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
        let headers = headers::of_request(&request.headers, &self.headers);
        let headers = headers.map_err(Error::Invalid)?;
        let forbidden = self.authentication.header_name();
        if forbidden.is_some_and(|name| headers.contains_key(name)) {
            return Err(invalid("the upstream's credentials are not a plugin's to set"));
        }
        let bytes = request.body.as_ref().map_or(0, Vec::len);
        if bytes > self.limits.max_request_bytes {
            let most = self.limits.max_request_bytes;
            return Err(Error::TooLarge(format!(
                "the request's body has {bytes} bytes: expected at most {most}"
            )));
        }
        Ok(Checked {
            method,
            url,
            headers,
            body: request.body,
        })
    }

    /// Sends a request, once there is a place among those that are sent.
    async fn call(&self, request: Checked, context: CallContext) -> Result<Response, Error> {
        let closed = |_| Error::Unavailable("the service is stopping".to_owned());
        let _place = self.places.acquire().await.map_err(closed)?;
        self.send(request, context).await
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
