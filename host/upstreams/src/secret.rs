//! References to secrets: configuration names a secret, and never holds one.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, fs};

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::files::{read_regular, regular};
use crate::vault::{VaultRef, VaultSecrets};

/// Where a tenant keeps the secrets that its configuration names.
pub const SECRETS_DIRECTORY: &str = "secrets";

/// Larger secrets are none: keys and certificates have a few KiB.
const MAX_SECRET_BYTES: usize = 64 << 10;

/// `env:NAME`, a variable of the service's environment; `file:NAME`, a file in the tenant's `secrets` directory; or
/// `vault:PATH#FIELD`, where the operator has configured Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// A variable of the service's environment.
    Env(String),
    /// A file in the tenant's `secrets` directory.
    File(String),
    /// A field of a secret in Vault, below the tenant's prefix.
    Vault(VaultRef),
}

/// What has secrets, by names of its own.
pub trait SecretProvider {
    /// The secret of a name.
    ///
    /// # Errors
    /// What is wrong and what to do; never anything of the secret.
    fn secret(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, String>;
}

/// Whose secrets may be read: a tenant's own.
#[derive(Clone, Copy, Debug)]
pub struct SecretScope<'t> {
    /// The tenant's name.
    pub tenant: &'t str,
    /// The tenant's directory.
    pub directory: &'t Path,
    /// What was read for the tenant from Vault; none where there is no Vault.
    pub vault: Option<&'t VaultSecrets>,
}

/// The service's environment, as far as it is a tenant's.
struct Environment<'t>(&'t str);

/// A tenant's directory of secrets.
struct SecretFiles<'t>(&'t Path);

impl SecretRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// What is wrong and what to do; never anything of the secret.
    pub fn read(&self, scope: SecretScope<'_>) -> Result<Zeroizing<Vec<u8>>, String> {
        match self {
            Self::Env(name) => Environment(scope.tenant).secret(name),
            Self::File(name) => SecretFiles(scope.directory).secret(name),
            Self::Vault(reference) => match scope.vault {
                Some(vault) => vault.secret(&reference.to_string()),
                None => Err(format!(
                    "{self} is in Vault, of which the service knows nothing: claimsmith.toml needs a section [vault]"
                )),
            },
        }
    }

    /// Reads a secret of the operator's own: any variable, or any file, relative to `directory`.
    ///
    /// # Errors
    /// As [`Self::read_text`].
    pub fn read_as_operator(&self, directory: &Path) -> Result<Zeroizing<String>, String> {
        let bytes = match self {
            Self::Env(name) => variable(name)?,
            Self::File(name) => {
                let path = directory.join(name);
                let read = read_regular(&path).map(Zeroizing::new);
                read.map_err(|error| format!("{self} cannot be read: {}: {error}", path.display()))?
            }
            Self::Vault(_) => return Err(format!("{self}: the service's own secrets cannot be in Vault")),
        };
        self.text(&bytes)
    }

    /// Reads a secret that is text, without the line's end that files have.
    ///
    /// # Errors
    /// As [`Self::read`], or that it is no text.
    pub fn read_text(&self, scope: SecretScope<'_>) -> Result<Zeroizing<String>, String> {
        self.text(&self.read(scope)?)
    }

    fn text(&self, bytes: &[u8]) -> Result<Zeroizing<String>, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| format!("{self} is not UTF-8 text"))?;
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl SecretProvider for Environment<'_> {
    /// Only variables that carry the tenant's name: the environment has secrets of the operator and of other tenants.
    fn secret(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        // It would share them with the tenant that has `-` in its place.
        if self.0.contains('_') {
            return Err(format!(
                "env:{name} cannot be read: tenant `{}` has no variables, because of the `_` in its name; use `file:` or `vault:`, \
                 or rename the tenant to `{}`",
                self.0,
                self.0.replace('_', "-")
            ));
        }
        let prefix = format!("CLAIMSMITH__{}__", self.0.to_ascii_uppercase().replace('-', "_"));
        // What follows must not look like the end of a longer tenant's name: `CLAIMSMITH__A__B__KEY` is not `a`'s, but `a--b`'s.
        let is_own = name
            .strip_prefix(&prefix)
            .is_some_and(|rest| !rest.contains("__") && !rest.starts_with('_'));
        if !is_own {
            return Err(format!(
                "env:{name} is not this tenant's to read: its variables begin with {prefix}, followed by a name without `__`"
            ));
        }
        variable(name)
    }
}

fn variable(name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let value = std::env::var_os(name).ok_or_else(|| format!("env:{name} is not set in the service's environment"))?;
    Ok(Zeroizing::new(value.into_encoded_bytes()))
}

