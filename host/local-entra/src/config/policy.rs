//! Claims mapping policies as they are written: our own short form, or Entra's `definition`, pasted.
//!
//! Entra keeps a policy as an array of *one string* that holds escaped JSON. Both that array and the bare string are
//! accepted, with Entra's member names in any letter case (Microsoft's own pages differ).

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use uuid::Uuid;

/// One claims mapping policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimsMappingPolicy {
    /// Application ids the policy is attached to. One application has at most one policy.
    pub applications: Vec<Uuid>,
    /// Whether tokens also carry the basic claim set (`name`, `preferred_username`, `email`).
    #[serde(default = "default_include_basic_claim_set")]
    pub include_basic_claim_set: bool,
    /// The entries. Not together with `definition`.
    #[serde(default)]
    pub schema: Vec<SchemaEntry>,
    /// The policy as Entra's Graph API has it. Not together with `schema`.
    #[serde(default)]
    pub definition: Option<Definition>,
}

/// One entry of a policy: a claim from somewhere, or a fixed value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaEntry {
    /// Where the claim comes from; absent for a fixed value.
    #[serde(default)]
    pub source: Option<MappingSource>,
    /// Id of the claim in its source. Case sensitive.
    #[serde(default)]
    pub id: Option<String>,
    /// A fixed value.
    #[serde(default)]
    pub value: Option<String>,
    /// The claim's name in JWTs. Without it, and without a `saml_claim_type`, the id is the name.
    #[serde(default)]
    pub jwt_claim_type: Option<String>,
    /// The claim's name in SAML assertions. An entry that has only this one does not reach JWTs.
    #[serde(default)]
    pub saml_claim_type: Option<String>,
}

/// Where a mapped claim comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappingSource {
    /// The answer of a tokenIssuanceStart extension.
    CustomClaimsProvider,
    /// Any other source of Entra's, such as `user`: accepted, so that real policies can be pasted, and not applied.
    Other(String),
}

/// Entra's `definition` member, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// `IncludeBasicClaimSet`.
    pub include_basic_claim_set: bool,
    /// `ClaimsSchema`.
    pub schema: Vec<SchemaEntry>,
}

// === impl ClaimsMappingPolicy ===

impl ClaimsMappingPolicy {
    /// The entries, whichever way they were written.
    pub(crate) fn entries(&self) -> &[SchemaEntry] {
        self.definition
            .as_ref()
            .map_or(&self.schema, |definition| &definition.schema)
    }

    /// Whether the basic claim set is included, whichever way it was written.
    pub(crate) fn includes_basic_claim_set(&self) -> bool {
        self.definition
            .as_ref()
            .map_or(self.include_basic_claim_set, |definition| {
                definition.include_basic_claim_set
            })
    }
}

fn default_include_basic_claim_set() -> bool {
    true
}

// === impl MappingSource ===

impl From<&str> for MappingSource {
    fn from(source: &str) -> Self {
        if source.eq_ignore_ascii_case("CustomClaimsProvider") {
            Self::CustomClaimsProvider
        } else {
            Self::Other(source.to_owned())
        }
    }
}

impl<'de> Deserialize<'de> for MappingSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?.as_str()))
    }
}

// === impl Definition ===

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for Definition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::List(mut list) if list.len() == 1 => list.pop().unwrap_or_default(),
            Written::List(list) => {
                return Err(serde::de::Error::custom(format!(
                    "`definition` is an array of exactly one string in Entra, this one has {}",
                    list.len()
                )));
            }
        };
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Definition {
    /// Parses the JSON inside a `definition` string.
    fn parse(text: &str) -> Result<Self, String> {
        let document: Value =
            serde_json::from_str(text).map_err(|error| format!("`definition` does not hold JSON: {error}"))?;
        let policy = member(&document, "ClaimsMappingPolicy")
            .ok_or("`definition` needs an object with the member `ClaimsMappingPolicy`")?;
        let include_basic_claim_set = match member(policy, "IncludeBasicClaimSet") {
            None => true,
            Some(Value::Bool(include)) => *include,
            Some(Value::String(include)) => include.eq_ignore_ascii_case("true"),
            Some(_) => return Err("`IncludeBasicClaimSet` is \"true\" or \"false\"".to_owned()),
        };
        let schema = match member(policy, "ClaimsSchema") {
            None => Vec::new(),
            Some(Value::Array(entries)) => entries.iter().map(entry).collect::<Result<_, _>>()?,
            Some(_) => return Err("`ClaimsSchema` is an array".to_owned()),
        };
        Ok(Self {
            include_basic_claim_set,
            schema,
        })
    }
}

fn entry(value: &Value) -> Result<SchemaEntry, String> {
    let text = |name: &str| match member(value, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{name}` of an entry of `ClaimsSchema` is a string")),
    };
    Ok(SchemaEntry {
        source: text("Source")?.as_deref().map(MappingSource::from),
        id: text("ID")?,
        value: text("Value")?,
        jwt_claim_type: text("JwtClaimType")?,
        saml_claim_type: text("SamlClaimType")?,
    })
}

/// A member of an object, its name compared without letter case.
fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value
        .as_object()?
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}
