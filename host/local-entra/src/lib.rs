//! The local Entra: a small OpenID provider that signs users in, calls extensions as Entra does, applies claims mapping
//! and issues tokens. Everything runs on one machine, without a cloud.
//!
//! It is an independent reading of Entra's contract: it uses no other crate of this workspace, so that it checks the
//! server instead of agreeing with it. Where Entra's documentation is silent, the module that had to decide says what it
//! assumes.
//!
//! **It is a simulator.** Users have no passwords, anybody who reaches it gets any token, and so it listens on loopback
//! only unless told otherwise. Only `submit-password` looks at a password, and there is no browser sign-in page.
//!
//! # Endpoints
//!
//! `{tid}` is a directory's id or domain; `GET /` lists all of this with the configured objects.
//!
//! | endpoint | what |
//! |---|---|
//! | `GET /{tid}/v2.0/.well-known/openid-configuration`, `GET /{tid}/discovery/v2.0/keys` | discovery; v1 without `v2.0` |
//! | `POST /{tid}/oauth2/v2.0/token` | client-credentials grant |
//! | `POST /{tid}/sign-in` | `{user, application, protocol?, client?, correlation_id?}`: signs in |
//! | `POST /{tid}/sign-up` | `{email, application, values?, corrections?, identities?}`: attributeCollectionStart and attributeCollectionSubmit, then a new user |
//! | `POST /{tid}/send-otp` | `{identifier, application, request_type?, one_time_code?}`: emailOtpSend |
//! | `POST /{tid}/submit-password` | `{user, password, application, new_password?}`: passwordSubmit, if the user needs migration |
//! | `POST /{tid}/recover-account` | `{user, application, claims, identities?, additional_info?}`: verifiedIdClaimValidation |
//! | `GET /{tid}/sign-ins` | the last 1,000 sign-ins, newest first, in `value` |
//! | `POST /{tid}/keys/roll` | `{remove_previous?}`: a new signing key |
//! | `POST /{tid}/callout-tokens` | `{extension}`: the token of its next callout |
//! | `PUT /{tid}/extensions/{id}/target-url` | `{target_url}`: where its callouts go |
//! | `GET /{tid}/extensions/{id}/encryption-key` | the certificate for passwords, and the private key if it was made at start |
//!
//! Every `POST` of what a user does also takes `protocol`, `client` and `correlation_id`. It answers 200 with `result`,
//! `callouts` and `correlation_id`, also when an extension blocks the user, and 400 with OAuth's error when a callout fails.
//!
//! # What is assumed
//!
//! Entra's documentation does not say, and the local Entra does it like this:
//!
//! * Timeouts, refused connections and broken connections are retried; complete answers never, whatever their status.
//! * An answer may have 64 KiB (`max_response_bytes`); its claims 3,072 bytes of UTF-8, keys and values together.
//! * A claim that is `null` is an error (1003003); empty strings, arrays and `claims` objects are not.
//! * An absent or null `actions` is a wrong number of actions; an absent or null `data` is a body of another schema.
//! * A value of the wrong type, a text that is missing, or a nonce that is not the request's is a body of another schema.
//! * A password that extensions can't be given, because no key is configured, is 1003000 and nothing is sent.
//! * `acceptMappedClaims` is looked at after the callout.
//! * Version 1.0 callout tokens have the resource id as audience; both directory kinds have issuers of the same form.
//!
//! # Example
//!
//! ```no_run
//! use claimsmith_local_entra::{Config, LocalEntra, SignInRequest};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let entra = LocalEntra::start(Config::load("local-entra.toml".as_ref())?).await?;
//! let directory = entra.directories().next().ok_or("no directory")?;
//! let request = SignInRequest::new(directory.id(), "ada@example.org", "Shop");
//! let outcome = entra.sign_in(&request).await?;
//! println!("{:?}", outcome.result?.claims_after);
//! entra.stop().await;
//! # Ok(())
//! # }
//! ```

mod callout;
mod config;
mod directory;
mod discovery;
mod encryption;
mod extension;
mod flows;
mod http;
mod keys;
mod mapping;
mod sign_in;
mod token;
mod users;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use callout::{
    AttributeType, BlockPage, CalloutBody, CalloutErrorCode, CalloutRecord, Client, Event, Identity, MAX_CLAIMS_BYTES,
    Oddity, PasswordPage, ServicePrincipal, ValidationError, VerifiedIdClaims,
};
pub use config::{
    AUTHENTICATION_EXTENSIONS_APP_ID, ApplicationConfig, AttributeConfig, BehaviorOnError, ClaimsMappingPolicy, Config,
    DEFAULT_MAX_RESPONSE_BYTES, Definition, DirectoryConfig, DirectoryKind, EncryptionConfig, Error as ConfigError,
    ExtensionConfig, HandlerConfig, ListenerConfig, MappingSource, SchemaEntry, Secret, TokenVersion, UserConfig,
    UserFlowConfig,
};
pub use directory::{Directory, Error as DirectoryError};
pub use encryption::{ContentAlgorithm, EncryptionKey, Error as EncryptionError, Flaw, KeyAlgorithm, PasswordContext};
pub use flows::{
    AccountRecovered, Circumstances, CodeDelivered, Error as FlowError, Outcome, PasswordSubmitted,
    RecoverAccountRequest, SendOtpRequest, SignUpRequest, SignedUp, SubmitPasswordRequest,
};
pub use keys::{Error as KeyError, SigningKey};
pub use mapping::{MappedClaim, MappingReport};
pub use sign_in::{Activity, Error as SignInError, Refusal, SignInOutcome, SignInRecord, SignInRequest, SignedIn};
pub use token::{Error as TokenError, SignWith, TokenRequest};

