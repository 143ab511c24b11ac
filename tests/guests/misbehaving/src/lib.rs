//! A plugin that breaks every rule a plugin can break, as its settings say: what the tests of the host's limits run.
//!
//! `mode` chooses what it does with a callout, `check` what it does when its settings are checked. Two builds that differ
//! only in the environment variable `MISBEHAVING_BUILD` are two versions that can be told apart by their answer.

use std::hash::{BuildHasher as _, RandomState};
use std::hint::black_box;
use std::process;
use std::thread;
use std::time::Duration;

use claimsmith_plugin::{Callout, ClaimValue, Claims, Error, Result, log, settings};
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer};

/// Tells builds apart.
const BUILD: &str = match option_env!("MISBEHAVING_BUILD") {
    Some(build) => build,
    None => "default",
};

/// Entra's limit for ids and values together.
const CLAIM_BYTES: usize = 3000;

#[claimsmith_plugin::settings]
struct Settings {
    #[serde(default)]
    mode: Mode,
    /// Comes back in the claim `marker`, so that a test knows whose settings were used.
    #[serde(default)]
    marker: String,
    #[serde(default, rename = "check", deserialize_with = "misbehave_at_check")]
    _check: Option<AtCheck>,
}

/// What it does with a callout.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Behaves.
    #[default]
    Answer,
    Loop,
    Panic,
    Abort,
    Allocate,
    SmallAllocations,
    Recurse,
    TooManyBytes,
    HugeAnswer,
    ManyClaims,
    EmptyClaimId,
    DuplicateClaimId,
    LogFlood,
    ControlCharacters,
    Unavailable,
    Rejected,
    Internal,
    Random,
    Sleep,
    Exit,
    HugePanic,
    LastWords,
    /// Panics, unless the user's name has nine characters: then it rejects the callout.
    PanicOrReject,
    /// Behaves, after a while.
    Nap,
    /// Does what the user's display name says, if that is a mode; otherwise behaves.
    AsNamed,
}

/// The mode with this name.
fn named(name: &str) -> Option<Mode> {
    let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
    Mode::deserialize(name).ok()
}

/// What it does when its settings are checked.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AtCheck {
    Loop,
    Panic,
}

fn misbehave_at_check<'de, D: Deserializer<'de>>(settings: D) -> Result<Option<AtCheck>, D::Error> {
    let check = Option::deserialize(settings)?;
    if settings::are_being_checked() {
        match check {
            Some(AtCheck::Loop) => loop_forever(),
            Some(AtCheck::Panic) => panic_on_purpose("check"),
            None => {}
        }
    }
    Ok(check)
}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    if BUILD == "reads-files" {
        // In other builds this is not compiled, because a plugin that only might read files asks for them all the same.
        drop(black_box(std::fs::read("/etc/passwd")));
    }
    let marker = settings.marker.as_str();
    let message = || format!("{marker} on purpose");
    let mode = match settings.mode {
        Mode::AsNamed => callout
            .user()?
            .display_name
            .as_deref()
            .and_then(named)
            .unwrap_or_default(),
        mode => mode,
    };
    match mode {
        Mode::Answer | Mode::AsNamed => {}
        Mode::Nap => thread::sleep(Duration::from_millis(400)),
        Mode::Loop => loop_forever(),
        Mode::PanicOrReject
            if callout
                .user()?
                .display_name
                .as_deref()
                .is_some_and(|name| name.len() == 9) =>
        {
            return Err(Error::rejected(message()));
        }
        Mode::Panic | Mode::PanicOrReject => panic_on_purpose(marker),
        Mode::Abort => process::abort(),
        Mode::Allocate => allocate_until_it_ends(),
        Mode::SmallAllocations => allocate_little_until_it_ends(),
        Mode::Recurse => drop(black_box(recurse(0))),
        Mode::TooManyBytes => return Ok(Claims::new().with("bytes", "x".repeat(CLAIM_BYTES))),
        Mode::HugeAnswer => return Ok(Claims::new().with("huge", "x".repeat(5 << 20))),
        Mode::ManyClaims => return Ok(unchecked((0..10_000).map(|number| number.to_string()))),
        Mode::EmptyClaimId => return Ok(unchecked(["marker", ""])),
        Mode::DuplicateClaimId => return Ok(unchecked(["marker", "twice", "twice"])),
        Mode::LogFlood => {
            for number in 0..5_000 {
                log::info!(number; "flood");
            }
        }
        Mode::ControlCharacters => log::warn!(
            "field\n\u{7f}" = "a\r\nb";
            "first line\r\nsecond line \u{1b}[31mred\u{1b}[0m \0 \u{85}\u{202e}end"
        ),
        Mode::Unavailable => return Err(Error::unavailable(message())),
        Mode::Rejected => return Err(Error::rejected(message())),
        Mode::Internal => return Err(Error::internal(message())),
        Mode::Random => return Ok(Claims::new().with("random", random())),
        Mode::Sleep => thread::sleep(Duration::from_secs(30)),
        Mode::Exit => process::exit(0),
        Mode::HugePanic => panic_on_purpose(&"\u{1b}[31m\r\n".repeat(15_000)),
        Mode::LastWords => last_words(marker),
    }
    Ok(Claims::new().with("marker", marker).with("build", BUILD))
}

