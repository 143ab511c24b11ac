//! Entra's custom authentication extension contract as pure functions and types.
//!
//! No I/O, no async, no WebAssembly, and no dependency on any other crate of this workspace: what Entra sends becomes a
//! [`Callout`] or a list of [`Problem`]s, what a plugin answers passes the guard of its event or is refused with the
//! error that Entra would show, and [`Outcome`] names every way a callout can end.
//!
//! The parser is tolerant where Entra is known to vary (member order, explicit nulls, unknown members, a few casing
//! slips) and the renderer is exact. Adding an event is adding a variant to [`Event`] and a module like
//! [`token_issuance_start`].

mod callout;
mod event;
pub mod json;
mod outcome;
mod reader;
pub mod token_issuance_start;

pub use callout::{Callout, Client, MAX_ADDITIONAL_BYTES, MAX_ADDITIONAL_MEMBERS, ParseError, ServicePrincipal, User};
pub use event::{Event, UnknownEvent};
pub use outcome::Outcome;
pub use reader::Problem;
