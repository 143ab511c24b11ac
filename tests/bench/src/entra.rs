//! Entra as subjects see it: a document with keys on loopback, and tokens that those keys sign.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use claimsmith_local_entra::{
    AUTHENTICATION_EXTENSIONS_APP_ID, Config, Directory, DirectoryConfig, DirectoryKind, ExtensionConfig, LocalEntra,
    SigningKey, TokenRequest, TokenVersion,
};
use uuid::{Uuid, uuid};

/// The directory of the scenario's request.
pub const DIRECTORY: Uuid = uuid!("b0000001-0000-4000-8000-000000000001");
/// The extension of the scenario's request.
const EXTENSION: Uuid = uuid!("b0000001-0000-4000-8000-0000000000e1");
/// The resource application that tokens are for.
pub const AUDIENCE: Uuid = uuid!("b0000001-0000-4000-8000-0000000000c1");
/// The application that calls.
pub const CALLER: Uuid = AUTHENTICATION_EXTENSIONS_APP_ID;

/// A running Entra.
#[derive(Debug)]
pub struct Entra {
    entra: LocalEntra,
}

impl Entra {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> Result<Self> {
        let extension = ExtensionConfig {
            id: EXTENSION,
            target_url: "http://127.0.0.1:9/the-harness-calls".to_owned(),
            resource_app_id: AUDIENCE,
            resource_id: format!("api://127.0.0.1/{AUDIENCE}"),
            token_version: TokenVersion::V2,
            timeout: 2000,
            maximum_retries: 1,
            refused_with: None,
        };
        let directory = DirectoryConfig {
            id: DIRECTORY,
            kind: DirectoryKind::Workforce,
            domain: "contoso.example".to_owned(),
            applications: Vec::new(),
            users: Vec::new(),
            extensions: vec![extension],
            listeners: Vec::new(),
            claims_mapping_policies: Vec::new(),
        };
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            directories: vec![directory],
            ..Config::default()
        };
        let entra = LocalEntra::start(config).await?;
        Ok(Self { entra })
    }

    /// The URL of the document that leads to the keys.
    ///
    /// # Errors
    /// Never, as the directory is there.
    pub fn metadata_url(&self) -> Result<String> {
        Ok(self.directory()?.metadata_url(TokenVersion::V2))
    }

    /// A good token.
    ///
    /// # Errors
    /// When signing fails.
    pub fn token(&self) -> Result<String> {
        self.minted(|token| token)
    }

    /// A token that is changed before it is signed.
    ///
    /// # Errors
    /// When signing fails.
    pub fn minted(&self, change: impl FnOnce(TokenRequest) -> TokenRequest) -> Result<String> {
        let directory = self.directory()?;
        Ok(directory.mint(&change(directory.callout_token(EXTENSION)?))?)
    }

    /// A key of the same kind that no document has.
    ///
    /// # Errors
    /// When making it fails.
    pub fn foreign_key() -> Result<SigningKey> {
        Ok(SigningKey::generate()?)
    }

    /// Writes so many different good tokens to a file, one a line; signs them on every core.
    ///
    /// # Errors
    /// When signing or writing fails.
    pub fn write_pool(&self, tokens: usize, file: &Path) -> Result<()> {
        let threads = std::thread::available_parallelism()?.get();
        let part = || {
            let mut lines = String::new();
            for _ in 0..tokens.div_ceil(threads) {
                // Each has an identifier of its own (`uti`).
                writeln!(lines, "{}", self.token()?)?;
            }
            anyhow::Ok(lines)
        };
        let pool = std::thread::scope(|scope| {
            let parts: Vec<_> = (0..threads).map(|_| scope.spawn(part)).collect();
            let parts = parts
                .into_iter()
                .map(|part| part.join().ok().context("a thread ended")?);
            parts.collect::<Result<String>>()
        })?;
        std::fs::write(file, pool).with_context(|| format!("{} cannot be written", file.display()))
    }

    fn directory(&self) -> Result<&Directory> {
        Ok(self.entra.directory(DIRECTORY)?)
    }
}
