//! Write Claimsmith plugins: logic that runs while a user signs up or signs in with Microsoft Entra.
//!
//! A plugin is one file. This one adds a claim to the token:
//!
//! ```
//! use claimsmith_plugin::{Callout, Claims, Result};
//!
//! #[claimsmith_plugin::settings]
//! struct Settings {
//!     greeting: String,
//! }
//!
//! #[claimsmith_plugin::token_issuance_start]
//! fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
//!     let name = callout.user()?.display_name.as_deref().unwrap_or("you");
//!     Ok(Claims::new().with("greeting", format!("{} {name}", settings.greeting)))
//! }
//! ```
//!
//! # Events
//!
//! A plugin has a function for each event it answers, marked with the event's attribute, which has an example. It is
//! given the [`Callout`], what the event is about, and the settings; all functions share one settings type.
//!
//! | Entra's event | attribute | is given | answers with |
//! |---|---|---|---|
//! | tokenIssuanceStart: a token is about to be issued | [`token_issuance_start`] | | [`Claims`] |
//! | attributeCollectionStart: the sign-up page is about to be shown | [`attribute_collection_start`] | [`SignUp`] | [`AttributeCollectionStart`] |
//! | attributeCollectionSubmit: the sign-up page was submitted | [`attribute_collection_submit`] | [`SignUp`] | [`AttributeCollectionSubmit`] |
//! | emailOtpSend: a one-time code has to reach a user | [`email_otp_send`] | [`OneTimeCode`] | `()`: it is on its way |
//! | passwordSubmit: a user who is still to be migrated has typed a password | [`password_submit`](macro@password_submit) | [`Credentials`] | [`PasswordSubmit`] |
//! | verifiedIdClaimValidation: a user who recovers an account has presented a Verified ID | [`verified_id_claim_validation`] | [`VerifiedId`] | [`Verdict`] |
//!
//! # Building
//!
//! The crate is a library for WebAssembly. Its name, version and description are what operators see.
//!
//! ```toml
//! [package]
//! name = "greeting"
//! description = "Greets the user by name"
//! version = "1.0.0"
//! edition = "2024"
//!
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! claimsmith-plugin = { path = "../claimsmith/plugin-sdk" }   # or `git`, with the `rev` that the host is of
//! serde = { version = "1", features = ["derive"] }            # for what upstreams answer
//! ```
//!
//! ```console
//! $ rustup target add wasm32-wasip2
//! $ cargo build --release --target wasm32-wasip2
//! ```
//!
//! Cargo names the file `my_plugin.wasm`, with underscores, where the package is called `my-plugin`: copy it under the name that
//! the tenant's file says. `docs/plugin-authors.md` of the repository goes all the way, from an empty directory to a host of
//! one's own, a sign-in, and a version that serves.
//!
//! # Testing
//!
//! The function stays an ordinary function, so `cargo test` tests it natively: [`Callout`], what the events are about,
//! and their parts have defaults, and [`settings::read`] and [`settings::check`] do what the host has done. Without a
//! host, log records go nowhere and [`deadline::remaining`] is two seconds.
//!
//! ```
//! # use claimsmith_plugin::{Claims, Result};
//! # #[claimsmith_plugin::settings]
//! # struct Settings { greeting: String }
//! # #[claimsmith_plugin::token_issuance_start]
//! # fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
//! #     let name = callout.user()?.display_name.as_deref().unwrap_or("you");
//! #     Ok(Claims::new().with("greeting", format!("{} {name}", settings.greeting)))
//! # }
//! use claimsmith_plugin::{Callout, User, settings};
//!
//! let settings: Settings = settings::read(r#"{ "greeting": "Hello" }"#)?;
//! let user = User { display_name: Some("Ada".into()), ..User::default() };
//! let callout = Callout { user: Some(user), ..Callout::default() };
//! assert_eq!(provide_claims(&callout, &settings)?, Claims::new().with("greeting", "Hello Ada"));
//! # Ok::<(), claimsmith_plugin::Error>(())
//! ```
//!
//! [`settings::check`] returns a `Vec` of [`settings::Problem`], each with the path and what is wrong there; an empty one
//! means that the settings are accepted. A member of the callout that has no field, because Entra began to send it later, is
//! given in [`additional`](Callout#structfield.additional), by its path:
//!
//! ```
//! # #[claimsmith_plugin::settings]
//! # struct Settings { greeting: String }
//! use claimsmith_plugin::{Callout, settings};
//!
//! let problems = settings::check::<Settings>(r#"{ "greting": "Hello" }"#);
//! assert_eq!(problems.len(), 1);
//! assert!(problems[0].message.starts_with("unknown field `greting`"));
//!
//! let callout = Callout { additional: vec![("user.employeeId".into(), "7".into())], ..Callout::default() };
//! assert_eq!(callout.get("user.employeeId"), Some("7"));
//! ```
//!
//! # Settings
//!
//! The type marked with [`#[settings]`](macro@settings) is what the binding's settings are read into. It is strict: a
//! member it does not have is a mistake of the operator, who is told. Types inside it derive `serde::Deserialize`
//! themselves; give structs `#[serde(deny_unknown_fields)]` to keep them strict.
//!
//! # Failing
//!
//! A function that returns an [`Error`] has no answer, and the binding's failure policy decides what Entra gets. A panic
//! ends the invocation; its message and place go to the log. Every invocation is a fresh instance: nothing is left from
//! the last one, whatever happened to it, unless operator and tenant gave that up for the binding. Do not count on either.
//!
//! | in the plugin | what the host sees |
//! |---|---|
//! | [`Error::unavailable`], [`or_unavailable`](Context::or_unavailable) | `unavailable`: a later attempt may succeed |
//! | [`Error::rejected`], [`or_rejected`](Context::or_rejected) | `rejected`: the plugin does not accept the callout |
//! | [`Error::internal`], `?` on any other error, settings that cannot be read | `internal`: a defect |
//! | a panic, too much time or memory | the invocation is ended |
//!
//! # Keeping values
//!
//! What a callout has learned can be kept for the next one in the binding's [`cache`], if the operator gives it one.
//!
//! # Secrets
//!
//! A [`OneTimeCode`] and [`Credentials`] hold a secret: `Debug` leaves it out, and its memory is wiped when they are
//! dropped. What a plugin makes of it is the plugin's to keep out of log records, errors and panics.
//!
//! # Logging
//!
//! Through the [`log`] crate, which is here too: no dependency is needed, but it has to be named.
//!
//! ```
//! use claimsmith_plugin::log;
//!
//! let benefits = 2;
//! log::info!(tier = "gold", benefits; "member found");
//! log::warn!("no tier is known of {benefits} benefits");
//! ```
//!
//! The host adds whose callout it was. It keeps what fits its limits and chooses by its own level, so nothing is filtered here.

