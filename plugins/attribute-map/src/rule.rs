//! One rule: where a value comes from, and what is done to it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use claimsmith_plugin::{Callout, ClaimValue, Result};

use crate::extract::Extract;

/// Makes one claim, or none. The steps are in the order they are taken.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) claim: String,
    pub(crate) source: Source,
    pub(crate) extract: Option<Extract>,
    pub(crate) case: Option<Case>,
    /// The separator.
    pub(crate) split: Option<String>,
    pub(crate) lookup: Option<Lookup>,
    pub(crate) default: Option<String>,
}

/// Where the value comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A member of the callout.
    Path(String),
    Constant(String),
}

#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Case {
    Lower,
    Upper,
}

#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) table: BTreeMap<String, String>,
    pub(crate) otherwise: Otherwise,
}

/// What becomes of a value that the table does not have.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Otherwise {
    Keep,
    #[default]
    Drop,
}

impl Rule {
    /// # Errors
    /// When the pattern does not compile: settings that were not checked.
    pub(crate) fn value(&self, callout: &Callout) -> Result<Option<ClaimValue>> {
        let text = self.text(callout)?;
        let default = || self.default.as_deref().map(Cow::Borrowed);
        let Some(separator) = &self.split else {
            let text = text.and_then(|text| self.look_up(text)).or_else(default);
            return Ok(text.map(ClaimValue::from));
        };
        let mut texts: Vec<_> = text
            .iter()
            .flat_map(|text| text.split(separator.as_str()))
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .filter_map(|text| self.look_up(Cow::Borrowed(text)))
            .collect();
        if texts.is_empty() {
            texts.extend(default());
        }
        Ok((!texts.is_empty()).then(|| texts.into()))
    }

    /// The value up to the lookup; an empty one is none.
    fn text<'a>(&'a self, callout: &'a Callout) -> Result<Option<Cow<'a, str>>> {
        let text = match &self.source {
            Source::Path(path) => callout.get(path),
            Source::Constant(text) => Some(text.as_str()),
        };
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let text = match &self.extract {
            Some(extract) => extract.apply(text)?.map(Cow::Owned),
            None => Some(Cow::Borrowed(text)),
        };
        let text = text.filter(|text| !text.is_empty());
        Ok(match self.case {
            Some(Case::Lower) => text.map(|text| text.to_lowercase().into()),
            Some(Case::Upper) => text.map(|text| text.to_uppercase().into()),
            None => text,
        })
    }

    fn look_up<'a>(&'a self, text: Cow<'a, str>) -> Option<Cow<'a, str>> {
        let Some(lookup) = &self.lookup else {
            return Some(text);
        };
        match (lookup.table.get(&*text), lookup.otherwise) {
            (Some(found), _) => Some(Cow::Borrowed(found)),
            (None, Otherwise::Keep) => Some(text),
            (None, Otherwise::Drop) => None,
        }
    }
}
