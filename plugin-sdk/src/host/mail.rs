//! `claimsmith:plugin/mail`.

pub(crate) use self::on_target::send_mail;

#[cfg(target_family = "wasm")]
mod on_target {
    use crate::bindings::mail;
    use crate::mail::{Error, Lowered, Message};

    pub(crate) fn send_mail(message: Message) -> Result<(), Error> {
        Ok(mail::send(&Lowered::from(message).0)?)
    }
}

#[cfg(not(target_family = "wasm"))]
mod on_target {
    use crate::mail::{Error, Message, test};

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn send_mail(message: Message) -> Result<(), Error> {
        test::send(&message)
    }
}
