//! What the local Entra is made of, read from one TOML file or built in code.
//!
//! The file is strict: a member that does not exist is an error that names the file, the line and the nearest name that
//! does. Members keep Entra's words. What Entra itself only finds out at sign-in (a target URL that is not https, a
//! resource id of the wrong form, a listener that names a deleted extension) is *not* an error here, because a developer
//! wants to see what that sign-in looks like; everything else that could not exist in a directory is refused at load, and
//! all problems are reported at once.

mod check;
mod flows;
mod location;
mod objects;
mod policy;
mod secret;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use uuid::Uuid;

pub use flows::{AttributeConfig, BehaviorOnError, EncryptionConfig, HandlerConfig, UserFlowConfig};
pub use objects::{
    ApplicationConfig, DirectoryConfig, DirectoryKind, ExtensionConfig, ListenerConfig, TokenVersion, UserConfig,
};
pub use policy::{ClaimsMappingPolicy, Definition, MappingSource, SchemaEntry};
pub use secret::Secret;

/// The application id of "Azure Active Directory Authentication Extensions", the first-party application that calls
/// extensions in Entra's public cloud.
pub const AUTHENTICATION_EXTENSIONS_APP_ID: Uuid = Uuid::from_u128(0x9904_5fe1_7639_4a75_9d4a_577b_6ca3_810f);

/// The largest answer of an extension that is read, in bytes. Entra has such a limit (1003024) but does not publish its
/// value; this one is ours.
pub const DEFAULT_MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The whole configuration: `local-entra.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address to listen on. The default is a fixed port, because the address is part of every issuer and those are
    /// configured elsewhere; tests use `127.0.0.1:0`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Allows an address that other machines reach. Off by default: whoever reaches the local Entra can sign in as
    /// anybody, without a password, and mint tokens.
    #[serde(default)]
    pub allow_remote: bool,
    /// The address that issuers and discovery documents carry, when it differs from `http://{listen}` (a container, a
    /// tunnel). A path is kept, a final slash is not.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Application id in the `azp`/`appid` of callout tokens. Entra's public cloud always uses the default.
    #[serde(default = "default_caller_app_id")]
    pub caller_app_id: Uuid,
    /// Largest answer of an extension in bytes; more is error 1003024.
    #[serde(default = "default_max_response_bytes")]
    pub max_response_bytes: usize,
    /// The directories (tenants, in Entra's own words).
    pub directories: Vec<DirectoryConfig>,
    /// User flows of external directories.
    #[serde(default)]
    pub user_flows: Vec<UserFlowConfig>,
    /// How listeners' callouts look, and what happens when they fail. A listener without one sends documented requests.
    #[serde(default)]
    pub handlers: Vec<HandlerConfig>,
    /// How passwords are encrypted, for the extensions of passwordSubmit.
    #[serde(default)]
    pub encryption: Vec<EncryptionConfig>,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("{path}: can't read the configuration: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, or has members that do not exist or have the wrong type.
    #[error("{place}: {message}")]
    Syntax {
        /// `file:line`.
        place: String,
        /// What is wrong, with the nearest known name where there is one.
        message: String,
    },
    /// The configuration contradicts itself; every problem is listed.
    #[error("{}", problems.join("\n"))]
    Invalid {
        /// One line per problem: where, what, and what to do.
        problems: Vec<String>,
    },
}

// === impl Config ===

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// When the file can't be read, is not what [`Config`] describes, or contradicts itself.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads and checks configuration text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// When the text is not what [`Config`] describes, or contradicts itself.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let config: Self = toml::from_str(text).map_err(|error| location::syntax_error(&error, text, name))?;
        let problems = check::problems(&config);
        if problems.is_empty() {
            return Ok(config);
        }
        let problems = problems
            .iter()
            .map(|problem| location::describe(problem, text, name))
            .collect();
        Err(Error::Invalid { problems })
    }

    /// Checks a configuration that was built in code.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let problems: Vec<String> = check::problems(self).iter().map(ToString::to_string).collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid { problems })
        }
    }
}

impl Default for Config {
    /// A local Entra without directories.
    fn default() -> Self {
        Self {
            listen: default_listen(),
            allow_remote: false,
            public_url: None,
            caller_app_id: AUTHENTICATION_EXTENSIONS_APP_ID,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
            directories: Vec::new(),
            user_flows: Vec::new(),
            handlers: Vec::new(),
            encryption: Vec::new(),
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8401))
}

fn default_caller_app_id() -> Uuid {
    AUTHENTICATION_EXTENSIONS_APP_ID
}

fn default_max_response_bytes() -> usize {
    DEFAULT_MAX_RESPONSE_BYTES
}

#[cfg(test)]
mod tests;
