//! The right number of arguments, of wrong types or in the wrong order, and the answers of another event.

use claimsmith_plugin::{
    AttributeCollectionStart, AttributeCollectionSubmit, Callout, Claims, Credentials, OneTimeCode, Result, SignUp,
    Verdict, VerifiedId,
};

#[claimsmith_plugin::settings]
struct Settings {}

#[claimsmith_plugin::attribute_collection_submit]
fn not_the_sign_up(_: &Callout, _: &VerifiedId, _: &Settings) -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn another_order(_: &SignUp, _: &Callout, _: &Settings) -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn not_the_settings(_: &Callout, _: &SignUp, _: &Callout) -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn of_another_event(_: &Callout, _: &SignUp, _: &Settings) -> Result<AttributeCollectionStart> {
    Ok(AttributeCollectionStart::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn no_result(_: &Callout, _: &SignUp, _: &Settings) -> AttributeCollectionSubmit {
    AttributeCollectionSubmit::Proceed
}

#[claimsmith_plugin::email_otp_send]
fn nothing(_: &Callout, _: &OneTimeCode, _: &Settings) {}

#[claimsmith_plugin::password_submit]
fn claims(_: &Callout, _: &Credentials, _: &Settings) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::verified_id_claim_validation]
fn not_the_verified_id(_: &Callout, _: &String, _: &Settings) -> Result<Verdict> {
    Ok(Verdict::Pass)
}

fn main() {}
