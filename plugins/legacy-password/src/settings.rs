//! The settings, and what can be wrong with them.

use claimsmith_plugin::{BlockPage, PasswordSubmit, directory, sql};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// What the operator writes, with one source of passwords.
#[derive(Debug)]
#[claimsmith_plugin::settings]
#[serde(try_from = "Document")]
pub(crate) struct Settings {
    pub(crate) source: Source,
    pub(crate) min_length: usize,
    unknown_user: UnknownUser,
    blocked: Option<Blocked>,
}

impl Settings {
    /// What happens to a user whom the old system does not know.
    pub(crate) fn unknown_user(&self) -> PasswordSubmit {
        match (&self.blocked, self.unknown_user) {
            (Some(blocked), UnknownUser::Block) => {
                let page = BlockPage::new(&blocked.message);
                PasswordSubmit::Block(match &blocked.title {
                    Some(title) => page.with_title(title),
                    None => page,
                })
            }
            _ => PasswordSubmit::Retry,
        }
    }
}

/// What knows passwords.
#[derive(Debug)]
pub(crate) enum Source {
    Directory(Directory),
    Database(Database),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    directory: Option<Directory>,
    database: Option<Database>,
    #[serde(default)]
    min_length: usize,
    #[serde(default)]
    unknown_user: UnknownUser,
    blocked: Option<Blocked>,
}

/// A directory that knows passwords.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory {
    pub(crate) upstream: directory::Directory,
    /// With `{username}`.
    #[serde(deserialize_with = "filter")]
    pub(crate) filter: String,
    pub(crate) base: Option<String>,
}

/// A database that knows passwords' hashes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    pub(crate) upstream: sql::Database,
    /// The statement's name. Its one parameter is the user's name, its first column the hash.
    pub(crate) statement: String,
}

/// What happens to a user whom the old system does not know.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum UnknownUser {
    #[default]
    Retry,
    Block,
}

/// What who is blocked reads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocked {
    title: Option<String>,
    message: String,
}

impl TryFrom<Document> for Settings {
    type Error = &'static str;

    fn try_from(document: Document) -> Result<Self, Self::Error> {
        let source = match (document.directory, document.database) {
            (Some(directory), None) => Source::Directory(directory),
            (None, Some(database)) => Source::Database(database),
            _ => return Err("expected either `directory` or `database`: what knows the passwords"),
        };
        if document.unknown_user == UnknownUser::Block && document.blocked.is_none() {
            return Err("`unknown_user = \"block\"` needs `blocked`: what the user reads");
        }
        Ok(Self {
            source,
            min_length: document.min_length,
            unknown_user: document.unknown_user,
            blocked: document.blocked,
        })
    }
}

fn filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let filter = String::deserialize(deserializer)?;
    if !filter.contains("{username}") {
        return Err(D::Error::custom(
            "would find the same for every user: expected a filter with `{username}`, such as (mail={username})",
        ));
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::settings::check;
    use serde_json::{Value, json};

    use super::*;

    fn schema() -> jsonschema::Validator {
        let schema: Value = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    }

    #[test]
    fn mistakes_are_told() {
        let directory = json!({ "upstream": "corp", "filter": "(mail={username})" });
        let database = json!({ "upstream": "shop", "statement": "password_hash" });
        for (settings, path, why) in [
            (json!({}), "", "expected either `directory` or `database`"),
            (
                json!({ "directory": directory, "database": database }),
                "",
                "expected either",
            ),
            (
                json!({ "directory": { "upstream": "corp", "filter": "(mail=ada)" } }),
                "directory.filter",
                "expected a filter with `{username}`",
            ),
            (
                json!({ "database": { "upstream": "shop" } }),
                "database",
                "missing field `statement`",
            ),
            (
                json!({ "database": database, "unknown_user": "block" }),
                "",
                "needs `blocked`",
            ),
            (
                json!({ "database": database, "unknown_user": "migrate" }),
                "unknown_user",
                "unknown variant `migrate`",
            ),
            (
                json!({ "database": database, "min_length": -1 }),
                "min_length",
                "invalid value",
            ),
        ] {
            let problems = check::<Settings>(&settings.to_string());
            assert_eq!(problems.len(), 1, "{settings}");
            assert_eq!(problems[0].path, path, "{problems:?}");
            assert!(problems[0].message.contains(why), "{problems:?}");
            assert!(!schema().is_valid(&settings), "{settings}");
        }
    }

    #[test]
    fn the_readmes_examples_are_accepted_and_the_schema_agrees() {
        let readme = include_str!("../README.md");
        let examples: Vec<_> = readme
            .split("```")
            .filter_map(|block| block.strip_prefix("toml\n"))
            .collect();
        let settings = examples.iter().filter_map(|example| {
            let tenant: toml::Table = example.parse().unwrap();
            let extensions = tenant.get("extensions")?;
            Some(serde_json::to_value(&extensions["migration"]["bindings"][0]["settings"]).unwrap())
        });
        let settings: Vec<_> = settings.collect();
        assert_eq!(settings.len(), 2);
        for settings in settings {
            assert_eq!(check::<Settings>(&settings.to_string()), []);
            let errors: Vec<_> = schema().iter_errors(&settings).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new());
        }
    }
}
