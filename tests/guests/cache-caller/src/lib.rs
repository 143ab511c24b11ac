//! Uses its cache as the user's display name says: a JSON array of steps, whose results are a claim.

use std::time::{Duration, Instant};

use claimsmith_plugin::cache::{self, Lookup, Reservation};
use claimsmith_plugin::{Callout, Claims, Context as _, Error, Result};
use serde::Deserialize;

/// Of a value, in a claim.
const MAX_SHOWN: usize = 40;

#[claimsmith_plugin::settings]
struct Settings {
    /// Makes settings differ.
    #[serde(default)]
    salt: String,
}

/// Something to do with the cache.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Step {
    /// The value, if it is fresh.
    Get(String),
    /// Puts a value.
    Put(Value),
    /// Puts so many values under keys that begin so.
    PutMany(usize, Value),
    /// Removes a key.
    Remove(String),
    /// Looks for a key, and does something with it if it is to be filled.
    Look(String, With),
}

/// A value and its times.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    #[serde(default)]
    key: String,
    #[serde(default)]
    text: String,
    /// In place of the text, so many bytes.
    #[serde(default)]
    bytes: usize,
    fresh_ms: u64,
    #[serde(default)]
    stale_ms: u64,
}

/// What to do with a key that is to be filled.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum With {
    Fill(Value),
    Drop,
    Panic,
    Fail,
    /// Keeps it to the end, and longer if the instance is kept.
    Keep,
    /// Computes until a limit ends it.
    Spin,
    /// Waits so many milliseconds, then fills it.
    FillAfter(u64, Value),
    Postpone(u64),
}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    let user = callout.user()?;
    let steps = user.display_name.as_deref().context("display name")?;
    let steps: Vec<Step> = serde_json::from_str(steps).context("the steps")?;
    let results: Result<Vec<_>> = steps.into_iter().map(take).collect();
    Ok(Claims::new()
        .with("results", results?)
        .with("salt", settings.salt.as_str()))
}

fn take(step: Step) -> Result<String> {
    Ok(match step {
        Step::Get(key) => match cache::get::<String>(&key) {
            Ok(Some(text)) => format!("value {}", shown(&text)),
            Ok(None) => "none".to_owned(),
            Err(error) => code(&error),
        },
        Step::Put(value) => done(cache::put(&value.key, &value.text(), value.fresh())),
        Step::PutMany(count, value) => {
            let put = |number| cache::put(&format!("{}{number}", value.key), &value.text(), value.fresh());
            done((0..count).try_for_each(put))
        }
        Step::Remove(key) => done(cache::remove(&key)),
        Step::Look(key, with) => match cache::get_or_reserve(&key) {
            Ok(Lookup::Fresh(value)) => format!("fresh {}", json(&value)),
            Ok(Lookup::Stale(value, None)) => format!("stale {}", json(&value)),
            Ok(Lookup::Stale(value, Some(reservation))) => {
                format!("stale with key {}, {}", json(&value), deal(reservation, with)?)
            }
            Ok(Lookup::Reserved(reservation)) => deal(reservation, with)?,
            Err(error) => code(&error),
        },
    })
}

#[expect(clippy::panic, reason = "that is what is tested")]
fn deal(reservation: Reservation, with: With) -> Result<String> {
    Ok(match with {
        With::Fill(value) => fill(reservation, &value),
        With::Drop => "dropped".to_owned(),
        With::Panic => panic!("with a key in hand"),
        With::Fail => return Err(Error::unavailable("as asked")),
        With::Keep => {
            std::mem::forget(reservation);
            "kept".to_owned()
        }
        With::Spin => loop {
            std::hint::black_box(());
        },
        With::FillAfter(milliseconds, value) => {
            wait(Duration::from_millis(milliseconds));
            fill(reservation, &value)
        }
        With::Postpone(milliseconds) => done(reservation.postpone(Duration::from_millis(milliseconds))),
    })
}

fn fill(reservation: Reservation, value: &Value) -> String {
    let bytes = serde_json::to_vec(&value.text()).unwrap_or_default();
    let stale = Duration::from_millis(value.stale_ms);
    match reservation.fill(&bytes, Duration::from_millis(value.fresh_ms), stale) {
        Ok(()) => "filled".to_owned(),
        Err(error) => code(&error),
    }
}

/// Sleeps, which is waiting for the host.
fn wait(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        std::thread::sleep(left);
    }
}

impl Value {
    fn text(&self) -> String {
        if self.bytes == 0 {
            return self.text.clone();
        }
        "x".repeat(self.bytes)
    }

    const fn fresh(&self) -> cache::Ttl {
        let fresh = Duration::from_millis(self.fresh_ms);
        cache::Ttl::fresh(fresh).stale(Duration::from_millis(self.stale_ms))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

fn json(value: &[u8]) -> String {
    shown(&serde_json::from_slice::<String>(value).unwrap_or_default())
}

fn done(result: Result<(), cache::Error>) -> String {
    result.map_or_else(|error| code(&error), |()| "done".to_owned())
}

fn code(error: &cache::Error) -> String {
    let code = match error {
        cache::Error::NotGranted(_) => "not-granted",
        cache::Error::TooLarge(_) => "too-large",
        cache::Error::QuotaExceeded => "quota-exceeded",
        cache::Error::DeadlineExceeded => "deadline-exceeded",
        _ => "other",
    };
    code.to_owned()
}
