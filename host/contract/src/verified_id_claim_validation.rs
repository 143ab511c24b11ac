//! verifiedIdClaimValidation: its data and its answer (contract.md, section 1.6).

use std::borrow::Cow;

use serde::Serialize;

use crate::event::Event;
use crate::guard::GuardError;
use crate::reader::{ObjectReader, Problems};
use crate::render::{self, Plain};
use crate::sign_up::{Identity, read_identities};

/// What the user has presented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedId<'a> {
    /// The account's identities, as far as Entra sends them.
    pub identities: Vec<Identity<'a>>,
    /// The claims of the Verified ID.
    pub claims: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What Entra knows besides.
    pub additional_info: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Whether the Verified ID is the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Pass,
    /// It is not; the names of the claims that do not fit.
    Failed(Vec<String>),
}

/// Reads `data.verifiedIdClaimsContext`.
pub(crate) fn read<'a>(data: &mut ObjectReader<'a>, problems: &mut Problems) -> VerifiedId<'a> {
    let Some(mut context) = data.required_object("verifiedIdClaimsContext", problems) else {
        return VerifiedId::default();
    };
    VerifiedId {
        identities: read_identities(&mut context, problems),
        claims: context
            .required_object("claims", problems)
            .map(|claims| claims.into_texts(problems))
            .unwrap_or_default(),
        additional_info: context
            .object("additionalInfo", problems)
            .map(|info| info.into_texts(problems))
            .unwrap_or_default(),
    }
}

/// Checks a verdict, and gives it its wire form.
///
/// # Errors
/// A failed claim without a name.
pub fn respond(verdict: &Verdict) -> Result<Vec<u8>, GuardError> {
    let event = Event::VerifiedIdClaimValidation;
    match verdict {
        Verdict::Pass => {
            let odata_type = "microsoft.graph.verifiedIdClaimValidation.pass";
            Ok(render::response(event, &Plain { odata_type }, None))
        }
        Verdict::Failed(names) => {
            if let Some(index) = names.iter().position(|name| name.trim().is_empty()) {
                return Err(GuardError::EmptyFailedClaim { position: index + 1 });
            }
            let action = Failed {
                odata_type: "microsoft.graph.verifiedIdClaimValidation.failed",
                failed_claims: names,
            };
            Ok(render::response(event, &action, None))
        }
    }
}

#[derive(Serialize)]
struct Failed<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    #[serde(rename = "failedClaims")]
    failed_claims: &'a [String],
}
