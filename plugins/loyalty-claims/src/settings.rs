//! The settings, and what can be wrong with them.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::names::{MailDomain, ObjectId};

/// A document whose tier names are those of its tiers.
#[derive(Debug)]
#[claimsmith_plugin::settings]
#[serde(try_from = "Document")]
pub(crate) struct Settings {
    document: Document,
}

impl Deref for Settings {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.document
    }
}

/// What the operator writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    tiers: Vec<Tier>,
    /// User to tier name.
    #[serde(default, deserialize_with = "without_repeats")]
    pub(crate) members: BTreeMap<ObjectId, String>,
    /// Mail domain to tier name.
    #[serde(default, deserialize_with = "without_repeats")]
    pub(crate) domains: BTreeMap<MailDomain, String>,
    pub(crate) default_tier: Option<String>,
    #[serde(default = "tier_claim", deserialize_with = "claim_id")]
    pub(crate) tier_claim: String,
    #[serde(default = "benefits_claim", deserialize_with = "claim_id")]
    pub(crate) benefits_claim: String,
}

/// One tier of the loyalty programme.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tier {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) benefits: Vec<String>,
}

impl Document {
    pub(crate) fn tier(&self, name: &str) -> Option<&Tier> {
        self.tiers.iter().find(|tier| tier.name == name)
    }

    fn require_tier(&self, name: &str, place: impl Display) -> Result<(), String> {
        if self.tier(name).is_some() {
            return Ok(());
        }
        let tiers: Vec<_> = self.tiers.iter().map(|tier| tier.name.as_str()).collect();
        Err(format!(
            "{place} names the tier `{name}`; expected one of tiers: {}",
            tiers.join(", ")
        ))
    }
}

impl TryFrom<Document> for Settings {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        for (index, tier) in document.tiers.iter().enumerate() {
            if document.tiers.iter().take(index).any(|other| other.name == tier.name) {
                return Err(format!("tiers[{index}].name: there is another tier `{}`", tier.name));
            }
        }
        for (id, tier) in &document.members {
            document.require_tier(tier, format_args!("members.{id}"))?;
        }
        for (domain, tier) in &document.domains {
            document.require_tier(tier, format_args!("domains.{domain}"))?;
        }
        if let Some(tier) = &document.default_tier {
            document.require_tier(tier, "default_tier")?;
        }
        if document.tier_claim == document.benefits_claim {
            return Err("tier_claim and benefits_claim are the same; expected two claims".to_owned());
        }
        Ok(Self { document })
    }
}

fn tier_claim() -> String {
    "loyaltyTier".to_owned()
}

fn benefits_claim() -> String {
    "loyaltyBenefits".to_owned()
}

fn claim_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if id.is_empty() {
        return Err(D::Error::custom("expected a claim's id, which is not empty"));
    }
    Ok(id)
}

/// A table that names nothing twice, not even in two spellings.
fn without_repeats<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Display + Ord,
    V: Deserialize<'de>,
{
    struct Table<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Display + Ord, V: Deserialize<'de>> Visitor<'de> for Table<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a table")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut table = BTreeMap::new();
            while let Some(key) = members.next_key::<K>()? {
                if table.contains_key(&key) {
                    return Err(A::Error::custom(format_args!("`{key}` is named twice")));
                }
                table.insert(key, members.next_value()?);
            }
            Ok(table)
        }
    }

    deserializer.deserialize_map(Table(PhantomData))
}

#[cfg(test)]
mod tests {
    use claimsmith_plugin::settings::check;

    use super::*;

    /// The path and message of the one problem.
    fn problem(json: &str) -> (String, String) {
        let mut problems = check::<Settings>(json);
        assert_eq!(problems.len(), 1, "{json}");
        let problem = problems.remove(0);
        (problem.path, problem.message)
    }

    #[track_caller]
    fn assert_problem(json: &str, path: &str, message: &str) {
        assert_eq!(problem(json), (path.into(), message.into()));
    }

    #[test]
    fn a_user_id_is_a_guid() {
        assert_problem(
            r#"{ "tiers": [{ "name": "gold" }], "members": { "ada": "gold" } }"#,
            "members.ada",
            "`ada`: expected a user's object id, a GUID such as 00000000-0000-0000-0000-000000000000",
        );
    }

    #[test]
    fn a_domain_looks_like_one() {
        assert_problem(
            r#"{ "tiers": [{ "name": "gold" }], "domains": { "@example.org": "gold" } }"#,
            "domains.@example.org",
            "`@example.org`: expected a mail domain such as example.org",
        );
    }

    #[test]
    fn one_name_in_two_spellings_is_named_twice() {
        assert_problem(
            r#"{ "tiers": [{ "name": "a" }], "domains": { "example.org": "a", "Example.org": "a" } }"#,
            "domains",
            "`example.org` is named twice",
        );
    }

    #[test]
    fn a_tier_that_does_not_exist_is_found_wherever_it_is_named() {
        let tiers = r#""tiers": [{ "name": "gold" }, { "name": "silver" }]"#;
        let id = "a1b2c3d4-0000-4000-8000-0000000000f1";
        for (json, place) in [
            (
                format!(r#"{{ {tiers}, "members": {{ "{id}": "glod" }} }}"#),
                format!("members.{id}"),
            ),
            (
                format!(r#"{{ {tiers}, "domains": {{ "example.org": "glod" }} }}"#),
                "domains.example.org".into(),
            ),
            (
                format!(r#"{{ {tiers}, "default_tier": "glod" }}"#),
                "default_tier".into(),
            ),
        ] {
            let message = format!("{place} names the tier `glod`; expected one of tiers: gold, silver");
            assert_problem(&json, "", &message);
        }
    }

    #[test]
    fn two_tiers_have_two_names() {
        assert_problem(
            r#"{ "tiers": [{ "name": "gold" }, { "name": "gold" }] }"#,
            "",
            "tiers[1].name: there is another tier `gold`",
        );
    }

    #[test]
    fn a_claim_has_an_id_of_its_own() {
        assert_problem(
            r#"{ "tiers": [], "tier_claim": "" }"#,
            "tier_claim",
            "expected a claim's id, which is not empty",
        );
        assert_problem(
            r#"{ "tiers": [], "tier_claim": "loyaltyBenefits" }"#,
            "",
            "tier_claim and benefits_claim are the same; expected two claims",
        );
    }

    #[test]
    fn what_has_another_type_or_is_unknown_is_named() {
        assert_problem(
            r#"{ "tiers": [{ "name": "a" }, { "name": 7 }] }"#,
            "tiers[1].name",
            "invalid type: integer `7`, expected a string",
        );
        assert_problem(
            r#"{ "tiers": [{ "name": "a", "benefit": [] }] }"#,
            "tiers[0].benefit",
            "unknown field `benefit`, expected `name` or `benefits`",
        );
        assert_problem("{}", "", "missing field `tiers`");
    }

    #[test]
    fn the_readmes_example_is_accepted() {
        let readme = include_str!("../README.md");
        let example = readme.split("```").find_map(|block| block.strip_prefix("toml\n"));
        let tenant: toml::Table = example.unwrap().parse().unwrap();
        let settings = &tenant["extensions"]["loyalty"]["bindings"][0]["settings"];
        let problems = check::<Settings>(&serde_json::to_string(settings).unwrap());
        assert_eq!(problems, []);
    }
}
