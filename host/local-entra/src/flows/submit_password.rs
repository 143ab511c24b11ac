//! Submitting a password, and taking it over from where it was before.

use serde::Serialize;
use serde_json::{Map, json};
use uuid::Uuid;

use super::{Circumstances, Error, Outcome, Visit};
use crate::callout::{CalloutBody, Event, PasswordAction, PasswordPage};
use crate::config::ListenerConfig;
use crate::directory::{self, Directory};
use crate::encryption::{EncryptionKey, PasswordContext};
use crate::sign_in::{Activity, Refusal};
use crate::users::User;

/// The AADSTS error of a wrong password.
const WRONG_PASSWORD: u32 = 50_126;
/// The AADSTS error of a password that has to be changed.
const PASSWORD_CHANGE_NEEDED: u32 = 50_055;
/// The AADSTS error of a user who may not sign in.
const BLOCKED: u32 = 50_057;

/// Who submits which password.
#[derive(Clone)]
pub struct SubmitPasswordRequest {
    /// Directory id.
    pub directory: Uuid,
    /// The user's object id, mail or user principal name, as typed: it is the `username` of the encrypted password.
    pub user: String,
    /// The password.
    pub password: String,
    /// The password that the user chooses when asked for another one.
    pub new_password: Option<String>,
    /// Where and how.
    pub circumstances: Circumstances,
}

/// What became of the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum PasswordSubmitted {
    /// It is the stored one. A user who was to be migrated is migrated now.
    Accepted,
    /// It is not the stored one, and the extension was not asked: the user is not to be migrated, or no listener applies.
    Wrong,
    /// The extension says it is right: it is stored now.
    Migrated,
    /// The extension says it is right, but another one is needed. The user is migrated if `new_password` was given.
    UpdateNeeded {
        /// What the user is told.
        #[serde(flatten)]
        page: PasswordPage,
        /// Whether the user chose another one.
        updated: bool,
    },
    /// The extension says it is wrong.
    Retry(PasswordPage),
    /// The extension says that the user may not sign in.
    Blocked(PasswordPage),
}

impl SubmitPasswordRequest {
    /// A password.
    pub fn new(
        directory: Uuid,
        user: impl Into<String>,
        password: impl Into<String>,
        application: impl Into<String>,
    ) -> Self {
        Self {
            directory,
            user: user.into(),
            password: password.into(),
            new_password: None,
            circumstances: Circumstances::new(application),
        }
    }
}

