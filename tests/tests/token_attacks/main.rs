//! Attacks with tokens: each is sent to a real host, which must refuse it with a 401 that tells the caller nothing, log
//! the outcome that tells the operator which check failed, keep the token out of its log, and ask nobody that the token
//! names. Wherever the attack allows, the token is really signed with the directory's own key, so that nothing but the
//! check in question stands between it and an answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod algorithm;
mod claims;
mod controls;
mod form;
mod header;
mod key_source;
mod parties;
mod range;
mod remembered;
mod signature;
mod times;
mod transport;
