//! `cargo xtask schemas`: the JSON Schemas and the OpenAPI documents in `docs`, as the host has them.

use std::process::Command;

use anyhow::Result;

use crate::cargo::{build_host, root, run};

/// Writes `docs/schemas`, `docs/openapi.json` and `docs/admin-openapi.json`. A test fails while they are not what the host has.
///
/// # Errors
/// When the host does not build or nothing can be written.
pub(crate) fn write() -> Result<()> {
    let host = build_host()?;
    let mut command = Command::new(host);
    command.args(["schema", "--write"]).arg(root().join("docs"));
    run(&mut command)
}
