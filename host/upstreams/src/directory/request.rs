//! From what a plugin asks to what the directory is asked: placeholders, bases, filters and attributes.

use std::collections::BTreeSet;

use claimsmith_runtime::interface::directory::{Argument, Error, SearchRequest};
use ldap3::asn1::{ASNTag as _, PL, StructureTag};
use ldap3::{Scope, dn_escape, ldap_escape, parse_filter};

use super::name::Name;

/// Bytes of a filter or a distinguished name when arguments are in it.
const MAX_TEXT_BYTES: usize = 8 << 10;
/// Parentheses within parentheses: ldap3 reads them by recursion, and so do directories.
const MAX_FILTER_DEPTH: usize = 16;
const MAX_ARGUMENTS: usize = 64;
const MAX_ATTRIBUTES: usize = 64;
/// "No attributes" (RFC 4511, section 4.5.1.8). An empty list would be all of them.
const NO_ATTRIBUTES: &str = "1.1";
/// What every entry has, and most filters name.
const OBJECT_CLASS: &str = "objectClass";

/// What plugins may ask for.
#[derive(Debug)]
pub(super) struct Rules {
    /// As the operator wrote it, and as it is compared.
    pub(super) base: String,
    pub(super) base_name: Name,
    /// In lower case; `None` for all.
    pub(super) attributes: Option<BTreeSet<String>>,
}

/// A search that may be sent.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) base: String,
    /// Whether the plugin chose the base: one that does not exist is no mistake of the configuration then.
    pub(super) has_own_base: bool,
    pub(super) scope: Scope,
    pub(super) filter: String,
    pub(super) attributes: Vec<String>,
}

impl Rules {
    /// Whether a search may be sent, and what is sent.
    ///
    /// # Errors
    /// What is malformed or not allowed.
    pub(super) fn search(&self, request: SearchRequest, scope: Scope) -> Result<Search, Error> {
        let mut arguments = Arguments::new(&request.arguments)?;
        let has_own_base = request.base.is_some();
        let base = match &request.base {
            Some(base) => {
                let base = arguments.fill("base", base, &[',', '+'], |value| dn_escape(value).into_owned())?;
                self.check_name("base", &base)?;
                base
            }
            None => self.base.clone(),
        };
        let filter = arguments.fill("filter", &request.filter, &['(', ')'], |value| {
            ldap_escape(value).into_owned()
        })?;
        arguments.all_used()?;
        self.check_filter(&filter)?;
        let attributes = self.attributes(request.attributes)?;
        Ok(Search {
            base,
            has_own_base,
            scope,
            filter,
            attributes,
        })
    }

    /// Whether a name is at the base or below it.
    ///
    /// # Errors
    /// It is not, or is no name.
    pub(super) fn check_name(&self, what: &str, name: &str) -> Result<(), Error> {
        if name.len() > MAX_TEXT_BYTES {
            return Err(too_long(what));
        }
        let name = Name::parse(name).map_err(|why| {
            Error::Invalid(format!(
                "the {what} {why}: expected a distinguished name (RFC 4514), such as uid=ada,{}",
                self.base
            ))
        })?;
        if name.is_within(&self.base_name) {
            return Ok(());
        }
        Err(Error::NotAllowed(format!(
            "the {what} is outside the upstream's base, {}",
            self.base
        )))
    }

    fn check_filter(&self, filter: &str) -> Result<(), Error> {
        let mut depth = 0_usize;
        for byte in filter.bytes() {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > MAX_FILTER_DEPTH {
                let why = format!("the filter has more than {MAX_FILTER_DEPTH} parentheses within each other");
                return Err(Error::Invalid(why));
            }
        }
        let parsed = parse_filter(filter).map_err(|()| {
            Error::Invalid(
                "the filter is malformed: expected RFC 4515, such as (&(objectClass=person)(uid={uid}))".to_owned(),
            )
        })?;
        self.check_filter_attributes(&parsed.into_structure())
    }

    /// Whether a filter's attributes may be searched by: who may not read a value must not guess at it either.
    fn check_filter_attributes(&self, filter: &StructureTag) -> Result<(), Error> {
        match (filter.id, &filter.payload) {
            // and, or, not
            (0..=2, PL::C(inner)) => inner.iter().try_for_each(|inner| self.check_filter_attributes(inner)),
            // An attribute is there.
            (7, PL::P(attribute)) => self.check_filter_attribute(attribute),
            // An extensible match: the attribute is optional, and without one it is every attribute.
            (9, PL::C(members)) => match members
                .iter()
                .find(|member| member.id == 2)
                .map(|member| &member.payload)
            {
                Some(PL::P(attribute)) => self.check_filter_attribute(attribute),
                _ if self.attributes.is_none() => Ok(()),
                _ => Err(Error::NotAllowed("the filter looks at every attribute".to_owned())),
            },
            (_, PL::C(members)) => match members.first().map(|member| &member.payload) {
                Some(PL::P(attribute)) => self.check_filter_attribute(attribute),
                _ => Ok(()),
            },
            (_, PL::P(_)) => Ok(()),
        }
    }

