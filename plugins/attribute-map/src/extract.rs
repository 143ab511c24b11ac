//! Taking a part of a text with a pattern.

use claimsmith_plugin::{Context as _, Result, settings};
use regex_lite::Regex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A regular expression. It is compiled when it is checked, so that a wrong one is refused, and then by the callouts
/// whose value it is for: compiling costs more than the rest of a rule.
#[derive(Debug)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn compile(&self) -> Result<Regex> {
        Regex::new(&self.0).context("pattern")
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = Self(String::deserialize(deserializer)?);
        if settings::are_being_checked() {
            Regex::new(&pattern.0).map_err(D::Error::custom)?;
        }
        Ok(pattern)
    }
}

/// A pattern, and what its match becomes.
#[derive(Debug)]
pub(crate) struct Extract {
    pattern: Pattern,
    /// With `$1`, `$name` and `${name}` for groups; the first group, or the whole match, if there is none.
    replace: Option<String>,
}

impl Extract {
    /// # Errors
    /// When `replace` names a group that the pattern does not have, which would silently be nothing.
    pub(crate) fn new(pattern: Pattern, replace: Option<String>) -> Result<Self, String> {
        if settings::are_being_checked()
            && let Some(replace) = &replace
        {
            let regex = pattern.compile().map_err(|error| error.to_string())?;
            if let Some(group) = groups(replace).find(|group| !has_group(&regex, group)) {
                return Err(format!(
                    "replace: the pattern has no group `{group}`; a name ends where its letters, digits and `_` end: \
                     expected `${{1}}x` for group 1 and an `x`, `$$` for a dollar sign"
                ));
            }
        }
        Ok(Self { pattern, replace })
    }

    /// What becomes of the text; `None` if it does not match.
    ///
    /// # Errors
    /// When the pattern does not compile.
    pub(crate) fn apply(&self, text: &str) -> Result<Option<String>> {
        let regex = self.pattern.compile()?;
        let Some(captures) = regex.captures(text) else {
            return Ok(None);
        };
        if let Some(replace) = &self.replace {
            let mut extracted = String::new();
            captures.expand(replace, &mut extracted);
            return Ok(Some(extracted));
        }
        let group = usize::from(captures.len() > 1);
        Ok(captures.get(group).map(|part| part.as_str().to_owned()))
    }
}

/// The groups that a replacement names.
fn groups(replace: &str) -> impl Iterator<Item = &str> {
    let mut rest = replace;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('$')?;
            if let Some(after) = after.strip_prefix('$') {
                rest = after;
                continue;
            }
            if let Some((name, after)) = after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
                rest = after;
                return Some(name);
            }
            let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
            let end = after.find(|character| !is_name(character)).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            rest = after;
            // A dollar sign that names nothing stays one.
            if !name.is_empty() {
                return Some(name);
            }
        }
    })
}

fn has_group(regex: &Regex, group: &str) -> bool {
    match group.parse::<usize>() {
        Ok(number) => number < regex.captures_len(),
        Err(_) => regex.capture_names().flatten().any(|name| name == group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_names_groups_as_the_expansion_reads_them() {
        let named = |replace| groups(replace).collect::<Vec<_>>();
        assert_eq!(named("$1-${name}$2x$$3 $ ${0}"), ["1", "name", "2x", "0"]);
        assert_eq!(named("costs $"), [""; 0]);
    }

    #[test]
    fn each_named_group_is_what_the_expansion_puts_there() {
        let regex = Regex::new(r"(?<name>a)(b)?").unwrap();
        let captures = regex.captures("a").unwrap();
        for replace in ["$1", "${name}", "$name-", "$1x", "$$1", "$", "${", "$ 1", "${none}"] {
            let mut expanded = String::new();
            captures.expand(replace, &mut expanded);
            let all_exist = groups(replace).all(|group| has_group(&regex, group));
            assert_eq!(all_exist, !expanded.is_empty(), "{replace} -> {expanded:?}");
        }
    }
}