impl SecretProvider for SecretFiles<'_> {
    /// Only files in the tenant's own directory of secrets, also when links are followed.
    fn secret(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let directory = self.0.join(SECRETS_DIRECTORY);
        let unreadable = |error: io::Error| format!("file:{name} cannot be read from {}: {error}", directory.display());
        let plain = Path::new(name).file_name().is_some_and(|file| file == name) && !name.starts_with('.');
        if !plain {
            return Err(format!(
                "file:{} must be the name of a file in {}, without directories",
                name.escape_debug(),
                directory.display()
            ));
        }
        let (tenant, home) = self.places().map_err(unreadable)?;
        // The tenant may write in its directory, and so have a link in the place of this one.
        if !home.starts_with(&tenant) {
            return Err(format!(
                "file:{name} cannot be read: {} is a link that leads out of {}, the tenant's directory",
                directory.display(),
                self.0.display()
            ));
        }
        let path = directory.join(name).canonicalize().map_err(unreadable)?;
        if !path.starts_with(&home) {
            return Err(format!(
                "file:{name} is a link that leads out of {}",
                directory.display()
            ));
        }
        let file = open_below(&tenant, &path).and_then(regular).map_err(unreadable)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
        let most = MAX_SECRET_BYTES as u64 + 1;
        file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() > MAX_SECRET_BYTES {
            return Err(format!("file:{name} has more than {MAX_SECRET_BYTES} bytes"));
        }
        Ok(bytes)
    }
}

impl SecretFiles<'_> {
    /// Where the tenant's directory and its directory of secrets are, when all links are followed. A link in the place of
    /// the tenant's directory is the operator's: the tenant writes below it.
    fn places(&self) -> io::Result<(PathBuf, PathBuf)> {
        let home = self.0.join(SECRETS_DIRECTORY).canonicalize()?;
        Ok((self.0.canonicalize()?, home))
    }
}

/// The files in a tenant's directory of secrets; none where that is a link that leads out of the tenant's directory.
#[must_use]
pub fn secret_files(directory: &Path) -> Vec<PathBuf> {
    let is_own = SecretFiles(directory).places();
    if !is_own.is_ok_and(|(tenant, home)| home.starts_with(tenant)) {
        return Vec::new();
    }
    let entries = fs::read_dir(directory.join(SECRETS_DIRECTORY));
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter(|path| path.is_file()).collect()
}

