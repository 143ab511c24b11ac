//! Where a tenant's plugins come from: its directory, or what was activated through the admin API; and who has signed them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::files::{TenantFiles, read_regular};
use crate::rules::check_name;
use crate::signature::{SignatureError, Signed, TrustedKeys};
use crate::source::{Source, Step};
use crate::tenant::TenantConfig;
use crate::versions::{ActiveVersion, signature_file};

/// Of one tenant.
const MAX_TRUSTED_KEYS: usize = 16;

/// `[plugins]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PluginsConfig {
    /// Where they come from. Default `files`.
    pub(crate) managed: Managed,
    /// Public keys of minisign. When there are any, every plugin must be signed with one of them.
    pub(crate) trusted_keys: Vec<String>,
}

/// Who decides which versions of a tenant's plugins serve.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Managed {
    /// The files `plugins/*.wasm` of the tenant's directory. The admin API only shows them.
    #[default]
    Files,
    /// What is pushed and activated through the admin API. Files in `plugins` are not looked at.
    Api,
}

impl PluginsConfig {
    /// The keys, with what is wrong with them added to the errors.
    pub(crate) fn keys(&self, source: &Source, errors: &mut Vec<ConfigError>) -> TrustedKeys {
        let place = [Step::Key("plugins"), Step::Key("trusted_keys")];
        if self.trusted_keys.len() > MAX_TRUSTED_KEYS {
            let found = self.trusted_keys.len();
            let message = format!("`trusted_keys` has {found} entries: expected at most {MAX_TRUSTED_KEYS}");
            errors.push(source.error_at_path(&place, message));
            return TrustedKeys::default();
        }
        TrustedKeys::parse(&self.trusted_keys).unwrap_or_else(|(index, message)| {
            let place = [place[0], place[1], Step::Index(index)];
            errors.push(source.error_at_path(&place, message));
            TrustedKeys::default()
        })
    }
}

/// The file of a plugin that a tenant is made of.
#[derive(Clone, Debug)]
pub struct PluginFile {
    pub(crate) path: PathBuf,
    /// The version that it was pushed as; none where plugins are files.
    pub(crate) version: Option<Arc<str>>,
    /// Bytes of the component.
    pub bytes: u64,
    /// Who signed it, when the tenant asks for signatures.
    pub signed: Option<Signed>,
}

/// The files of all plugins that a tenant's bindings name, or why there is none.
#[derive(Debug, Default)]
pub(crate) struct PluginFiles(BTreeMap<String, Result<PluginFile, String>>);

impl PluginFiles {
    /// Finds the file of each plugin and checks its signature, once for all its bindings. Blocks.
    pub(crate) fn find(config: &TenantConfig, keys: &TrustedKeys, files: &TenantFiles) -> Self {
        let bindings = config.extensions.values().flat_map(|extension| &extension.bindings);
        let names: BTreeSet<_> = bindings.map(|binding| &binding.plugin).collect();
        let names = names.into_iter().filter(|name| check_name("plugin", name).is_ok());
        let file = |name: &String| (name.clone(), find_one(name, config.plugins.managed, keys, files));
        Self(names.map(file).collect())
    }

    /// The file of a plugin.
    ///
    /// # Errors
    /// Why it has none that may be loaded.
    pub(crate) fn get(&self, plugin: &str) -> Result<&PluginFile, String> {
        match self.0.get(plugin) {
            Some(found) => found.as_ref().map_err(Clone::clone),
            None => Err(format!("plugin `{plugin}` was not looked for")),
        }
    }

    /// Those that there are.
    pub(crate) fn found(self) -> BTreeMap<String, PluginFile> {
        let found = |(name, file): (String, Result<_, _>)| Some((name, file.ok()?));
        self.0.into_iter().filter_map(found).collect()
    }
}

/// How many plugins are named in place of one that is not there.
const NAMED: usize = 5;

