//! The attributes use no name that a plugin may have.

use claimsmith_plugin::{Callout, Claims, Result, settings};

#[claimsmith_plugin::settings]
struct Event {
    callout: String,
}

#[claimsmith_plugin::token_issuance_start]
fn callout(_: &Callout, event: &Event) -> Result<Claims> {
    Ok(Claims::new().with("callout", &event.callout))
}

#[test]
fn a_plugin_names_its_items_as_it_likes() {
    let event: Event = settings::read(r#"{ "callout": "x" }"#).unwrap();
    let claims = callout(&Callout::default(), &event).unwrap();
    assert_eq!(claims, Claims::new().with("callout", "x"));
}
