//! Signing up: the page is shown, a new user fills it in, and becomes a user.

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::page::{check, new_page, overwrite, values_of};
use super::{Circumstances, Error, Outcome, Visit};
use crate::callout::{
    BlockPage, CalloutBody, CollectedAttribute, Event, Identity, ServicePrincipal, Start, Submit, ValidationError,
    name_on_wire, user_sign_up_info,
};
use crate::config::{ListenerConfig, UserConfig, UserFlowConfig};
use crate::directory::Directory;
use crate::sign_in::{Activity, Refusal};
use crate::token;
use crate::users::User;

/// Application id of Microsoft Graph: the resource of recorded attribute collection callouts.
const MICROSOFT_GRAPH: Uuid = Uuid::from_u128(0x0000_0003_0000_0000_c000_0000_0000_0000);
/// The attribute with the address that the user signs up with.
pub(super) const EMAIL: &str = "email";

/// Who signs up, and what is filled in.
#[derive(Debug, Clone)]
pub struct SignUpRequest {
    /// Directory id.
    pub directory: Uuid,
    /// The address that the user signs up with.
    pub email: String,
    /// The user's identities. If empty, the address is the one identity, in the documented form.
    pub identities: Vec<Identity>,
    /// What the user fills in, by attribute. The next one is used when the page is shown again; without any, the page is
    /// submitted as it is shown.
    pub submissions: Vec<Map<String, Value>>,
    /// Where and how.
    pub circumstances: Circumstances,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum SignedUp {
    /// There is a new user.
    Created {
        /// The user's object id; sign-ins may name the user by it or by the address.
        user_id: Uuid,
        /// What the page showed when it was first shown.
        shown: Map<String, Value>,
        /// What the user has.
        attributes: Map<String, Value>,
    },
    /// An extension ended the sign-up.
    Blocked {
        /// What the user sees.
        page: BlockPage,
    },
    /// The last submission was not valid.
    Invalid {
        /// What the user sees.
        error: ValidationError,
    },
    /// The extension let the user through, who could not be created all the same.
    NotCreated {
        /// Why.
        reason: &'static str,
    },
}

impl SignUpRequest {
    /// A sign-up with the page submitted once, with these values.
    pub fn new(
        directory: Uuid,
        email: impl Into<String>,
        application: impl Into<String>,
        values: Map<String, Value>,
    ) -> Self {
        Self {
            directory,
            email: email.into(),
            identities: Vec::new(),
            submissions: vec![values],
            circumstances: Circumstances::new(application),
        }
    }
}

impl Directory {
    /// The body of the attributeCollectionStart callout that a sign-up would make.
    ///
    /// # Errors
    /// When the application does not exist, or has no user flow or no listener.
    pub fn attribute_collection_start_body(&self, request: &SignUpRequest) -> Result<CalloutBody, Error> {
        let (visit, flow) = self.page_for(request)?;
        let listener = visit.needed_listener(Event::AttributeCollectionStart)?;
        Ok(body(&visit, listener, &new_page(flow, request), request).0)
    }

    /// The body of the first attributeCollectionSubmit callout that a sign-up would make, if nothing is prefilled.
    ///
    /// # Errors
    /// When the application does not exist, or has no user flow or no listener, or a value does not fit.
    pub fn attribute_collection_submit_body(&self, request: &SignUpRequest) -> Result<CalloutBody, Error> {
        let (visit, flow) = self.page_for(request)?;
        let listener = visit.needed_listener(Event::AttributeCollectionSubmit)?;
        let mut page = new_page(flow, request);
        for values in request.submissions.iter().take(1) {
            check(&page, values)?;
            overwrite(&mut page, values.clone());
        }
        Ok(body(&visit, listener, &page, request).0)
    }

    /// Signs a user up.
    ///
    /// # Errors
    /// When the application does not exist or has no user flow, a submission does not fit the page, or the address is taken:
    /// all of that is found before the extension is asked.
    pub async fn sign_up(&self, request: &SignUpRequest) -> Result<Outcome<SignedUp>, Error> {
        let (mut visit, flow) = self.page_for(request)?;
        if self.users().find(&request.email).is_some() {
            return Err(Error::NotCreated("another user has this address"));
        }
        let mut page = new_page(flow, request);
        for values in &request.submissions {
            check(&page, values)?;
        }
        let result = match self.show(&mut visit, &mut page, request).await {
            Err(refusal) => Err(refusal),
            Ok(Some(page)) => Ok(SignedUp::Blocked { page }),
            Ok(None) => self.collect(&mut visit, page, request).await,
        };
        let user_id = match &result {
            Ok(SignedUp::Created { user_id, .. }) => *user_id,
            _ => Uuid::nil(),
        };
        Ok(visit.end(Activity::SignUp, user_id, result, |_| 0))
    }

