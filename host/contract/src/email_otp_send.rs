//! emailOtpSend: its data and its one answer (contract.md, section 1.4).

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::Event;
use crate::reader::{ObjectReader, Problems};
use crate::render;
use crate::schema::leaf::{Filled, required_in_any_case};
use crate::secret::Secret;

/// A one-time code and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transform = code_in_any_case)]
pub struct OneTimeCode<'a> {
    /// The mail address.
    #[schemars(with = "Filled")]
    pub identifier: Cow<'a, str>,
    /// The code.
    #[schemars(rename = "oneTimeCode", with = "Filled")]
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

fn code_in_any_case(schema: &mut schemars::Schema) {
    required_in_any_case(schema, "oneTimeCode");
}

/// The answer: the code is on its way.
#[must_use]
pub fn respond() -> Vec<u8> {
    render::response(Event::EmailOtpSend, &Wire::Proceed {}, None)
}

/// One of the event's actions.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "@odata.type")]
#[schemars(deny_unknown_fields)]
pub(crate) enum Wire {
    /// The code is on its way.
    #[serde(rename = "microsoft.graph.OtpSend.continueWithDefaultBehavior")]
    Proceed {},
}
