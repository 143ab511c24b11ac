//! The settings, and what can be wrong with them.

use std::collections::BTreeMap;

use claimsmith_plugin::directory::Directory;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::group::Group;

/// What a filter for users can have of what Entra knows of them: members that tell one user from another.
const MEMBERS: &[&str] = &[
    "id",
    "mail",
    "onPremisesSamAccountName",
    "onPremisesSecurityIdentifier",
    "onPremisesUserPrincipalName",
    "userPrincipalName",
];

/// What the operator writes.
#[derive(Debug)]
#[claimsmith_plugin::settings]
pub(crate) struct Settings {
    /// The directory's upstream.
    pub(crate) directory: Directory,
    pub(crate) user: User,
    pub(crate) groups: Groups,
    /// Role to groups.
    #[serde(deserialize_with = "roles")]
    roles: BTreeMap<String, Vec<Group>>,
    #[serde(default = "claim", deserialize_with = "claim_id")]
    pub(crate) claim: String,
}

impl Settings {
    /// The roles of who has these groups.
    pub(crate) fn roles_of(&self, groups: &[Group]) -> Vec<String> {
        let has_one = |of_role: &[Group]| of_role.iter().any(|group| groups.contains(group));
        let roles = self.roles.iter().filter(|(_, of_role)| has_one(of_role));
        roles.map(|(role, _)| role.clone()).collect()
    }
}

/// How a user is found.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// With `{mail}` and the like.
    #[serde(deserialize_with = "user_filter")]
    pub(crate) filter: String,
    pub(crate) base: Option<String>,
}

impl User {
    /// What the filter has of what Entra knows.
    pub(crate) fn members(&self) -> impl Iterator<Item = &str> {
        placeholders(&self.filter)
    }
}

/// Where groups come from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Groups {
    /// The user's entry has their names in this attribute.
    MemberOf(String),
    /// Groups' entries have their members.
    Search(GroupSearch),
}

/// How groups are found.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupSearch {
    /// With `{member}`.
    #[serde(deserialize_with = "group_filter")]
    pub(crate) filter: String,
    pub(crate) base: Option<String>,
    /// The user's attribute that stands for `{member}`, in place of the distinguished name.
    pub(crate) member: Option<String>,
    /// The group's attribute that names it, in place of the distinguished name.
    pub(crate) name: Option<String>,
}