    fn page_for<'a>(&'a self, request: &'a SignUpRequest) -> Result<(Visit<'a>, &'a UserFlowConfig), Error> {
        let visit = Visit::begin(self, &request.circumstances)?;
        let application = visit.application.app_id;
        let flow = self.find_user_flow(application).ok_or(Error::NoUserFlow {
            directory: self.id(),
            application,
        })?;
        Ok((visit, flow))
    }

    /// Asks before the page is shown: another page, or none.
    async fn show(
        &self,
        visit: &mut Visit<'_>,
        page: &mut [CollectedAttribute],
        request: &SignUpRequest,
    ) -> Result<Option<BlockPage>, Refusal> {
        let Some(listener) = visit.listener(Event::AttributeCollectionStart) else {
            return Ok(None);
        };
        let (body, sent) = body(visit, listener, page, request);
        let answered = self.callout(listener, &body).attribute_collection_start(&sent).await;
        match visit.record(answered)? {
            Start::Continue => Ok(None),
            Start::Prefill(values) => {
                overwrite(page, values);
                Ok(None)
            }
            Start::Block(page) => Ok(Some(page)),
        }
    }

    /// Submits the page until it is taken, refused, or nothing is left to submit. Callouts have been made: whatever becomes
    /// of it is an outcome.
    async fn collect(
        &self,
        visit: &mut Visit<'_>,
        mut page: Vec<CollectedAttribute>,
        request: &SignUpRequest,
    ) -> Result<SignedUp, Refusal> {
        let shown = values_of(&page);
        let as_shown = [Map::new()];
        let submissions = if request.submissions.is_empty() {
            &as_shown[..]
        } else {
            &request.submissions
        };
        let mut error = None;
        for values in submissions {
            overwrite(&mut page, values.clone());
            let answer = match visit.listener(Event::AttributeCollectionSubmit) {
                None => Submit::Continue,
                Some(listener) => {
                    let (body, sent) = body(visit, listener, &page, request);
                    let answered = self.callout(listener, &body).attribute_collection_submit(&sent).await;
                    visit.record(answered)?
                }
            };
            match answer {
                Submit::Block(page) => return Ok(SignedUp::Blocked { page }),
                Submit::Invalid(found) => {
                    error = Some(found);
                    continue;
                }
                Submit::Modify(values) => overwrite(&mut page, values),
                Submit::Continue => {}
            }
            let attributes = values_of(&page);
            return Ok(match self.create(attributes.clone(), request) {
                Ok(user_id) => SignedUp::Created {
                    user_id,
                    shown,
                    attributes,
                },
                Err(reason) => SignedUp::NotCreated { reason },
            });
        }
        let error = error.unwrap_or_default();
        Ok(SignedUp::Invalid { error })
    }

    /// Makes the user. A federated account has no `userPrincipalName`, as recorded from Entra.
    fn create(&self, mut attributes: Map<String, Value>, request: &SignUpRequest) -> Result<Uuid, &'static str> {
        let id = Uuid::new_v4();
        let federated = |identity: &Identity| identity.sign_in_type == "federated" && identity.issuer != "mail";
        let mut text = |name: &str| match attributes.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let profile = UserConfig {
            id,
            company_name: text("companyName"),
            created_date_time: Some(humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()),
            display_name: text("displayName"),
            given_name: text("givenName"),
            mail: text(EMAIL).or_else(|| Some(request.email.clone())),
            preferred_language: text("preferredLanguage"),
            surname: text("surname"),
            user_principal_name: (!request.identities.iter().any(federated))
                .then(|| format!("{id}@{}", self.config().domain)),
            user_type: Some("Member".to_owned()),
            ..UserConfig::default()
        };
        self.users().add(User::new(profile))?;
        Ok(id)
    }
}

/// The body, and the attributes with the names that they have in it.
fn body(
    visit: &Visit<'_>,
    listener: &ListenerConfig,
    page: &[CollectedAttribute],
    request: &SignUpRequest,
) -> (CalloutBody, Vec<CollectedAttribute>) {
    let body = visit.body(listener);
    let sent: Vec<CollectedAttribute> = page
        .iter()
        .map(|attribute| CollectedAttribute {
            name: name_on_wire(&attribute.name, listener.event, &body.oddities),
            ..attribute.clone()
        })
        .collect();
    let of_address = [Identity {
        sign_in_type: "email".to_owned(),
        issuer: visit.directory.config().domain.clone(),
        issuer_assigned_id: request.email.clone(),
    }];
    let identities = if request.identities.is_empty() {
        &of_address[..]
    } else {
        &request.identities
    };
    let body = CalloutBody {
        resource_service_principal: ServicePrincipal {
            id: token::stable_object_id(visit.directory.id(), MICROSOFT_GRAPH),
            app_id: MICROSOFT_GRAPH,
            app_display_name: "Microsoft Graph".to_owned(),
            display_name: "Microsoft Graph".to_owned(),
        },
        data: user_sign_up_info(listener.event, &sent, identities, &body.oddities),
        ..body
    };
    (body, sent)
}
