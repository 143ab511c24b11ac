//! A TOML file's text, and messages that point into it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::ConfigError;

/// A TOML file that has been read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::of(path, std::fs::read(path))
    }

    /// The file at `path`, of which this was read.
    pub(crate) fn of(path: &Path, read: io::Result<Vec<u8>>) -> Result<Self, ConfigError> {
        let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
        let text = text.map_err(|error| ConfigError::unreadable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }

    /// Deserialises the whole file; unknown keys are errors of the target types.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let message = taught(&with_nearest_key(error.message()));
            match error.span() {
                Some(span) => self.error_at(span.clone(), self.with_table(message, &span)),
                None => ConfigError::in_file(&self.path, message),
            }
        })
    }

    /// A message about a key with the table that the key is or should be in: the line of a missing key is the table's, and
    /// many tables have keys of the same names.
    fn with_table(&self, message: String, span: &Range<usize>) -> String {
        let Ok(document) = DeTable::parse(&self.text) else {
            return message;
        };
        let mut path = Vec::new();
        if message.starts_with("unknown field `") && find_key(document.get_ref(), span, &mut path) {
            return after_name(&message, &path);
        }
        if message.starts_with("missing field `") && find_table(document.get_ref(), span, &mut path) {
            return after_name(&message, &path);
        }
        if message == NOT_A_LIST && find_table(document.get_ref(), span, &mut path) {
            let name = keys(&path);
            return format!(
                "`{name}` is a table, expected a list of them: write [[{name}]], with double brackets, before each"
            );
        }
        message
    }

    /// An error at a place of the text.
    pub(crate) fn error_at(&self, span: Range<usize>, message: impl Into<String>) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        ConfigError {
            file: self.path.clone(),
            position: Some((line, column)),
            message: message.into(),
        }
    }

    /// An error at a value, named by a dotted path with `[index]`es such as `extensions.claims.bindings[0].plugin`; at
    /// the nearest enclosing value when the path leads nowhere.
    pub(crate) fn error_at_path(&self, path: &[Step<'_>], message: impl Into<String>) -> ConfigError {
        match self.find(path) {
            Some(span) => self.error_at(span, message),
            None => ConfigError::in_file(&self.path, message),
        }
    }

    fn find(&self, path: &[Step<'_>]) -> Option<Range<usize>> {
        let document = DeTable::parse(&self.text).ok()?;
        let (first, rest) = path.split_first()?;
        let Step::Key(first) = first else { return None };
        let mut value = document.get_ref().get(*first)?;
        for step in rest {
            let next = match (step, value.get_ref()) {
                (Step::Key(key), DeValue::Table(table)) => table.get(*key),
                (Step::Index(index), DeValue::Array(array)) => array.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            value = next;
        }
        Some(value.span())
    }
}

/// What serde says of a table where a list of tables is expected.
const NOT_A_LIST: &str = "invalid type: map, expected a sequence";

/// A message that begins with what is wrong and a key's name in backticks, with the table named after it.
fn after_name(message: &str, table: &[Step<'_>]) -> String {
    let end = message.match_indices('`').nth(1).map(|(end, _)| end + 1);
    match (table.last(), end.and_then(|end| message.split_at_checked(end))) {
        (Some(Step::Key(_)), Some((name, rest))) => format!("{name} in the table [{}]{rest}", keys(table)),
        (Some(Step::Index(_)), Some((name, rest))) => format!("{name} in a table [[{}]]{rest}", keys(table)),
        // At the top of the file.
        _ => message.to_owned(),
    }
}

/// The keys of a path, as a table's header has them.
fn keys(path: &[Step<'_>]) -> String {
    let keys = path.iter().filter_map(|step| match step {
        Step::Key(key) => Some(*key),
        Step::Index(_) => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

/// Finds the table that has a key at this place of the text.
fn find_key<'d>(table: &'d DeTable<'d>, span: &Range<usize>, path: &mut Vec<Step<'d>>) -> bool {
    table.keys().any(|key| key.span() == *span)
        || within(table, path, |value, path| match value.get_ref() {
            DeValue::Table(table) => find_key(table, span, path),
            _ => false,
        })
}

/// Finds the table that is at this place of the text.
fn find_table<'d>(table: &'d DeTable<'d>, span: &Range<usize>, path: &mut Vec<Step<'d>>) -> bool {
    within(table, path, |value, path| match value.get_ref() {
        DeValue::Table(table) => value.span() == *span || find_table(table, span, path),
        _ => false,
    })
}

/// Looks at a table's values, and at what lists have in their place; `path` leads to the one that was found.
fn within<'d>(
    table: &'d DeTable<'d>,
    path: &mut Vec<Step<'d>>,
    mut find: impl FnMut(&'d Spanned<DeValue<'d>>, &mut Vec<Step<'d>>) -> bool,
) -> bool {
    for (key, value) in table {
        path.push(Step::Key(key.get_ref()));
        if find(value, path) {
            return true;
        }
        for (index, item) in value.get_ref().as_array().into_iter().flatten().enumerate() {
            path.push(Step::Index(index));
            if find(item, path) {
                return true;
            }
            path.pop();
        }
        path.pop();
    }
    false
}

/// One step of the way to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

/// Takes a plugin's path such as `tiers[2].name` apart.
pub(crate) fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, indexes) = part.split_once('[').map_or((part, ""), |(key, rest)| (key, rest));
        if !key.is_empty() {
            steps.push(Step::Key(key));
        }
        let indexes = indexes.split('[').map(|index| index.trim_end_matches(']'));
        steps.extend(indexes.filter_map(|index| index.parse().ok()).map(Step::Index));
    }
    steps
}

/// What a wrong value's message ends with in the words of a library or of Rust, and what is said instead.
const ENDS: [(&str, &str); 9] = [
    (
        "expected struct ProbeConfig",
        "expected a table: {}, or { upstreams = true }",
    ),
    ("expected a nonzero u32", "expected a whole number from 1"),
    ("expected u16", "expected a whole number"),
    ("expected u32", "expected a whole number"),
    ("expected u64", "expected a whole number"),
    ("expected usize", "expected a whole number"),
    ("expected f64", "expected a number, such as 0.1"),
    (
        "invalid socket address syntax",
        "invalid address; expected an IP address and a port, such as 127.0.0.1:8080",
    ),
    (
        "expected a duration",
        "expected a time with its unit, such as 250ms, 90s, 5min, 4h or 90d",
    ),
];
/// What messages about ids begin with, which the `uuid` crate writes.
const NO_UUID: &str = "UUID parsing failed: ";

/// A message of serde's or of a value's own type in words that say what to write.
fn taught(message: &str) -> String {
    if let Some(why) = message.strip_prefix(NO_UUID) {
        return format!(
            "invalid id ({why}); expected a directory's or an application's id, a GUID such as \
             00000000-1111-2222-3333-444444444444"
        );
    }
    for (end, instead) in ENDS {
        if let Some(before) = message.strip_suffix(end) {
            return format!("{before}{instead}");
        }
    }
    // `expected struct` with a name of Rust's.
    match message.rsplit_once("expected struct ") {
        Some((before, name)) if !name.contains(' ') => format!("{before}expected a table"),
        _ => message.to_owned(),
    }
}

/// Adds the nearest known name to serde's messages about an unknown key or value, which list the known ones.
pub(crate) fn with_nearest_key(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let lists_known = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let unknown = lists_known.then(|| quoted.next()).flatten();
    let Some(unknown) = unknown else {
        return message.to_owned();
    };
    match nearest(unknown, &mut quoted) {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

/// The known name that was probably meant.
pub(crate) fn nearest<'k>(unknown: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{Source, Step, steps};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its name matters")]
        audiences: Vec<String>,
    }

    fn source(text: &str) -> Source {
        Source {
            path: "tenant.toml".into(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_known_key() {
        let error = source("# x\n  audience = []\n")
            .parse::<Sample>()
            .expect_err("unknown key");
        assert_eq!(
            error.to_string(),
            "tenant.toml:2:3: unknown field `audience`, expected `audiences`; did you mean `audiences`?"
        );
    }

    #[test]
    fn a_mistake_names_the_table_that_it_is_in() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only their names matter")]
        struct Whole {
            #[serde(default)]
            bindings: Vec<Sample>,
            #[serde(default)]
            extensions: std::collections::BTreeMap<String, Inner>,
            sample: Option<Sample>,
        }
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only their names matter")]
        struct Inner {
            #[serde(default)]
            bindings: Vec<Sample>,
        }
        for (text, expected) in [
            (
                "[sample]\naudience = []\n",
                "tenant.toml:2:1: unknown field `audience` in the table [sample], expected `audiences`; did you mean `audiences`?",
            ),
            (
                "sample.audience = []\n",
                "tenant.toml:1:8: unknown field `audience` in the table [sample], expected `audiences`; did you mean `audiences`?",
            ),
            (
                "[sample]\n",
                "tenant.toml:1:1: missing field `audiences` in the table [sample]",
            ),
            (
                "[[extensions.a.bindings]]\naudiences = []\n[[extensions.a.bindings]]\n",
                "tenant.toml:3:1: missing field `audiences` in a table [[extensions.a.bindings]]",
            ),
            (
                "[[extensions.a.bindings]]\naudience = []\n",
                "tenant.toml:2:1: unknown field `audience` in a table [[extensions.a.bindings]], expected `audiences`; did you \
                 mean `audiences`?",
            ),
            (
                "[extensions.a.bindings]\naudiences = []\n",
                "tenant.toml:1:1: `extensions.a.bindings` is a table, expected a list of them: write \
                 [[extensions.a.bindings]], with double brackets, before each",
            ),
            (
                "bindings = { audiences = [] }\n",
                "tenant.toml:1:12: `bindings` is a table, expected a list of them: write [[bindings]], with double brackets, \
                 before each",
            ),
        ] {
            let error = source(text).parse::<Whole>().expect_err(text);
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn an_unknown_value_is_told_the_nearest_known_one() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only its type matters")]
        struct Policy {
            on_failure: Choice,
        }
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Choice {
            LastKnownGood,
        }
        let error = source("on_failure = \"last_known_god\"")
            .parse::<Policy>()
            .expect_err("a typing error");
        assert!(error.message.ends_with("; did you mean `last_known_good`?"), "{error}");
    }

    #[test]
    fn a_value_of_another_type_is_told_what_to_write() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only their types matter")]
        struct Values {
            address: Option<std::net::SocketAddr>,
            rate: Option<std::num::NonZeroU32>,
            ratio: Option<f64>,
            id: Option<uuid::Uuid>,
            sample: Option<Sample>,
            #[serde(default, with = "humantime_serde")]
            time: std::time::Duration,
        }
        for (text, expected) in [
            (
                "address = \"localhost:8080\"",
                "invalid address; expected an IP address and a port, such as 127.0.0.1:8080",
            ),
            ("rate = 0", "invalid value: integer `0`, expected a whole number from 1"),
            (
                "ratio = \"x\"",
                "invalid type: string \"x\", expected a number, such as 0.1",
            ),
            ("id = \"x\"", "a GUID such as 00000000-1111-2222-3333-444444444444"),
            ("sample = true", "invalid type: boolean `true`, expected a table"),
            (
                "time = \"90\"",
                "expected a time with its unit, such as 250ms, 90s, 5min, 4h or 90d",
            ),
        ] {
            let error = source(text).parse::<Values>().expect_err(text);
            assert!(error.message.ends_with(expected), "{}", error.message);
        }
    }

    #[test]
    fn a_path_of_a_plugin_leads_to_its_line() {
        let toml = source("[settings]\ndefault = 1\n[[settings.tiers]]\nname = 'a'\n[[settings.tiers]]\nname = 7\n");
        let mut path = vec![Step::Key("settings")];
        path.extend(steps("tiers[1].name"));
        assert_eq!(toml.error_at_path(&path, "x").position, Some((6, 8)));
        path.push(Step::Key("no such member"));
        assert_eq!(toml.error_at_path(&path, "x").position, Some((6, 8)));
        assert_eq!(
            steps("a[0][1].b"),
            [Step::Key("a"), Step::Index(0), Step::Index(1), Step::Key("b")]
        );
    }
}
