//! One module for each of Entra's events: its generated bindings, and the types its plugins answer with.
//!
//! A new event is one more module like [`token_issuance_start`], or [`email_otp_send`] when the plugin is given more
//! than the callout, one more line in the macro crate's table, and its attribute's documentation in
//! [`crate::attributes`].

use crate::bindings::callout::Failure;
use crate::settings::{self, Settings};
use crate::{Callout, Result, host, logging};

pub mod attribute_collection_start;
pub mod attribute_collection_submit;
pub mod email_otp_send;
pub mod password_submit;
pub mod token_issuance_start;
pub mod verified_id_claim_validation;

/// Runs a plugin's function for one callout. `Lowered` is what the generated bindings hand to the host.
///
/// # Errors
/// What the function answers; [`internal`](crate::ErrorKind::Internal) when the settings cannot be read.
pub fn invoke<S: Settings, Answer: Into<Lowered>, Lowered>(
    callout: &Callout,
    function: impl FnOnce(&Callout, &S) -> Result<Answer>,
) -> Result<Lowered, Failure> {
    logging::install();
    let answer = settings::read(&host::settings_json()).and_then(|settings| function(callout, &settings));
    answer.map(Into::into).map_err(Into::into)
}