impl std::fmt::Debug for SubmitPasswordRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SubmitPasswordRequest")
            .field("directory", &self.directory)
            .field("user", &self.user)
            .field("circumstances", &self.circumstances)
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// The key that passwords are encrypted for.
    ///
    /// # Errors
    /// When there is no such extension, or no `encryption` is configured for it.
    pub fn encryption_key(&self, extension: Uuid) -> Result<&EncryptionKey, directory::Error> {
        let encryption = self.extension(extension)?.encryption.as_ref();
        encryption
            .map(|encryption| &encryption.key)
            .ok_or_else(|| no_encryption(extension))
    }

    /// A password as Entra encrypts it for an extension, before it is encrypted: change what you like and
    /// [`encrypt`](PasswordContext::encrypt) it.
    ///
    /// # Errors
    /// When there is no such extension, or no `encryption` is configured for it.
    pub fn password_context(
        &self,
        extension: Uuid,
        username: &str,
        password: &str,
    ) -> Result<PasswordContext, directory::Error> {
        let found = self.extension(extension)?;
        let encryption = found.encryption.as_ref().ok_or_else(|| no_encryption(extension))?;
        Ok(encryption.context(&found.config, username, password))
    }

    /// The body of a passwordSubmit callout with an encrypted password.
    ///
    /// # Errors
    /// When user or application do not exist, no listener applies, or the password can't be encrypted.
    pub fn password_submit_body(
        &self,
        request: &SubmitPasswordRequest,
        context: &PasswordContext,
    ) -> Result<CalloutBody, Error> {
        let visit = Visit::begin(self, &request.circumstances)?;
        let listener = visit.needed_listener(Event::PasswordSubmit)?;
        body(&visit, listener, &*self.user(&request.user)?, context)
    }

    /// Submits a password. The outcome does not hold it.
    ///
    /// # Errors
    /// When user or application do not exist, or the password can't be encrypted.
    pub async fn submit_password(&self, request: &SubmitPasswordRequest) -> Result<Outcome<PasswordSubmitted>, Error> {
        let mut visit = Visit::begin(self, &request.circumstances)?;
        let user = self.user(&request.user)?;
        let result = if user.has_password(&request.password) {
            user.set_migrated();
            Ok(PasswordSubmitted::Accepted)
        } else if let Some(listener) = visit.listener(Event::PasswordSubmit).filter(|_| user.needs_migration()) {
            let asked = self.ask(&mut visit, listener, &user, request).await?;
            asked.map(|action| take_over(action, &user, request))
        } else {
            Ok(PasswordSubmitted::Wrong)
        };
        Ok(visit.end(Activity::SubmitPassword, user.profile.id, result, error_code))
    }

    async fn ask(
        &self,
        visit: &mut Visit<'_>,
        listener: &ListenerConfig,
        user: &User,
        request: &SubmitPasswordRequest,
    ) -> Result<Result<PasswordAction, Refusal>, Error> {
        if self
            .find_extension(listener.extension)
            .is_some_and(|extension| extension.encryption.is_none())
        {
            let record = self.callout(listener, &visit.body(listener)).impossible(NO_ENCRYPTION);
            return Ok(visit.record((record, None)));
        }
        // An extension that does not exist gets no password: the callout will find that out.
        let context = self
            .password_context(listener.extension, &request.user, &request.password)
            .ok();
        let body = match &context {
            Some(context) => body(visit, listener, user, context)?,
            None => visit.body(listener),
        };
        let nonce = context.as_ref().and_then(PasswordContext::nonce).unwrap_or_default();
        let answered = self.callout(listener, &body).password_submit(nonce).await;
        Ok(visit.record(answered))
    }
}

const NO_ENCRYPTION: &str = "no `encryption` is configured for the extension, so a password can't be encrypted for it";

fn no_encryption(extension: Uuid) -> directory::Error {
    directory::Error::Encryption {
        extension,
        reason: NO_ENCRYPTION.to_owned(),
    }
}

fn body(
    visit: &Visit<'_>,
    listener: &ListenerConfig,
    user: &User,
    context: &PasswordContext,
) -> Result<CalloutBody, Error> {
    Ok(CalloutBody {
        user: Some(user.profile.clone()),
        data: Map::from_iter([("encryptedPasswordContext".to_owned(), json!(context.encrypt()?))]),
        ..visit.body(listener)
    })
}

fn take_over(action: PasswordAction, user: &User, request: &SubmitPasswordRequest) -> PasswordSubmitted {
    match action {
        PasswordAction::Migrate => {
            user.migrate(&request.password);
            PasswordSubmitted::Migrated
        }
        PasswordAction::Update(page) => {
            if let Some(new_password) = &request.new_password {
                user.migrate(new_password);
            }
            let updated = request.new_password.is_some();
            PasswordSubmitted::UpdateNeeded { page, updated }
        }
        PasswordAction::Retry(page) => PasswordSubmitted::Retry(page),
        PasswordAction::Block(page) => PasswordSubmitted::Blocked(page),
    }
}

fn error_code(submitted: &PasswordSubmitted) -> u32 {
    match submitted {
        PasswordSubmitted::Accepted
        | PasswordSubmitted::Migrated
        | PasswordSubmitted::UpdateNeeded { updated: true, .. } => 0,
        PasswordSubmitted::UpdateNeeded { updated: false, .. } => PASSWORD_CHANGE_NEEDED,
        PasswordSubmitted::Wrong | PasswordSubmitted::Retry(_) => WRONG_PASSWORD,
        PasswordSubmitted::Blocked(_) => BLOCKED,
    }
}
