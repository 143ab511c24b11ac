//! What the host asks a plugin outside callouts.

use crate::bindings::lifecycle::{Description, Problem};
use crate::logging;
use crate::settings::{self, Settings};

/// Describes the plugin with what its `Cargo.toml` says.
#[must_use]
pub fn describe(name: &str, version: &str, summary: Option<&str>) -> Description {
    logging::install();
    Description {
        name: name.to_owned(),
        version: version.to_owned(),
        summary: summary.filter(|text| !text.is_empty()).map(str::to_owned),
        settings_schema: None,
    }
}

/// Checks settings that a binding wants to use.
#[must_use]
pub fn check_settings<S: Settings>(json: &str) -> Vec<Problem> {
    logging::install();
    settings::check::<S>(json)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_crate_without_description_has_no_summary() {
        let description = super::describe("a", "1.0.0", Some(""));
        assert_eq!((description.name.as_str(), description.summary), ("a", None));
    }
}
