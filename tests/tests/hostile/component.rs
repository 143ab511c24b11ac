//! From the parts of a hand-written plugin to a component.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A plugin that behaves, whose parts can be replaced.
pub(crate) struct Skeleton {
    text: String,
    usual: BTreeMap<String, String>,
    resolve: Resolve,
    package: wit_parser::PackageId,
}

impl Skeleton {
    pub(crate) fn read(directory: &Path, usual: BTreeMap<String, String>) -> Self {
        let mut resolve = Resolve::default();
        resolve.push_dir(directory.join("../../wit")).unwrap();
        let interfaces = fs::read_to_string(directory.join("hostile.wit")).unwrap();
        let package = resolve.push_str("hostile.wit", &interfaces).unwrap();
        Self {
            text: fs::read_to_string(directory.join("skeleton.wat")).unwrap(),
            usual,
            resolve,
            package,
        }
    }

    /// A component with these parts in place of the usual ones.
    pub(crate) fn component(&self, name: &str, parts: &BTreeMap<String, String>, world: &str) -> Vec<u8> {
        let mut text = self.text.clone();
        for part in parts.keys() {
            assert!(self.usual.contains_key(part), "{name}: there is no part `{part}`");
        }
        for (part, usual) in &self.usual {
            text = text.replace(&format!("{{{part}}}"), parts.get(part).unwrap_or(usual));
        }
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let world = self.resolve.select_world(&[self.package], Some(world)).unwrap();
        embed_component_metadata(&mut module, &self.resolve, world, StringEncoding::UTF8).unwrap();
        let mut encoder = ComponentEncoder::default();
        let component = encoder.module(&module).and_then(ComponentEncoder::encode);
        component.unwrap_or_else(|error| panic!("{name}: {error:?}"))
    }
}
