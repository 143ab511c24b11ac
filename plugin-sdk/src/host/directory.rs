//! `claimsmith:plugin/directory`.

pub(crate) use self::on_target::{authenticate, search};

#[cfg(target_family = "wasm")]
mod on_target {
    use zeroize::Zeroize as _;

    use crate::bindings::directory;
    use crate::directory::{Authentication, Entry, Error, Search};

    pub(crate) fn search(search: Search) -> Result<Vec<Entry>, Error> {
        let entries = directory::search(&search.into())?;
        Ok(entries.into_iter().map(Into::into).collect())
    }

    pub(crate) fn authenticate(authentication: Authentication) -> Result<bool, Error> {
        let mut request = directory::AuthenticateRequest::from(authentication);
        let result = directory::authenticate(&request);
        request.password.zeroize();
        Ok(result?)
    }
}

#[cfg(not(target_family = "wasm"))]
mod on_target {
    use crate::directory::{Authentication, Entry, Error, Search, test};

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn search(search: Search) -> Result<Vec<Entry>, Error> {
        test::searched(&search)
    }

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn authenticate(authentication: Authentication) -> Result<bool, Error> {
        test::authenticated(&authentication)
    }
}
