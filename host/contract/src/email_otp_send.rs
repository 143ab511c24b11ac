//! emailOtpSend: its data and its one answer (contract.md, section 1.4).

use std::borrow::Cow;

use crate::event::Event;
use crate::reader::{ObjectReader, Problems};
use crate::render::{self, Plain};
use crate::secret::Secret;

/// A one-time code and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTimeCode<'a> {
    /// The mail address.
    pub identifier: Cow<'a, str>,
    /// The code.
    pub code: Secret<'a>,
}

/// Reads `data.otpContext`. Samples disagree on the case of `oneTimeCode`. Without an address or a code there is nothing to
/// send.
pub(crate) fn read<'a>(data: &mut ObjectReader<'a>, problems: &mut Problems) -> Option<OneTimeCode<'a>> {
    let mut context = data.required_object("otpContext", problems)?;
    let identifier = context.required_filled_text("identifier", problems);
    let code = context.required_filled_text_in_any_case("oneTimeCode", problems);
    Some(OneTimeCode {
        identifier: identifier?,
        code: Secret::new(code?),
    })
}

/// The answer: the code is on its way.
#[must_use]
pub fn respond() -> Vec<u8> {
    let odata_type = "microsoft.graph.OtpSend.continueWithDefaultBehavior";
    render::response(Event::EmailOtpSend, &Plain { odata_type }, None)
}
