//! The path of a user's resource.

use std::borrow::Cow;

use claimsmith_plugin::User;
use claimsmith_plugin::http::RequestBuilder;
use serde::{Deserialize, Deserializer, de::Error as _};

/// What a path can name of a user.
const PARAMETERS: [&str; 3] = ["id", "mail", "userPrincipalName"];

/// A path with `{id}`, `{mail}` or `{userPrincipalName}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    text: String,
    parameters: Vec<&'static str>,
}

/// A path, and what it names of one user.
#[derive(Debug)]
pub(crate) struct Filled<'p> {
    path: &'p Path,
    values: Vec<Cow<'p, str>>,
}

impl Path {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("expected a path below the upstream's URL, such as \"/members/{id}\"".to_owned());
        }
        let mut parameters = Vec::new();
        for after in text.split('{').skip(1) {
            let name = after.split_once('}').map(|(name, _)| name);
            let known = name.and_then(|name| PARAMETERS.into_iter().find(|known| *known == name));
            let Some(known) = known else {
                return Err(format!("expected one of {{{}}} in the braces", PARAMETERS.join("}, {")));
            };
            parameters.push(known);
        }
        if parameters.is_empty() {
            return Err(format!(
                "the path names no user, so that all would have the same claims: expected one of {{{}}} in it",
                PARAMETERS.join("}, {")
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            parameters,
        })
    }

    /// The path of this user's resource; none if the user has not what it names.
    pub(crate) fn fill<'p>(&'p self, user: &'p User) -> Option<Filled<'p>> {
        let value = |name: &&str| match *name {
            "id" => user.id.as_deref().map(Cow::Borrowed),
            // Mail systems take addresses that differ by case alone for one; a cache would ask for each. Other letters than
            // ASCII's stay as they are: the lower case of U+212A, the sign of kelvin, is `k`, which is in somebody else's.
            "mail" => user.mail.as_deref().map(|mail| mail.to_ascii_lowercase().into()),
            _ => user
                .user_principal_name
                .as_deref()
                .map(|name| name.to_ascii_lowercase().into()),
        };
        let values: Option<Vec<_>> = self.parameters.iter().map(value).collect();
        let values = values.filter(|values| values.iter().all(|value| !value.is_empty()))?;
        Some(Filled { path: self, values })
    }
}

impl Filled<'_> {
    pub(crate) fn path(&self) -> &str {
        &self.path.text
    }

    pub(crate) fn parameters(&self, request: RequestBuilder) -> RequestBuilder {
        let named = self.path.parameters.iter().zip(&self.values);
        // What is named twice is filled in at once.
        let mut filled = Vec::new();
        named.fold(request, |request, (name, value)| {
            if filled.contains(name) {
                return request;
            }
            filled.push(*name);
            request.parameter(name, value)
        })
    }

    /// What the user is kept under.
    pub(crate) fn key(&self) -> String {
        self.values.join("\n")
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}
