//! A settings type without the attribute.

use claimsmith_plugin::{Callout, Claims, Result};

struct Settings {}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(_: &Callout, _: &Settings) -> Result<Claims> {
    Ok(Claims::new())
}

fn main() {}
