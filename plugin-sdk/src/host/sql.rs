//! `claimsmith:plugin/sql`.

pub(crate) use self::on_target::{execute, query};

#[cfg(target_family = "wasm")]
mod on_target {
    use crate::bindings::sql;
    use crate::sql::{Error, Request, Rows};

    pub(crate) fn query(request: Request) -> Result<Rows, Error> {
        Ok(sql::query(&request.into())?.into())
    }

    pub(crate) fn execute(request: Request) -> Result<u64, Error> {
        Ok(sql::execute(&request.into())?)
    }
}

#[cfg(not(target_family = "wasm"))]
mod on_target {
    use crate::sql::{Error, Request, Rows, test};

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn query(request: Request) -> Result<Rows, Error> {
        test::query(&request)
    }

    /// What a test has prepared.
    #[expect(clippy::needless_pass_by_value, reason = "the host takes it")]
    pub(crate) fn execute(request: Request) -> Result<u64, Error> {
        test::execute(&request)
    }
}