/// The names in braces; each once.
fn placeholders(filter: &str) -> impl Iterator<Item = &str> {
    let mut names: Vec<_> = filter
        .split('{')
        .skip(1)
        .map(|rest| rest.split_once('}').map_or(rest, |(name, _)| name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

fn user_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let filter = String::deserialize(deserializer)?;
    let unknown = placeholders(&filter).find(|name| !MEMBERS.contains(name));
    if let Some(unknown) = unknown {
        let known = MEMBERS.join("}, {");
        return Err(D::Error::custom(format_args!(
            "`{{{unknown}}}`: expected one of {{{known}}}"
        )));
    }
    if placeholders(&filter).next().is_none() {
        return Err(D::Error::custom(
            "would find the same for every user: expected a filter such as (onPremisesSamAccountName={onPremisesSamAccountName})",
        ));
    }
    Ok(filter)
}

fn group_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let filter = String::deserialize(deserializer)?;
    if !placeholders(&filter).eq(["member"]) {
        return Err(D::Error::custom(
            "expected a filter with `{member}` and no other name in braces, such as (member={member})",
        ));
    }
    Ok(filter)
}

fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<Group>>, D::Error> {
    let roles = BTreeMap::<String, Vec<Group>>::deserialize(deserializer)?;
    if roles.is_empty() {
        return Err(D::Error::custom("expected at least one role with its groups"));
    }
    match roles.iter().find(|(role, groups)| role.is_empty() || groups.is_empty()) {
        Some((role, _)) if role.is_empty() => Err(D::Error::custom("expected a role's name, which is not empty")),
        Some((role, _)) => Err(D::Error::custom(format_args!(
            "`{role}` has no group: expected at least one"
        ))),
        None => Ok(roles),
    }
}

fn claim() -> String {
    "roles".to_owned()
}

fn claim_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if id.is_empty() {
        return Err(D::Error::custom("expected a claim's id, which is not empty"));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::settings::check;
    use serde_json::{Value, json};

    use super::*;

    fn good() -> Value {
        json!({
            "directory": "corp",
            "user": { "filter": "(mail={mail})" },
            "groups": { "member_of": "memberOf" },
            "roles": { "admin": ["cn=admins"] },
        })
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        assert_eq!(check::<Settings>(&good().to_string()), []);
        for (pointer, value, path, why) in [
            (
                "/user/filter",
                json!("(mail={email})"),
                "user.filter",
                "`{email}`: expected one of {id}, {mail}",
            ),
            (
                "/user/filter",
                json!("(mail=ada)"),
                "user.filter",
                "the same for every user",
            ),
            (
                "/groups",
                json!({ "search": { "filter": "(member={dn})" } }),
                "groups.search.filter",
                "with `{member}`",
            ),
            (
                "/groups",
                json!({ "search": {} }),
                "groups.search",
                "missing field `filter`",
            ),
            (
                "/groups",
                json!({ "member": "x" }),
                "groups",
                "unknown variant `member`",
            ),
            ("/roles", json!({}), "roles", "at least one role"),
            ("/roles", json!({ "admin": [] }), "roles", "`admin` has no group"),
            ("/roles", json!({ "": ["x"] }), "roles", "a role's name"),
            (
                "/roles",
                json!({ "admin": [" "] }),
                "roles.admin[0]",
                "expected a group",
            ),
        ] {
            let mut settings = good();
            *settings.pointer_mut(pointer).unwrap() = value;
            let problems = check::<Settings>(&settings.to_string());
            assert_eq!(problems.len(), 1, "{settings}");
            // A member of an enum is read before its path is known.
            assert!(
                path.starts_with(&problems[0].path) || problems[0].path.starts_with(path),
                "{problems:?}"
            );
            assert!(problems[0].message.contains(why), "{problems:?}");
        }
        let mut settings = good();
        settings["claim"] = json!("");
        assert_eq!(check::<Settings>(&settings.to_string())[0].path, "claim");
    }

    /// The settings of the README's examples.
    fn examples() -> Vec<Value> {
        let readme = include_str!("../README.md");
        let examples = readme.split("```").filter_map(|block| block.strip_prefix("toml\n"));
        let settings = examples.map(|example| {
            let tenant: toml::Table = example.parse().unwrap();
            serde_json::to_value(&tenant["extensions"]["claims"]["bindings"][0]["settings"]).unwrap()
        });
        settings.collect()
    }

    #[test]
    fn the_readmes_examples_are_accepted_and_the_schema_agrees() {
        let schema: Value = serde_json::from_str(include_str!("../settings.schema.json")).unwrap();
        let schema = jsonschema::validator_for(&schema).unwrap();
        assert_eq!(examples().len(), 2);
        for settings in examples() {
            assert_eq!(check::<Settings>(&settings.to_string()), []);
            let errors: Vec<_> = schema.iter_errors(&settings).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new());
        }
        for (pointer, value) in [
            ("/user/filter", json!("(mail=ada)")),
            ("/groups", json!({ "search": { "filter": "(member={dn})" } })),
            ("/groups", json!({})),
            ("/roles", json!({})),
            ("/roles", json!({ "admin": [] })),
            ("/directory", json!(7)),
        ] {
            let mut settings = good();
            *settings.pointer_mut(pointer).unwrap() = value;
            assert!(!schema.is_valid(&settings), "{settings}");
            assert_ne!(check::<Settings>(&settings.to_string()), [], "{settings}");
        }
    }
}
