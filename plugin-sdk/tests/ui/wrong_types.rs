//! The right number of arguments, of wrong types, and wrong answers.

use claimsmith_plugin::{Callout, Claims, Result, User};

#[claimsmith_plugin::settings]
struct Settings {}

#[claimsmith_plugin::token_issuance_start]
fn not_the_callout(_: &User, _: &Settings) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
fn no_result(_: &Callout, _: &Settings) -> Claims {
    Claims::new()
}

#[claimsmith_plugin::token_issuance_start]
fn no_claims(_: &Callout, _: &Settings) -> Result<String> {
    Ok(String::new())
}

#[claimsmith_plugin::token_issuance_start]
fn another_error(_: &Callout, _: &Settings) -> Result<Claims, String> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
fn nothing(_: &Callout, _: &Settings) {}

fn main() {}