    fn check_filter_attribute(&self, attribute: &[u8]) -> Result<(), Error> {
        let attribute = String::from_utf8_lossy(attribute);
        if attribute.eq_ignore_ascii_case(OBJECT_CLASS) {
            return Ok(());
        }
        self.check_attribute(&attribute)
    }

    fn check_attribute(&self, attribute: &str) -> Result<(), Error> {
        // What follows `;` are options, such as `;binary`.
        let name = attribute.split(';').next().unwrap_or_default().to_ascii_lowercase();
        match &self.attributes {
            Some(allowed) if !allowed.contains(&name) => Err(Error::NotAllowed(format!(
                "the upstream's `attributes` do not have `{}`",
                attribute.escape_debug()
            ))),
            _ => Ok(()),
        }
    }

    fn attributes(&self, attributes: Vec<String>) -> Result<Vec<String>, Error> {
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(Error::Invalid(format!(
                "{} attributes are wanted: expected at most {MAX_ATTRIBUTES}",
                attributes.len()
            )));
        }
        for attribute in &attributes {
            if !is_attribute(attribute) {
                return Err(Error::Invalid(format!(
                    "`{}` is no attribute: expected a name such as memberOf",
                    attribute.escape_debug()
                )));
            }
            self.check_attribute(attribute)?;
        }
        if attributes.is_empty() {
            return Ok(vec![NO_ATTRIBUTES.to_owned()]);
        }
        Ok(attributes)
    }
}

/// The form of an attribute's description (RFC 4512, section 2.5), or `*` and `+` for all of them.
pub(super) fn is_attribute(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b';' | b'=');
    matches!(name, "*" | "+") || (!name.is_empty() && name.len() <= 256 && name.bytes().all(is_allowed))
}

fn too_long(what: &str) -> Error {
    Error::Invalid(format!("the {what} has more than {MAX_TEXT_BYTES} bytes"))
}

/// What placeholders stand for.
struct Arguments<'a> {
    values: &'a [Argument],
    used: BTreeSet<&'a str>,
}

impl<'a> Arguments<'a> {
    fn new(values: &'a [Argument]) -> Result<Self, Error> {
        if values.len() > MAX_ARGUMENTS {
            let why = format!("{} arguments: expected at most {MAX_ARGUMENTS}", values.len());
            return Err(Error::Invalid(why));
        }
        for (index, Argument { name, value }) in values.iter().enumerate() {
            let shown = name.escape_debug();
            let why = if name.is_empty() || !name.bytes().all(is_name) {
                format!("`{shown}` is no argument's name: expected letters, digits, `-` and `_`")
            } else if value.is_empty() {
                format!("the argument `{shown}` is empty: it would be another filter")
            } else if values.iter().take(index).any(|other| other.name == *name) {
                format!("there are two arguments `{shown}`")
            } else {
                continue;
            };
            return Err(Error::Invalid(why));
        }
        Ok(Self {
            values,
            used: BTreeSet::new(),
        })
    }

    /// Puts values in the place of their names. `ends` is what parts of the text end with: a name is replaced behind a
    /// part's `=` alone, where whatever it stands for stays a value.
    fn fill(
        &mut self,
        what: &str,
        text: &str,
        ends: &[char],
        escape: impl Fn(&'a str) -> String,
    ) -> Result<String, Error> {
        let invalid = |why: String| Error::Invalid(format!("the {what} {why}"));
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        let mut is_value = false;
        while let Some(character) = rest.chars().next() {
            let after = rest.get(character.len_utf8()..).unwrap_or_default();
            if character != '{' {
                if character == '}' {
                    return Err(invalid(
                        "has a `}` without `{`; as a character it is written \\7d".to_owned(),
                    ));
                }
                is_value = (is_value || character == '=') && !ends.contains(&character);
                filled.push(character);
                rest = after;
                continue;
            }
            let named = after.split_once('}').filter(|(name, _)| name.bytes().all(is_name));
            let (name, after) = named.ok_or_else(|| {
                invalid("has a `{` that begins no {name}; as a character it is written \\7b".to_owned())
            })?;
            let argument = self.values.iter().find(|argument| argument.name == name);
            let argument = argument.ok_or_else(|| invalid(format!("names {{{name}}}, which no argument has")))?;
            if !is_value {
                return Err(invalid(format!("has {{{name}}} in another place than a value")));
            }
            self.used.insert(&argument.name);
            filled.push_str(&escape(&argument.value));
            rest = after;
        }
        if filled.len() > MAX_TEXT_BYTES {
            return Err(too_long(what));
        }
        Ok(filled)
    }

    fn all_used(&self) -> Result<(), Error> {
        let unused = self
            .values
            .iter()
            .find(|argument| !self.used.contains(argument.name.as_str()));
        match unused {
            Some(unused) => Err(Error::Invalid(format!(
                "neither the filter nor the base has {{{}}}",
                unused.name
            ))),
            None => Ok(()),
        }
    }
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests;
