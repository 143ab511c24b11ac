//! HTTP to the upstreams that the binding was granted.
//!
//! The tenant's configuration names an upstream, its address, what may be asked of it and the credentials; a plugin knows
//! the name alone.
//!
//! ```no_run
//! use claimsmith_plugin::{Result, http};
//!
//! #[derive(serde::Deserialize)]
//! struct Member {
//!     tier: String,
//! }
//!
//! fn tier(mail: &str) -> Result<String> {
//!     let request = http::upstream("crm").get("/members/{mail}").parameter("mail", mail);
//!     let member: Member = request.query("fields", "tier").json()?;
//!     Ok(member.tier)
//! }
//! ```
//!
//! By `?`, an [`Error`] becomes a failure of the kind it is: an upstream that does not answer, or answers 408, 429 or 5xx,
//! is [`unavailable`](crate::ErrorKind::Unavailable); anything else is [`internal`](crate::ErrorKind::Internal). A
//! plugin that can do without the upstream matches on the error instead.
//!
//! A name in a function's body is found missing only when the function is called. As a member of the settings it is checked
//! when the binding is loaded: see [`Upstream`].
//!
//! Redirects are not followed: they come as responses. A call takes at most what the callout has left; a
//! [shorter time](RequestBuilder::timeout) leaves the plugin some for another way.

mod error;
mod request;
mod response;
#[cfg(not(target_family = "wasm"))]
pub mod test;

use serde::{Deserialize, Deserializer};

use crate::grants;

pub use self::error::Error;
pub use self::request::{Method, Request, RequestBuilder};
pub use self::response::Response;

/// An upstream, by its name in the tenant's configuration.
pub fn upstream(name: impl Into<String>) -> Upstream {
    let name = name.into();
    grants::note(&name, grants::Kind::Http);
    Upstream { name }
}

/// An upstream.
///
/// It can be a member of settings, where it is the upstream's name. The host then says when the binding is loaded that the
/// binding was not granted it, instead of each callout:
///
/// ```
/// use claimsmith_plugin::http;
///
/// #[claimsmith_plugin::settings]
/// struct Settings {
///     crm: http::Upstream,
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    name: String,
}

impl<'de> Deserialize<'de> for Upstream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        grants::deserialize_name(deserializer, grants::Kind::Http).map(|name| Self { name })
    }
}

impl Upstream {
    /// A request that reads. `path` is below the upstream's URL, begins with `/`, and is percent-encoded but for its
    /// `{names}`, which [`RequestBuilder::parameter`] fills in.
    pub fn get(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::Get, path)
    }

    /// A request that reads the head of what `get` would.
    pub fn head(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::Head, path)
    }

    /// A request that hands something over.
    pub fn post(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::Post, path)
    }

    /// A request that replaces.
    pub fn put(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::Put, path)
    }

    /// A request that changes in part.
    pub fn patch(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::Patch, path)
    }

    /// A request that removes.
    pub fn delete(&self, path: impl Into<String>) -> RequestBuilder {
        self.request(Method::Delete, path)
    }

    /// A request with any method.
    pub fn request(&self, method: Method, path: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(self.name.clone(), method, path.into())
    }
}
