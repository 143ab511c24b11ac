//! verifiedIdClaimValidation: a user who recovers an account has presented a Verified ID.

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
        world verified-id-claim-validation {
            export claimsmith:plugin/verified-id-claim-validation@0.1.0;
        }
    ",
    with: {
        "claimsmith:plugin/callout@0.1.0": crate::bindings::callout,
        "claimsmith:plugin/sign-up@0.1.0": crate::bindings::sign_up,
    },
    additional_derives: [Default, PartialEq, Eq],
    additional_derives_ignore: ["verdict"],
    pub_export_macro: true,
});

pub use exports::claimsmith::plugin::verified_id_claim_validation::{
    Guest, NamedText, Verdict as Answer, VerifiedId as Input,
};

/// What a plugin's function is given.
pub type PluginInput = crate::VerifiedId;
/// What a plugin's function answers with.
pub type PluginAnswer = crate::Verdict;
