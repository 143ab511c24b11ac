//! The admin API of a real host: who may do what, what happens to versions, what signatures are worth, and that nobody who
//! signs in notices any of it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod crashes;
mod document;
mod forgotten;
mod minisign;
mod pushes;
mod refusals;
mod remote;
mod requests;
mod roles;
mod setup;
mod signatures;
mod taken_back;
mod under_load;
mod versions;