/// Requests in flight have this long to end when the local Entra stops: longer than two attempts of a callout.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A running local Entra. Dropping it stops it without waiting for requests in flight.
#[derive(Debug)]
pub struct LocalEntra {
    world: Arc<World>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// What the HTTP endpoints share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) directories: Vec<Directory>,
}

/// Why a local Entra does not run, or can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}; choose another `listen`")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The client for callouts can't be made.
    #[error("can't make the HTTP client for callouts: {0}")]
    Client(#[source] reqwest::Error),
    /// There is no such directory.
    #[error("there is no directory {id}; there is: {known}")]
    UnknownDirectory {
        /// The id asked for.
        id: Uuid,
        /// The ids there are.
        known: String,
    },
    /// There is no such extension in any directory.
    #[error("no directory has an extension {0}")]
    UnknownExtension(Uuid),
    /// A directory can't be set up, or can't do what it was asked.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A sign-in could not begin.
    #[error(transparent)]
    SignIn(#[from] SignInError),
    /// A sign-up, one-time code, password or recovery could not begin.
    #[error(transparent)]
    Flow(#[from] FlowError),
}

// === impl LocalEntra ===

impl LocalEntra {
    /// Checks the configuration, makes the keys, binds the address and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When the configuration contradicts itself, a secret can't be read, or the address is taken.
    pub async fn start(config: Config) -> Result<Self, Error> {
        config.check()?;
        let listener = TcpListener::bind(config.listen).await.map_err(|source| Error::Listen {
            address: config.listen,
            source,
        })?;
        let address = listener.local_addr().map_err(|source| Error::Listen {
            address: config.listen,
            source,
        })?;
        let url = match &config.public_url {
            Some(public_url) => public_url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", reachable(address)),
        };
        let client = callout_client()?;
        let mut directories = Vec::with_capacity(config.directories.len());
        for directory in &config.directories {
            let key = directory::generate_key().await?;
            directories.push(Directory::new(directory.clone(), &config, &url, client.clone(), key)?);
        }
        let world = Arc::new(World { url, directories });
        let (stop, stopped) = watch::channel(false);
        let router = http::router(Arc::clone(&world));
        let server = tokio::spawn(async move {
            let served = axum::serve(listener, router)
                .with_graceful_shutdown(until(stopped))
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the local Entra stopped serving");
            }
        });
        tracing::info!(url = world.url, %address, "the local Entra is ready");
        Ok(Self {
            world,
            address,
            stop,
            server,
        })
    }

    /// The address that issuers and discovery documents carry, without a final slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.world.url
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directories, in the order of the configuration.
    pub fn directories(&self) -> impl Iterator<Item = &Directory> {
        self.world.directories.iter()
    }

    /// One directory.
    ///
    /// # Errors
    /// When there is none with this id.
    pub fn directory(&self, id: Uuid) -> Result<&Directory, Error> {
        self.directories()
            .find(|directory| directory.id() == id)
            .ok_or_else(|| Error::UnknownDirectory {
                id,
                known: directory::list(self.directories().map(Directory::id)),
            })
    }

    /// Signs a user in, as `POST /{directory}/sign-in` does. A callout that fails is an outcome, not an error.
    ///
    /// # Errors
    /// When directory, user or application do not exist, or the token can't be signed.
    pub async fn sign_in(&self, request: &SignInRequest) -> Result<SignInOutcome, Error> {
        Ok(self.directory(request.directory)?.sign_in(request).await?)
    }

    /// Changes where the callouts of an extension go; takes effect with the next callout.
    ///
    /// # Errors
    /// When no directory has the extension.
    pub fn set_target_url(&self, extension: Uuid, target_url: &str) -> Result<(), Error> {
        let directory = self
            .directories()
            .find(|directory| directory.find_extension(extension).is_some())
            .ok_or(Error::UnknownExtension(extension))?;
        Ok(directory.set_target_url(extension, target_url)?)
    }

    /// Stops: no new request is taken, those in flight end, but not later than after five seconds.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_PATIENCE, &mut self.server).await.is_err() {
            self.server.abort();
            tracing::warn!("requests were still running when the local Entra stopped");
        }
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the local Entra: a reason to stop too.
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        tracing::debug!("the local Entra was dropped");
    }
}

/// An address that can be connected to, for one that listens on all interfaces.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        address => address,
    }
}

/// The client for callouts: redirects are not followed (Entra does not), connections are kept, and proxy settings of the
/// environment are ignored, because extensions are local.
fn callout_client() -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(Error::Client)
}
