//! Entra's custom authentication extension contract as pure functions and types.
//!
//! No I/O, no async, no WebAssembly, and no dependency on any other crate of this workspace: what Entra sends becomes a
//! [`Callout`] or a list of [`Problem`]s, what a plugin answers passes the guard of its event or is refused with the
//! error that Entra would show, and [`Outcome`] names every way a callout can end.
//!
//! The parser is tolerant where Entra is known to vary (member order, explicit nulls, unknown members, a few casing
//! slips) and the renderer is exact. Adding an event is adding a variant to [`Event`] and a module like
//! [`token_issuance_start`].

pub mod attribute_collection_start;
pub mod attribute_collection_submit;
mod callout;
pub mod email_otp_send;
mod entra_error;
mod event;
mod guard;
pub mod json;
mod outcome;
pub mod password_submit;
mod reader;
mod render;
mod response;
mod restricted;
pub mod schema;
mod secret;
pub mod sign_up;
pub mod token_issuance_start;
pub mod verified_id_claim_validation;

pub use callout::{
    Callout, Client, EventData, MAX_ADDITIONAL_BYTES, MAX_ADDITIONAL_MEMBERS, ParseError, ServicePrincipal, User,
};
pub use entra_error::EntraError;
pub use event::{Event, UnknownEvent};
pub use guard::{
    BlockPage, DEFAULT_MAX_RESPONSE_BYTES, GuardError, MAX_MESSAGE_BYTES, MAX_TITLE_BYTES, check_response_size,
};
pub use outcome::Outcome;
pub use reader::Problem;
pub use response::{Violation, check_response};
pub use restricted::is_restricted_jwt_claim;
pub use secret::Secret;
