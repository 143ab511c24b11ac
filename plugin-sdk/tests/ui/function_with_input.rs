//! Functions that are not `fn(&Callout, &SignUp, &Settings) -> Result<AttributeCollectionSubmit>`, and those of other
//! events with the wrong number of arguments.

use claimsmith_plugin::{
    AttributeCollectionStart, AttributeCollectionSubmit, Callout, Credentials, OneTimeCode, PasswordSubmit, Result,
    SignUp, Verdict,
};

#[claimsmith_plugin::settings]
struct Settings {}

#[claimsmith_plugin::attribute_collection_submit]
fn no_argument() -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn no_sign_up(_: &Callout, _: &Settings) -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn four_arguments(_: &Callout, _: &SignUp, _: &Settings, _: &str) -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn owned_sign_up(_: &Callout, _: SignUp, _: &Settings) -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn changes_the_sign_up(_: &Callout, _: &mut SignUp, _: &Settings) -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn method(&self, _: &SignUp, _: &Settings) -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::attribute_collection_start]
fn start_without_sign_up(_: &Callout, _: &Settings) -> Result<AttributeCollectionStart> {
    Ok(AttributeCollectionStart::Proceed)
}

#[claimsmith_plugin::email_otp_send]
fn send_without_callout(_: &OneTimeCode, _: &Settings) -> Result<()> {
    Ok(())
}

#[claimsmith_plugin::password_submit]
fn check_without_settings(_: &Callout, _: &Credentials) -> Result<PasswordSubmit> {
    Ok(PasswordSubmit::Retry)
}

#[claimsmith_plugin::verified_id_claim_validation]
fn validate_without_verified_id(_: &Callout, _: &Settings) -> Result<Verdict> {
    Ok(Verdict::Pass)
}

fn main() {}
