//! What an attribute has to be, and values for one.

use claimsmith_plugin::{AttributeValue, Context as _, Result};
use regex_lite::Regex;
use serde::Deserialize;

use crate::text::Text;

/// What is asked of one attribute.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    trim: bool,
    case: Option<Case>,
    pub(crate) pattern: Option<String>,
    pub(crate) one_of: Option<Vec<String>>,
    pub(crate) min_length: Option<usize>,
    pub(crate) max_length: Option<usize>,
    pub(crate) message: Text,
}

/// How letters are written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Case {
    Lower,
    Upper,
}

impl Rule {
    /// What was typed, as it is kept.
    pub(crate) fn tidy(&self, text: &str) -> String {
        let text = if self.trim { text.trim() } else { text };
        match self.case {
            Some(Case::Lower) => text.to_lowercase(),
            Some(Case::Upper) => text.to_uppercase(),
            None => text.to_owned(),
        }
    }

    /// Whether that will do. What is optional may be empty.
    pub(crate) fn accepts(&self, text: &str) -> Result<bool> {
        if text.trim().is_empty() {
            return Ok(!self.required);
        }
        let length = text.chars().count();
        let fits = self.min_length.is_none_or(|least| length >= least)
            && self.max_length.is_none_or(|most| length <= most)
            && self
                .one_of
                .as_ref()
                .is_none_or(|values| values.iter().any(|value| value == text));
        match &self.pattern {
            Some(pattern) if fits => Ok(Regex::new(pattern).context("pattern")?.is_match(text)),
            _ => Ok(fits),
        }
    }

    /// What is wrong with the rule.
    pub(crate) fn check(&self, default_language: &str) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("name: expected an attribute's name".to_owned());
        }
        if let Some(pattern) = &self.pattern {
            Regex::new(pattern).map_err(|error| format!("pattern: {error}"))?;
        }
        if self.one_of.as_ref().is_some_and(Vec::is_empty) {
            return Err("one_of: expected at least one value".to_owned());
        }
        if self
            .min_length
            .zip(self.max_length)
            .is_some_and(|(least, most)| least > most)
        {
            return Err("min_length is more than max_length".to_owned());
        }
        self.message
            .check(default_language)
            .map_err(|why| format!("message: {why}"))
    }
}

/// A value that an attribute is filled in with.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected text, a whole number, true or false, or an array of texts"
)]
pub(crate) enum Value {
    Boolean(bool),
    Integer(i64),
    Text(String),
    Texts(Vec<String>),
}

impl From<Value> for AttributeValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(boolean) => Self::Boolean(boolean),
            Value::Integer(integer) => Self::Integer(integer),
            Value::Text(text) => Self::Text(text),
            Value::Texts(texts) => Self::Texts(texts),
        }
    }
}
