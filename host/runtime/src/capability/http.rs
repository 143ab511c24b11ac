//! `claimsmith:plugin/http`.

use std::fmt;
use std::sync::Arc;

use crate::bindings::http::{self, Error, Method, Request, Response};
use crate::capability::{Asked, CallContext, CapabilityFuture, CapabilityResult, timeout};
use crate::journal::Digester;
use crate::state::CallState;

/// An HTTP upstream: knows its address, its credentials and what may be asked of it.
pub trait HttpUpstream: fmt::Debug + Send + Sync {
    /// Sends a request and reads the whole response.
    fn fetch(&self, request: Request, context: CallContext) -> CapabilityFuture<'_, Response, Error>;
}

impl http::Host for CallState {
    async fn fetch(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        let grants = Arc::clone(&self.grants);
        let name = request.upstream.clone();
        let asked = Asked {
            function: "http.fetch",
            upstream: &name,
            arguments: digester(&request),
            timeout: timeout(request.timeout_milliseconds),
        };
        self.through(asked, |context| async move {
            let upstream = grants.http(&request.upstream).map_err(Error::NotGranted)?;
            upstream.fetch(request, context).await
        })
        .await
    }
}

/// What is asked, in its order and each part with its length, so that no two requests are the same bytes.
fn digester(request: &Request) -> Digester {
    let mut digester = Digester::default();
    digester.add(request.upstream.as_bytes());
    digester.add(method_name(&request.method).as_bytes());
    digester.add(request.path.as_bytes());
    digester.add_option(request.query.as_deref().map(str::as_bytes));
    digester.count(request.headers.len());
    for header in &request.headers {
        digester.add(header.name.as_bytes());
        digester.add(header.value.as_bytes());
    }
    digester.add_option(request.body.as_deref());
    digester
}

/// A method as it is sent.
pub(crate) fn method_name(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
        Method::Other(name) => name,
    }
}

capability_error!(Error {
    NotGranted(_) => "not_granted",
    NotAllowed(_) => "not_allowed",
    Invalid(_) => "invalid",
    TooLarge(_) => "too_large",
    Unavailable(_) => "unavailable",
    QuotaExceeded => "quota_exceeded",
    DeadlineExceeded => "deadline_exceeded",
});

impl CapabilityResult for Response {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|header| header.name.len() + header.value.len());
        self.body.len() + headers.sum::<usize>()
    }

    fn status(&self) -> Option<u16> {
        Some(self.status)
    }
}
