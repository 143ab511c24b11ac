//! What is told of upstreams in their own words.

use std::fmt::Display;

use claimsmith_runtime::clean_to;

/// More of an upstream's words is no help: an upstream must not fill the log.
const MAX_TOLD_BYTES: usize = 256;

/// A text that is, or may quote, what an upstream has said: cut, and without what could begin a line of the log.
pub(crate) fn told(text: &(impl Display + ?Sized)) -> String {
    clean_to(&text.to_string(), MAX_TOLD_BYTES)
}