/// What to say of a plugin's file that cannot be read, of those that are beside it; nothing when it is there. Blocks.
pub(crate) fn beside(file: &Path) -> String {
    let (Some(directory), Some(wanted)) = (file.parent(), file.file_stem().and_then(OsStr::to_str)) else {
        return String::new();
    };
    if file.exists() {
        return String::new();
    }
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let plugin = name.strip_suffix(".wasm")?;
        check_name("plugin", plugin).is_ok().then(|| plugin.to_owned())
    });
    let names: BTreeSet<_> = names.collect();
    // Cargo names a library's file after the crate in code.
    let of_cargo = wanted.replace('-', "_");
    if names.contains(&of_cargo) {
        return format!("; there is {of_cargo}.wasm: rename it to {wanted}.wasm");
    }
    let first: Vec<_> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "; there is no plugin in that directory".to_owned(),
        1 => format!("; there is {}", first.join(", ")),
        found if found > NAMED => format!("; there are {} and {} more", first.join(", "), found - NAMED),
        _ => format!("; there are {}", first.join(", ")),
    }
}

fn find_one(name: &str, managed: Managed, keys: &TrustedKeys, files: &TenantFiles) -> Result<PluginFile, String> {
    let (path, version) = match managed {
        Managed::Files => (files.plugin(name), None),
        Managed::Api => active(name, files).map(|(path, version)| (path, Some(version)))?,
    };
    let bytes = files.found(&path).map_or(0, |(_, bytes)| bytes);
    // A file that is not there is told of by whoever loads it.
    let signed = if keys.are_required() && files.found(&path).is_some() {
        let signed = verify(&path, keys, files);
        Some(signed.map_err(|error| format!("plugin `{name}` ({}): {error}", path.display()))?)
    } else {
        None
    };
    Ok(PluginFile {
        path,
        version,
        bytes,
        signed,
    })
}

/// The file of the active version.
fn active(name: &str, files: &TenantFiles) -> Result<(PathBuf, Arc<str>), String> {
    let Some(versions) = &files.versions else {
        return Err(
            "the tenant's plugins are managed through the admin API (plugins.managed), which this host does not have; \
             the operator adds [admin] to claimsmith.toml"
                .to_owned(),
        );
    };
    let Some((ActiveVersion { digest, version }, path)) = versions.get(name) else {
        return Err(format!(
            "no version of plugin `{name}` is active; `claimsmith push` and `claimsmith activate` one"
        ));
    };
    match files.found(path) {
        Some((found, _)) if found == *digest => Ok((path.clone(), Arc::clone(version))),
        Some(_) => Err(format!(
            "the active version of plugin `{name}` is not what was pushed: {} was changed; push that version again, or \
             activate another",
            path.display()
        )),
        None => Err(format!(
            "the active version of plugin `{name}` cannot be read: {}; push that version again, restore the file, or \
             activate another version",
            path.display()
        )),
    }
}

fn verify(path: &Path, keys: &TrustedKeys, files: &TenantFiles) -> Result<Signed, String> {
    let signature = signature_file(path);
    if files.found(&signature).is_none() {
        return Err(SignatureError::Missing.to_string());
    }
    let read = |file: &Path| {
        files
            .as_found(file, read_regular(file))
            .map_err(|error| error.to_string())
    };
    let signature = String::from_utf8(read(&signature)?).map_err(|_| SignatureError::Malformed.to_string())?;
    keys.verify(&read(path)?, &signature).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::beside;

    #[test]
    fn a_plugin_that_is_not_there_is_told_with_those_that_are() -> std::io::Result<()> {
        let directory = tempfile::TempDir::new()?;
        let file = directory.path().join("my-plugin.wasm");
        assert_eq!(beside(&file), "; there is no plugin in that directory");
        for name in ["other.wasm", "other.wasm.minisig", ".new", "Not A Name.wasm"] {
            std::fs::write(directory.path().join(name), "")?;
        }
        assert_eq!(beside(&file), "; there is `other`");
        for name in ["a", "b", "c", "d", "e", "f"] {
            std::fs::write(directory.path().join(name).with_extension("wasm"), "")?;
        }
        assert_eq!(beside(&file), "; there are `a`, `b`, `c`, `d`, `e` and 2 more");
        std::fs::write(directory.path().join("my_plugin.wasm"), "")?;
        assert_eq!(beside(&file), "; there is my_plugin.wasm: rename it to my-plugin.wasm");
        std::fs::write(&file, "")?;
        assert_eq!(beside(&file), "");
        Ok(())
    }
}
