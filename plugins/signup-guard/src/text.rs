//! Texts that users read.

use std::collections::BTreeMap;
use std::fmt;

use claimsmith_plugin::{Callout, language};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// One text, or one for each language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    One(String),
    ByLanguage(BTreeMap<String, String>),
}

impl Text {
    /// The text in the user's language, or else in the default one.
    pub(crate) fn of(&self, callout: &Callout, default: &str) -> &str {
        match self {
            Self::One(text) => text,
            Self::ByLanguage(texts) => {
                let wanted = callout.languages().chain([default]);
                let found = language::lookup(wanted, texts.keys().map(String::as_str));
                let text = found.and_then(|language| texts.get(language));
                text.map_or("", String::as_str)
            }
        }
    }

    /// What is wrong with it.
    pub(crate) fn check(&self, default: &str) -> Result<(), String> {
        let texts: Vec<_> = match self {
            Self::One(text) => vec![text],
            Self::ByLanguage(texts) => texts.values().collect(),
        };
        if texts.iter().any(|text| text.trim().is_empty()) {
            return Err("expected text that is not empty".to_owned());
        }
        match self {
            Self::ByLanguage(texts) if !texts.contains_key(default) => {
                Err(format!("expected a text for `{default}` too, the `default_language`"))
            }
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("text, or a table of texts by language")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::One(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Text, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(members)).map(Text::ByLanguage)
            }
        }

        deserializer.deserialize_any(Read)
    }
}
