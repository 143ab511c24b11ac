//! Functions that are not `fn(&Callout, &Settings) -> Result<…>`.

use claimsmith_plugin::{Callout, Claims, Result};

#[claimsmith_plugin::settings]
struct Settings {}

#[claimsmith_plugin::token_issuance_start]
fn no_argument() -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
fn one_argument(_: &Callout) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
fn three_arguments(_: &Callout, _: &Settings, _: &str) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
fn owned_settings(_: &Callout, _: Settings) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
async fn asynchronous(_: &Callout, _: &Settings) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
unsafe fn not_safe(_: &Callout, _: &Settings) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
extern "C" fn foreign(_: &Callout, _: &Settings) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
fn generic<S>(_: &Callout, _: &S) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start(name = "x")]
fn arguments_of_the_attribute(_: &Callout, _: &Settings) -> Result<Claims> {
    Ok(Claims::new())
}

#[claimsmith_plugin::token_issuance_start]
struct NotAFunction;

fn main() {}
