//! emailOtpSend: a one-time code has to reach a user.

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
        world email-otp-send {
            export claimsmith:plugin/email-otp-send@0.1.0;
        }
    ",
    with: { "claimsmith:plugin/callout@0.1.0": crate::bindings::callout },
    additional_derives: [PartialEq, Eq],
    pub_export_macro: true,
});

pub use exports::claimsmith::plugin::email_otp_send::{Guest, OneTimeCode as Input};

/// What a plugin's function is given.
pub type PluginInput = crate::OneTimeCode;
/// What a plugin's function answers with.
pub type PluginAnswer = ();
/// What the host is given.
pub type Answer = ();
