//! Upstreams: the named systems that a tenant's plugins reach through the host.
//!
//! Each kind has a module with the same four parts: the configuration's type, its validation when the tenant is loaded,
//! what a call needs, and the implementation of the capability that `claimsmith-runtime` declares. Addresses and
//! credentials live here and are never in a plugin. Whatever an upstream connects to passes [`Egress`].

mod breaker;
pub mod cache;
pub mod directory;
mod egress;
mod files;
pub mod http;
pub mod mail;
mod problem;
pub mod redis;
pub mod secret;
pub mod sql;
mod tls;
mod told;
pub mod vault;

pub use egress::{Egress, Lookup, Lookups, Network, SystemLookup};
pub use files::{open_regular, read_regular, too_large};
pub use problem::{Problem, Problems};
