//! Learns something from every source that a plugin has, and answers with it: an upstream, both clocks, the deadline, random
//! numbers of all kinds. Logs, and waits.
//!
//! Which build it is, `MISBEHAVING_BUILD` says: `other-path` asks the upstream for something else, `eager` asks for random
//! numbers first, `silent` does not log in the end.

use std::hash::{BuildHasher as _, RandomState};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use claimsmith_plugin::{Callout, Claims, Context as _, Result, deadline, http};
use serde::Deserialize;

const BUILD: Option<&str> = option_env!("MISBEHAVING_BUILD");

#[claimsmith_plugin::settings]
struct Settings {
    /// How long to wait, in milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
struct Member {
    tier: String,
}

fn is(build: &str) -> bool {
    BUILD == Some(build)
}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    let started = Instant::now();
    let early = is("eager").then(random);
    let id = callout.user()?.id.as_deref().or_rejected("the user has no id")?;
    let path = if is("other-path") {
        "/members/{id}/orders"
    } else {
        "/members/{id}"
    };
    let member: Member = http::upstream("crm").get(path).parameter("id", id).json()?;
    sleep(Duration::from_millis(settings.wait_ms));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the time")?;
    let seed = RandomState::new().hash_one(());
    let bytes = early.unwrap_or_else(random);
    if !is("silent") {
        log::info!("learnt {seed:x}");
    }
    Ok(Claims::new()
        .with("tier", member.tier)
        .with("time", since.as_millis().to_string())
        .with("took", started.elapsed().as_millis().to_string())
        .with("left", deadline::remaining().as_millis().to_string())
        .with("seed", format!("{seed:x}"))
        .with("bytes", format!("{bytes:x?}")))
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // The host always has some; the claim would be the same each time if it had not.
    let _had_some = getrandom::fill(&mut bytes).is_ok();
    bytes
}
