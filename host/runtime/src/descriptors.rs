//! How many files the process may have open: each component that is loaded keeps one, besides the connections.

/// Raises the limit of open files as far as the process may by itself. Shells and service managers begin with 1,024, which
/// was meant for programs that wait with `select`.
#[cfg(unix)]
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, now = limit.current, "the limit of open files cannot be raised");
    }
}

/// There is no such limit.
#[cfg(not(unix))]
pub fn raise_descriptor_limit() {}
