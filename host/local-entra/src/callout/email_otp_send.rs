//! emailOtpSend: a one-time code is to be mailed.

use serde_json::{Map, Value, json};

use super::event::Spec;

/// The event's names on the wire. The capitals are documented, and so is the missing `on` of the action.
pub(super) const SPEC: Spec = Spec {
    name: "emailOtpSend",
    body_type: "microsoft.graph.authenticationEvent.emailOtpSend",
    callout_data_type: "microsoft.graph.onOtpSendCalloutData",
    response_data_type: "microsoft.graph.OnOtpSendResponseData",
    action_types: &["microsoft.graph.OtpSend.continueWithDefaultBehavior"],
    legacy_action_types: &[],
};

/// The event's own members of `data`.
pub(crate) fn otp_context(identifier: &str, one_time_code: &str) -> Map<String, Value> {
    let context = json!({ "identifier": identifier, "oneTimeCode": one_time_code });
    Map::from_iter([("otpContext".to_owned(), context)])
}
