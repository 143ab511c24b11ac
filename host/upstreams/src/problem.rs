//! What is wrong with an upstream's configuration.

/// A mistake, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The member, as a dotted path below the upstream; empty for the upstream as a whole.
    pub path: String,
    /// What is wrong and what to do. Never anything of a secret.
    pub message: String,
}

impl Problem {
    /// A mistake at a member.
    pub(crate) fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// Everything that is wrong.
pub type Problems = Vec<Problem>;
