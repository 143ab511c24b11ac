//! tokenIssuanceStart: claims for a token that is about to be issued.

#![allow(
    missing_docs,
    rust_2018_idioms,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; `wit/` holds its documentation"
)]

wit_bindgen::generate!({
    path: "../wit",
    inline: "
        package claimsmith:sdk;
        world token-issuance-start {
            export claimsmith:plugin/token-issuance-start@0.1.0;
        }
    ",
    with: { "claimsmith:plugin/callout@0.1.0": crate::bindings::callout },
    additional_derives: [PartialEq, Eq],
    pub_export_macro: true,
});

pub use exports::claimsmith::plugin::token_issuance_start::{Claim, ClaimValue, Guest};

/// What a plugin's function answers with.
pub type PluginAnswer = crate::Claims;
/// What the host is given.
pub type Answer = Vec<Claim>;