pub mod cache;
pub mod deadline;
pub mod directory;
pub mod http;
pub mod language;
pub mod mail;
pub mod settings;
pub mod sql;

mod attribute_collection;
mod attributes;
mod bindings;
mod callout;
mod claims;
mod conversions;
mod error;
mod events;
mod grants;
mod host;
mod lifecycle;
mod logging;
mod password_submit;
mod secrets;
mod sign_up;
mod verified_id;

pub use log;
pub use serde;

pub use crate::attribute_collection::{AttributeCollectionStart, AttributeCollectionSubmit, ValidationError};
pub use crate::attributes::{
    attribute_collection_start, attribute_collection_submit, email_otp_send, password_submit, settings,
    token_issuance_start, verified_id_claim_validation,
};
pub use crate::callout::{Callout, Client, ServicePrincipal, User};
pub use crate::claims::{ClaimValue, Claims};
pub use crate::directory::directory;
pub use crate::error::{Context, Error, ErrorKind, Result};
pub use crate::password_submit::PasswordSubmit;
pub use crate::secrets::{Credentials, OneTimeCode};
pub use crate::sign_up::{
    Attribute, AttributeType, AttributeValue, AttributeValues, BlockPage, Identity, SignUp, ValueType,
};
pub use crate::verified_id::{NamedText, Verdict, VerifiedId};

/// What the attributes expand to. Not for people: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::callout::Failure;
    pub use crate::bindings::lifecycle as lifecycle_bindings;
    pub use crate::events::{
        attribute_collection_start, attribute_collection_submit, email_otp_send, invoke, password_submit,
        token_issuance_start, verified_id_claim_validation,
    };
    pub use crate::lifecycle::{check_settings, describe};
}
