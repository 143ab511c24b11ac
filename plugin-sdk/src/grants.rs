//! Upstreams in settings: a grant that is missing is found when settings are checked.

use std::cell::RefCell;

use serde::Deserialize as _;
use serde::de::{Deserializer, Error as _};

pub(crate) use crate::bindings::grants::Kind;
use crate::{host, settings};

/// Reads the name of an upstream. While settings are being checked, the binding must have been granted it.
pub(crate) fn deserialize_name<'de, D: Deserializer<'de>>(deserializer: D, kind: Kind) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if settings::are_being_checked() {
        check(&name, kind).map_err(D::Error::custom)?;
    }
    Ok(name)
}

thread_local! {
    /// What is wrong with upstreams that settings name by default, where no reader can say it.
    static WRONG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes the name of an upstream that is made while settings are being checked: one that is used when they name none.
pub(crate) fn note(name: &str, kind: Kind) {
    if settings::are_being_checked()
        && let Err(message) = check(name, kind)
    {
        WRONG.with_borrow_mut(|wrong| wrong.push(message));
    }
}

/// What was noted, which is forgotten.
pub(crate) fn take_wrong() -> Vec<String> {
    WRONG.take()
}

fn check(name: &str, kind: Kind) -> Result<(), String> {
    let Some(granted) = host::granted_upstreams() else {
        return Ok(());
    };
    match granted.iter().find(|upstream| upstream.name == name) {
        Some(upstream) if upstream.kind == kind => Ok(()),
        Some(upstream) => Err(format!(
            "upstream `{name}` is of kind `{}`: expected one of kind `{}`",
            kind_name(upstream.kind),
            kind_name(kind)
        )),
        None => {
            let names: Vec<_> = granted.iter().map(|upstream| upstream.name.as_str()).collect();
            let granted = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            Err(format!(
                "upstream `{name}` is not among the binding's `upstreams` ({granted}): expected `upstreams = [\"{name}\"]` there"
            ))
        }
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "http",
        Kind::Sql => "sql",
        Kind::Directory => "directory",
        Kind::Mail => "mail",
    }
}
