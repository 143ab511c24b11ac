//! `claimsmith:plugin/directory`.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroize as _;

use crate::bindings::directory::{self, AuthenticateRequest, Entry, Error, Scope, SearchRequest};
use crate::capability::{Asked, CallContext, CapabilityFuture, CapabilityResult, timeout};
use crate::journal::Digester;
use crate::state::CallState;

/// A directory: knows its address, its credentials and what may be asked of it.
pub trait DirectoryUpstream: fmt::Debug + Send + Sync {
    /// Finds entries.
    fn search(&self, request: SearchRequest, context: CallContext) -> CapabilityFuture<'_, Vec<Entry>, Error>;

    /// Whether credentials are right.
    fn authenticate(&self, request: AuthenticateRequest, context: CallContext) -> CapabilityFuture<'_, bool, Error>;
}

impl directory::Host for CallState {
    async fn search(&mut self, request: SearchRequest) -> wasmtime::Result<Result<Vec<Entry>, Error>> {
        let grants = Arc::clone(&self.grants);
        let name = request.upstream.clone();
        let asked = Asked {
            function: "directory.search",
            upstream: &name,
            arguments: search_digester(&request),
            timeout: timeout(request.timeout_milliseconds),
        };
        self.through(asked, |context| async move {
            let upstream = grants.directory(&request.upstream).map_err(Error::NotGranted)?;
            upstream.search(request, context).await
        })
        .await
    }

    async fn authenticate(&mut self, request: AuthenticateRequest) -> wasmtime::Result<Result<bool, Error>> {
        let grants = Arc::clone(&self.grants);
        let name = request.upstream.clone();
        let asked = Asked {
            function: "directory.authenticate",
            upstream: &name,
            arguments: authenticate_digester(&request),
            timeout: timeout(request.timeout_milliseconds),
        };
        self.through(asked, |context| async move {
            match grants.directory(&request.upstream) {
                Ok(upstream) => upstream.authenticate(request, context).await,
                Err(why) => {
                    let mut request = request;
                    request.password.zeroize();
                    Err(Error::NotGranted(why))
                }
            }
        })
        .await
    }
}

fn search_digester(request: &SearchRequest) -> Digester {
    let mut arguments = Digester::default();
    arguments.add(request.upstream.as_bytes());
    arguments.add_option(request.base.as_deref().map(str::as_bytes));
    arguments.add(match request.scope {
        Scope::Base => b"base",
        Scope::OneLevel => b"one-level",
        Scope::Subtree => b"subtree",
    });
    arguments.add(request.filter.as_bytes());
    arguments.count(request.arguments.len());
    for argument in &request.arguments {
        arguments.add(argument.name.as_bytes());
        arguments.add(argument.value.as_bytes());
    }
    arguments.count(request.attributes.len());
    for attribute in &request.attributes {
        arguments.add(attribute.as_bytes());
    }
    arguments
}

/// The password is left out: short ones can be guessed from a digest.
fn authenticate_digester(request: &AuthenticateRequest) -> Digester {
    let mut arguments = Digester::default();
    arguments.add(request.upstream.as_bytes());
    arguments.add(request.dn.as_bytes());
    arguments
}

capability_error!(Error {
    NotGranted(_) => "not_granted",
    NotAllowed(_) => "not_allowed",
    Invalid(_) => "invalid",
    TooLarge(_) => "too_large",
    Failed(_) => "failed",
    Unavailable(_) => "unavailable",
    QuotaExceeded => "quota_exceeded",
    DeadlineExceeded => "deadline_exceeded",
});

impl CapabilityResult for Vec<Entry> {
    fn bytes(&self) -> usize {
        let attributes = self.iter().flat_map(|entry| &entry.attributes);
        let values =
            attributes.map(|attribute| attribute.name.len() + attribute.values.iter().map(Vec::len).sum::<usize>());
        values.sum::<usize>() + self.iter().map(|entry| entry.dn.len()).sum::<usize>()
    }
}

impl CapabilityResult for bool {
    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}
