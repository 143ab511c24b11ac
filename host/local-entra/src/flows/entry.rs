//! The same by the directory that the request names.

use super::{
    AccountRecovered, CodeDelivered, Outcome, PasswordSubmitted, RecoverAccountRequest, SendOtpRequest, SignUpRequest,
    SignedUp, SubmitPasswordRequest,
};
use crate::{Error, LocalEntra};

impl LocalEntra {
    /// Signs a new user up, as `POST /{directory}/sign-up` does.
    ///
    /// # Errors
    /// When the directory or application does not exist or has no user flow, a value does not fit, or the address is taken.
    pub async fn sign_up(&self, request: &SignUpRequest) -> Result<Outcome<SignedUp>, Error> {
        Ok(self.directory(request.directory)?.sign_up(request).await?)
    }

    /// Sends a one-time code, as `POST /{directory}/send-otp` does.
    ///
    /// # Errors
    /// When directory or application do not exist.
    pub async fn send_otp(&self, request: &SendOtpRequest) -> Result<Outcome<CodeDelivered>, Error> {
        Ok(self.directory(request.directory)?.send_otp(request).await?)
    }

    /// Submits a password, as `POST /{directory}/submit-password` does.
    ///
    /// # Errors
    /// When directory, user or application do not exist, or the password can't be encrypted.
    pub async fn submit_password(&self, request: &SubmitPasswordRequest) -> Result<Outcome<PasswordSubmitted>, Error> {
        Ok(self.directory(request.directory)?.submit_password(request).await?)
    }

    /// Recovers an account, as `POST /{directory}/recover-account` does.
    ///
    /// # Errors
    /// When directory, user or application do not exist.
    pub async fn recover_account(&self, request: &RecoverAccountRequest) -> Result<Outcome<AccountRecovered>, Error> {
        Ok(self.directory(request.directory)?.recover_account(request).await?)
    }
}
