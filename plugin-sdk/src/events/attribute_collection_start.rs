//! attributeCollectionStart: before the page that collects a new user's attributes.

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
        world attribute-collection-start {
            export claimsmith:plugin/attribute-collection-start@0.1.0;
        }
    ",
    with: {
        "claimsmith:plugin/callout@0.1.0": crate::bindings::callout,
        "claimsmith:plugin/sign-up@0.1.0": crate::bindings::sign_up,
    },
    additional_derives: [PartialEq, Eq],
    pub_export_macro: true,
});

pub use exports::claimsmith::plugin::attribute_collection_start::{Action, Guest};

/// What the host gives.
pub type Input = crate::SignUp;
/// What a plugin's function is given.
pub type PluginInput = crate::SignUp;
/// What a plugin's function answers with.
pub type PluginAnswer = crate::AttributeCollectionStart;
/// What the host is given.
pub type Answer = Action;
