//! verifiedIdClaimValidation: its data and its answer (contract.md, section 1.6).

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::event::Event;
use crate::guard::GuardError;
use crate::reader::{ObjectReader, Problems};
use crate::render;
use crate::schema::leaf::Filled;
use crate::sign_up::{Identity, read_identities};

/// What the user has presented.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct VerifiedId<'a> {
    /// The account's identities, as far as Entra sends them.
    #[schemars(with = "Option<Vec<Identity<'_>>>")]
    pub identities: Vec<Identity<'a>>,
    /// The claims of the Verified ID.
    #[schemars(with = "Texts")]
    pub claims: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What Entra knows besides.
    #[schemars(with = "Option<Texts>")]
    pub additional_info: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Strings by name; null counts as absent.
type Texts = BTreeMap<String, Option<String>>;

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
    let wire = match verdict {
        Verdict::Pass => Wire::Pass {},
        Verdict::Failed(names) => {
            if let Some(index) = names.iter().position(|name| name.trim().is_empty()) {
                return Err(GuardError::EmptyFailedClaim { position: index + 1 });
            }
            Wire::Failed { failed_claims: names }
        }
    };
    Ok(render::response(Event::VerifiedIdClaimValidation, &wire, None))
}

/// One of the event's actions.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "@odata.type")]
#[schemars(deny_unknown_fields)]
pub(crate) enum Wire<'a> {
    /// The Verified ID is the user's.
    #[serde(rename = "microsoft.graph.verifiedIdClaimValidation.pass")]
    Pass {},
    /// It is not.
    #[serde(rename = "microsoft.graph.verifiedIdClaimValidation.failed")]
    Failed {
        /// The names of the claims that do not fit.
        #[serde(rename = "failedClaims")]
        #[schemars(with = "Vec<Filled>")]
        failed_claims: &'a [String],
    },
}
