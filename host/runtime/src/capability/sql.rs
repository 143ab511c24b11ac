//! `claimsmith:plugin/sql`.

use std::fmt;
use std::sync::Arc;

use crate::bindings::sql::{self, Error, Request, Rows, Statement, Value};
use crate::capability::{Asked, CallContext, CapabilityFuture, CapabilityResult, timeout};
use crate::journal::Digester;
use crate::state::CallState;

/// A database: knows its address, its credentials and what may be asked of it.
pub trait SqlUpstream: fmt::Debug + Send + Sync {
    /// Executes a statement and reads all its rows.
    fn query(&self, request: Request, context: CallContext) -> CapabilityFuture<'_, Rows, Error>;

    /// Executes a statement for its effect; gives the number of rows it concerned.
    fn execute(&self, request: Request, context: CallContext) -> CapabilityFuture<'_, u64, Error>;
}

impl sql::Host for CallState {
    async fn query(&mut self, request: Request) -> wasmtime::Result<Result<Rows, Error>> {
        let grants = Arc::clone(&self.grants);
        let name = request.upstream.clone();
        self.through(asked("sql.query", &name, &request), |context| async move {
            let upstream = grants.sql(&request.upstream).map_err(Error::NotGranted)?;
            upstream.query(request, context).await
        })
        .await
    }

    async fn execute(&mut self, request: Request) -> wasmtime::Result<Result<u64, Error>> {
        let grants = Arc::clone(&self.grants);
        let name = request.upstream.clone();
        self.through(asked("sql.execute", &name, &request), |context| async move {
            let upstream = grants.sql(&request.upstream).map_err(Error::NotGranted)?;
            upstream.execute(request, context).await
        })
        .await
    }
}

fn asked<'c>(function: &'static str, upstream: &'c str, request: &Request) -> Asked<'c> {
    let mut arguments = Digester::default();
    arguments.add(upstream.as_bytes());
    match &request.statement {
        Statement::Named(name) => {
            arguments.add(b"named");
            arguments.add(name.as_bytes());
        }
        Statement::Text(text) => {
            arguments.add(b"text");
            arguments.add(text.as_bytes());
        }
    }
    arguments.count(request.parameters.len());
    for parameter in &request.parameters {
        add_value(&mut arguments, parameter);
    }
    Asked {
        function,
        upstream,
        arguments,
        timeout: timeout(request.timeout_milliseconds),
    }
}

/// A value with its type before it: the text `1` is not the number 1.
fn add_value(arguments: &mut Digester, value: &Value) {
    match value {
        Value::Null => arguments.add(b"null"),
        Value::Boolean(value) => {
            arguments.add(b"boolean");
            arguments.add(&[u8::from(*value)]);
        }
        Value::Integer(value) => {
            arguments.add(b"integer");
            arguments.add(&value.to_le_bytes());
        }
        Value::Real(value) => {
            arguments.add(b"real");
            arguments.add(&value.to_bits().to_le_bytes());
        }
        Value::Text(value) => {
            arguments.add(b"text");
            arguments.add(value.as_bytes());
        }
        Value::Bytes(value) => {
            arguments.add(b"bytes");
            arguments.add(value);
        }
    }
}

capability_error!(Error {
    NotGranted(_) => "not_granted",
    NotAllowed(_) => "not_allowed",
    Invalid(_) => "invalid",
    TooLarge(_) => "too_large",
    Failed(_) => "failed",
    Unavailable(_) => "unavailable",
    QuotaExceeded => "quota_exceeded",
    DeadlineExceeded => "deadline_exceeded",
});

impl CapabilityResult for Rows {
    fn bytes(&self) -> usize {
        let columns: usize = self.columns.iter().map(String::len).sum();
        columns + self.rows.iter().flatten().map(size).sum::<usize>()
    }
}

impl CapabilityResult for u64 {
    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// What a value takes in the guest, at least.
fn size(value: &Value) -> usize {
    let owned = match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Real(_) => 0,
    };
    owned + size_of::<u64>()
}
