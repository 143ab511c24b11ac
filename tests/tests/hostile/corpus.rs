//! Reading `tests/hostile/corpus.toml`, and making the files of its plugins.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use claimsmith_tests::misbehaving;
use serde::Deserialize;

use crate::component::Skeleton;

/// What the operator allows a component.
const MAX_COMPONENT_BYTES: usize = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corpus {
    usual: BTreeMap<String, String>,
    plugin: Vec<Hostile>,
}

/// A hostile plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hostile {
    pub(crate) name: String,
    /// For readers.
    #[serde(rename = "does")]
    _does: String,
    settings: Option<toml::Table>,
    parts: Option<BTreeMap<String, String>>,
    world: Option<String>,
    component: Option<String>,
    file: Option<String>,
    /// More members of its extension.
    #[serde(default = "usual_deadline")]
    pub(crate) extension: String,
    /// Of its binding.
    #[serde(default)]
    limits: String,
    /// The outcome of its callout.
    pub(crate) outcome: Option<String>,
    /// The limit that is counted.
    pub(crate) limit: Option<String>,
    /// What is in the log line of its callout.
    pub(crate) reason: Option<String>,
    pub(crate) stderr: Option<String>,
    pub(crate) stdout: Option<String>,
    pub(crate) backtrace: Option<String>,
    /// What its tenant's error says.
    #[serde(default)]
    pub(crate) refusal: Vec<String>,
}

/// Long enough for a busy machine to reach the other limits first.
fn usual_deadline() -> String {
    "deadline = \"2s\"".to_owned()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile")
}

/// The corpus, and each plugin's file.
pub(crate) fn load() -> Vec<(Hostile, Vec<u8>)> {
    let corpus = fs::read_to_string(directory().join("corpus.toml")).unwrap();
    let corpus: Corpus = toml::from_str(&corpus).unwrap();
    let skeleton = Skeleton::read(&directory(), corpus.usual);
    let plugins = corpus.plugin.into_iter();
    plugins
        .map(|plugin| {
            let bytes = plugin.bytes(&skeleton);
            (plugin, bytes)
        })
        .collect()
}

impl Hostile {
    /// Whether it is refused when it is loaded.
    pub(crate) fn is_refused(&self) -> bool {
        !self.refusal.is_empty()
    }

    /// What its binding has besides the plugin (TOML). `marker` is told to the Rust plugin.
    pub(crate) fn binding(&self, marker: &str) -> String {
        let mut settings = self.settings.clone().unwrap_or_default();
        if self.settings.is_some() {
            settings.insert("marker".to_owned(), marker.into());
        }
        format!(
            "settings = {}\nlimits = {{ {} }}",
            toml::Value::Table(settings),
            self.limits
        )
    }

    fn bytes(&self, skeleton: &Skeleton) -> Vec<u8> {
        match (&self.settings, &self.parts, &self.component, &self.file) {
            (Some(_), None, None, None) => fs::read(misbehaving("default")).unwrap(),
            (None, Some(parts), None, None) => {
                let world = self.world.as_deref().unwrap_or("plugin");
                skeleton.component(&self.name, parts, world)
            }
            (None, None, Some(text), None) => {
                wat::parse_str(text).unwrap_or_else(|error| panic!("{}: {error}", self.name))
            }
            (None, None, None, Some(name)) => file(name, skeleton),
            _ => panic!("{}: one of settings, parts, component and file is expected", self.name),
        }
    }
}

/// Bytes that are no text.
fn file(name: &str, skeleton: &Skeleton) -> Vec<u8> {
    let good = || skeleton.component(name, &BTreeMap::new(), "plugin");
    match name {
        "reads-files" => fs::read(misbehaving("reads-files")).unwrap(),
        "core-module" => wat::parse_str("(module (memory 1))").unwrap(),
        "truncated" => {
            let good = good();
            good[..good.len() * 2 / 3].to_vec()
        }
        "garbage" => {
            let mut bytes = good();
            // Any sequence that repeats seldom: a linear congruential generator.
            let mut state = 1_u32;
            for byte in &mut bytes[8..] {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = state.to_be_bytes()[0];
            }
            bytes
        }
        "text" => b"this is not the plugin you are looking for\n".to_vec(),
        "empty" => Vec::new(),
        "native" => fs::read(std::env::current_exe().unwrap()).unwrap()[..4096].to_vec(),
        "oversize" => {
            let mut bytes = good();
            bytes.resize(MAX_COMPONENT_BYTES + 1, 0);
            bytes
        }
        other => panic!("there is no file `{other}`"),
    }
}