/// Opens a file whose path has no links, step by step: a step that has become a link since is not followed.
#[cfg(unix)]
fn open_below(directory: &Path, path: &Path) -> io::Result<fs::File> {
    use rustix::fs::{Mode, OFlags, open, openat};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut names = path.strip_prefix(directory).map_err(io::Error::other)?.iter();
    let file = names.next_back().ok_or(io::ErrorKind::NotFound)?;
    let mut at = open(directory, flags | OFlags::DIRECTORY, Mode::empty())?;
    for name in names {
        at = openat(&at, name, flags | OFlags::DIRECTORY, Mode::empty())?;
    }
    let file = openat(&at, file, flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
    Ok(fs::File::from(file))
}

#[cfg(not(unix))]
fn open_below(_directory: &Path, path: &Path) -> io::Result<fs::File> {
    fs::File::open(path)
}

impl fmt::Display for SecretRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(formatter, "env:{name}"),
            Self::File(name) => write!(formatter, "file:{name}"),
            Self::Vault(reference) => write!(formatter, "vault:{reference}"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Whatever the text is, it may be a secret that somebody wrote here by mistake: no message repeats it.
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for SecretRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", name)) if !name.is_empty() => Ok(Self::File(name.to_owned())),
            Some(("vault", reference)) => reference.parse().map(Self::Vault),
            _ => Err(
                "expected a reference to a secret, `file:NAME`, `env:NAME` or `vault:PATH#FIELD`; the secret itself does not \
                 belong here"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::{SecretRef, SecretScope, open_below, secret_files};

    fn read(directory: &TempDir, name: &str) -> Result<String, String> {
        read_in(directory.path(), name)
    }

    fn read_in(directory: &Path, name: &str) -> Result<String, String> {
        let scope = SecretScope {
            tenant: "team-a",
            directory,
            vault: None,
        };
        SecretRef::File(name.to_owned())
            .read_text(scope)
            .map(|text| text.to_string())
    }

    #[test]
    fn only_files_of_the_tenants_own_secrets_are_read() {
        let tenants = TempDir::new().unwrap();
        let secrets = tenants.path().join("secrets");
        fs::create_dir(&secrets).unwrap();
        fs::write(secrets.join("good"), "sesame\r\n").unwrap();
        fs::write(tenants.path().join("outside"), "other").unwrap();
        std::os::unix::fs::symlink(secrets.join("good"), secrets.join("link")).unwrap();
        std::os::unix::fs::symlink(tenants.path().join("outside"), secrets.join("leads-out")).unwrap();
        assert_eq!(read(&tenants, "good").unwrap(), "sesame");
        assert_eq!(read(&tenants, "link").unwrap(), "sesame");
        for (name, why) in [
            ("leads-out", "leads out"),
            ("../outside", "without directories"),
            ("/etc/hostname", "without directories"),
            (".hidden", "without directories"),
            ("..", "without directories"),
            ("missing", "cannot be read"),
        ] {
            let error = read(&tenants, name).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
    }

    #[test]
    fn a_link_to_another_tenants_secrets_is_not_followed() {
        let tenants = TempDir::new().unwrap();
        let [own, other] = ["a", "b"].map(|name| tenants.path().join(name));
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(other.join("secrets")).unwrap();
        fs::write(other.join("secrets/key"), "other").unwrap();
        for link in [other.join("secrets"), "../b/secrets".into(), "../b".into(), "..".into()] {
            std::os::unix::fs::symlink(&link, own.join("secrets")).unwrap();
            let error = read_in(&own, "key").unwrap_err();
            assert!(
                error.contains("leads out of") || error.contains("cannot be read"),
                "{error}"
            );
            assert!(error.contains("the tenant's directory"), "{error}");
            assert!(secret_files(&own).is_empty());
            fs::remove_file(own.join("secrets")).unwrap();
        }
    }

    #[test]
    fn links_within_the_tenants_directory_are_followed() {
        // As Kubernetes mounts a secret, and a whole tenant; and an operator who keeps tenants elsewhere.
        let tenants = TempDir::new().unwrap();
        let [mounted, whole] = ["mounted", "whole"].map(|name| tenants.path().join(name));
        fs::create_dir_all(mounted.join("secrets/..2026")).unwrap();
        fs::write(mounted.join("secrets/..2026/key"), "sesame").unwrap();
        fs::create_dir_all(whole.join("..2026/secrets")).unwrap();
        fs::write(whole.join("..2026/secrets/key"), "sesame").unwrap();
        for (to, link) in [
            ("..2026", "mounted/secrets/..data"),
            ("..data/key", "mounted/secrets/key"),
            ("..2026", "whole/..data"),
            ("..data/secrets", "whole/secrets"),
            ("whole", "linked"),
        ] {
            std::os::unix::fs::symlink(to, tenants.path().join(link)).unwrap();
        }
        for tenant in [mounted, whole, tenants.path().join("linked")] {
            assert_eq!(read_in(&tenant, "key").unwrap(), "sesame", "{}", tenant.display());
            assert_eq!(secret_files(&tenant), [tenant.join("secrets/key")]);
        }
    }

    #[test]
    fn what_has_become_a_link_since_it_was_looked_at_is_not_followed() {
        let tenants = TempDir::new().unwrap();
        let tenant = tenants.path().canonicalize().unwrap().join("a");
        fs::create_dir_all(tenant.join("secrets")).unwrap();
        fs::create_dir_all(tenants.path().join("b")).unwrap();
        for path in ["a/secrets/key", "b/key"] {
            fs::write(tenants.path().join(path), "sesame").unwrap();
        }
        assert!(open_below(&tenant, &tenant.join("secrets/key")).is_ok());
        fs::remove_file(tenant.join("secrets/key")).unwrap();
        std::os::unix::fs::symlink("../../b/key", tenant.join("secrets/key")).unwrap();
        assert!(open_below(&tenant, &tenant.join("secrets/key")).is_err());
        fs::remove_dir_all(tenant.join("secrets")).unwrap();
        std::os::unix::fs::symlink("../b", tenant.join("secrets")).unwrap();
        assert!(open_below(&tenant, &tenant.join("secrets/key")).is_err());
    }

    #[test]
    fn only_variables_with_the_tenants_name_are_read() {
        let directory = TempDir::new().unwrap();
        let scope = SecretScope {
            tenant: "team-a",
            directory: directory.path(),
            vault: None,
        };
        for (name, why) in [
            ("PATH", "begin with CLAIMSMITH__TEAM_A__"),
            ("CLAIMSMITH__TEAM_B__KEY", "begin with CLAIMSMITH__TEAM_A__"),
            // Of a tenant `team-a--b`, and of a tenant `team-a-`.
            ("CLAIMSMITH__TEAM_A__B__KEY", "not this tenant's"),
            ("CLAIMSMITH__TEAM_A___KEY", "not this tenant's"),
            ("CLAIMSMITH__TEAM_A__KEY", "is not set"),
        ] {
            let error = SecretRef::Env(name.to_owned()).read(scope).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
        for tenant in ["team_a", "_", "a__b", "team-a_b"] {
            let scope = SecretScope { tenant, ..scope };
            let variable = format!("CLAIMSMITH__{}__KEY", tenant.to_ascii_uppercase().replace('-', "_"));
            let error = SecretRef::Env(variable).read(scope).unwrap_err();
            assert!(error.contains("has no variables"), "{tenant}: {error}");
        }
    }

    #[test]
    fn a_secret_in_the_place_of_its_reference_is_not_repeated() {
        let error = serde_json::from_str::<SecretRef>("\"hunter2\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("file:NAME") && !error.contains("hunter2"), "{error}");
    }
}
