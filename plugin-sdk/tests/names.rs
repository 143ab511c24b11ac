//! The attributes use no name that a plugin may have, and one plugin can answer every event.

use claimsmith_plugin::{
    AttributeCollectionStart, AttributeCollectionSubmit, Callout, Claims, Credentials, OneTimeCode, PasswordSubmit,
    Result, SignUp, Verdict, VerifiedId, settings,
};

#[claimsmith_plugin::settings]
struct Event {
    callout: String,
}

#[claimsmith_plugin::token_issuance_start]
fn callout(_: &Callout, event: &Event) -> Result<Claims> {
    Ok(Claims::new().with("callout", &event.callout))
}

#[claimsmith_plugin::attribute_collection_start]
fn input(_: &Callout, _: &SignUp, _: &Event) -> Result<AttributeCollectionStart> {
    Ok(AttributeCollectionStart::Proceed)
}

#[claimsmith_plugin::attribute_collection_submit]
fn answer(_: &Callout, _: &SignUp, _: &Event) -> Result<AttributeCollectionSubmit> {
    Ok(AttributeCollectionSubmit::Proceed)
}

#[claimsmith_plugin::email_otp_send]
fn send(_: &Callout, _: &OneTimeCode, _: &Event) -> Result<()> {
    Ok(())
}

#[claimsmith_plugin::password_submit]
fn invoke(_: &Callout, _: &Credentials, _: &Event) -> Result<PasswordSubmit> {
    Ok(PasswordSubmit::Retry)
}

#[claimsmith_plugin::verified_id_claim_validation]
fn validate(_: &Callout, _: &VerifiedId, _: &Event) -> Result<Verdict> {
    Ok(Verdict::Pass)
}

#[test]
fn a_plugin_names_its_items_as_it_likes() {
    let event: Event = settings::read(r#"{ "callout": "x" }"#).unwrap();
    let of = Callout::default();
    assert_eq!(callout(&of, &event).unwrap(), Claims::new().with("callout", "x"));
    assert_eq!(
        input(&of, &SignUp::default(), &event).unwrap(),
        AttributeCollectionStart::Proceed
    );
    assert_eq!(
        answer(&of, &SignUp::default(), &event).unwrap(),
        AttributeCollectionSubmit::Proceed
    );
    send(&of, &OneTimeCode::default(), &event).unwrap();
    assert_eq!(
        invoke(&of, &Credentials::default(), &event).unwrap(),
        PasswordSubmit::Retry
    );
    assert_eq!(validate(&of, &VerifiedId::default(), &event).unwrap(), Verdict::Pass);
}