fn loop_forever() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[expect(clippy::panic, reason = "what this plugin is for")]
fn panic_on_purpose(marker: &str) -> ! {
    panic!("misbehaving on purpose: {marker}");
}

fn allocate_until_it_ends() -> ! {
    let mut all = Vec::new();
    loop {
        // Not zeros: those would be memory that nobody has touched.
        all.push(black_box(vec![1_u8; 64 << 10]));
    }
}

fn allocate_little_until_it_ends() -> ! {
    loop {
        black_box(Box::leak(Box::new([1_u64; 2])));
    }
}

/// What a plugin writes that has no host's log, and would like to write another's.
#[expect(clippy::print_stderr, reason = "what this plugin is for")]
fn last_words(marker: &str) -> ! {
    eprintln!("{marker} \u{1b}[31mforged");
    eprintln!("2026-01-01T00:00:00Z  INFO callout answered outcome=\"answered\"");
    process::abort()
}

fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX {
        return depth;
    }
    // What follows the call keeps it from being a loop.
    black_box(recurse(depth + 1)) - 1
}

fn unchecked<I: Into<String>>(ids: impl IntoIterator<Item = I>) -> Claims {
    let value = || ClaimValue::Text("x".to_owned());
    Claims::unchecked(ids.into_iter().map(|id| (id.into(), value())))
}

/// 16 random bytes in hexadecimal: the seed of the standard library's hash maps.
fn random() -> String {
    let random = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::ErrorKind;

    use super::*;

    fn answer(settings_json: &str) -> Result<Claims> {
        provide_claims(&Callout::default(), &settings::read(settings_json)?)
    }

    #[test]
    fn it_behaves_unless_told_otherwise() {
        let claims = answer(r#"{ "marker": "a" }"#).unwrap();
        assert_eq!(claims, Claims::new().with("marker", "a").with("build", BUILD));
    }

    #[test]
    fn what_is_said_to_exceed_a_limit_does() {
        let bytes = |claims: &Claims| -> usize {
            let length = |(id, value): (&str, &ClaimValue)| match value {
                ClaimValue::Text(text) => id.len() + text.len(),
                ClaimValue::Texts(texts) => id.len() + texts.iter().map(String::len).sum::<usize>(),
            };
            claims.iter().map(length).sum()
        };
        assert!(bytes(&answer(r#"{ "mode": "too_many_bytes" }"#).unwrap()) > CLAIM_BYTES);
        assert!(bytes(&answer(r#"{ "mode": "huge_answer" }"#).unwrap()) > 5 << 20);
        assert_eq!(answer(r#"{ "mode": "many_claims" }"#).unwrap().len(), 10_000);
        assert_eq!(answer(r#"{ "mode": "duplicate_claim_id" }"#).unwrap().len(), 3);
    }

    #[test]
    fn each_failure_is_of_its_kind() {
        for (mode, kind) in [
            ("unavailable", ErrorKind::Unavailable),
            ("rejected", ErrorKind::Rejected),
            ("internal", ErrorKind::Internal),
        ] {
            let error = answer(&format!(r#"{{ "mode": "{mode}", "marker": "fails" }}"#)).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, "fails on purpose"));
        }
    }

    #[test]
    fn two_runs_answer_different_random_bytes() {
        let random = || answer(r#"{ "mode": "random" }"#).unwrap();
        assert_ne!(random(), random());
    }

    #[test]
    fn a_mode_is_found_by_its_name() {
        assert!(matches!(named("huge_answer"), Some(Mode::HugeAnswer)));
        assert!(named("Ada Byron").is_none());
    }

    #[test]
    fn a_callout_is_not_a_check() {
        assert!(answer(r#"{ "check": "panic" }"#).is_ok());
    }

    #[test]
    #[should_panic(expected = "misbehaving on purpose: check")]
    fn it_panics_when_its_settings_are_checked() {
        drop(settings::check::<Settings>(r#"{ "check": "panic" }"#));
    }
}
