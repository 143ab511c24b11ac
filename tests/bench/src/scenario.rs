//! What every subject is asked, and what it must answer: the files of `tests/bench/scenario`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;
use toml::Table;

/// The path that every subject serves.
pub const PATH: &str = "/tenants/bench/extensions/claims";

/// The callout's body: a tokenIssuanceStart request of 1.5 KB.
#[must_use]
pub fn request() -> &'static str {
    include_str!("../scenario/request.json").trim_end()
}

/// The answer, as JSON; subjects may order and space it differently.
///
/// # Errors
/// When the file is not JSON.
pub fn answer() -> Result<Value> {
    serde_json::from_str(include_str!("../scenario/answer.json")).context("scenario/answer.json")
}

/// The settings of the plugin `attribute-map`: three rules.
///
/// # Errors
/// When the file is not TOML.
pub fn rules() -> Result<Table> {
    include_str!("../scenario/rules.toml")
        .parse()
        .context("scenario/rules.toml")
}

/// Settings that make so many claims, each of a part of the callout.
#[must_use]
pub fn rules_for(claims: usize) -> Table {
    const SOURCES: [&str; 4] = [
        "user.givenName",
        "user.surname",
        "user.preferredLanguage",
        "user.userType",
    ];
    let rules = SOURCES.iter().cycle().take(claims).enumerate().map(|(number, source)| {
        let mut rule = Table::new();
        rule.insert("claim".to_owned(), format!("claim{number}").into());
        rule.insert("from".to_owned(), (*source).into());
        toml::Value::from(rule)
    });
    Table::from_iter([("rules".to_owned(), toml::Value::Array(rules.collect()))])
}

/// The callout's body made this long by members that no field names, each of a kilobyte at most, or made 1 KB long by
/// leaving out what the rules do not read.
///
/// # Errors
/// When the body has another form than it should.
pub fn request_of(bytes: usize) -> Result<String> {
    let mut body: Value = serde_json::from_str(request())?;
    let context = body
        .pointer_mut("/data/authenticationContext")
        .context("no authenticationContext")?;
    if bytes < request().len() {
        context["resourceServicePrincipal"] = Value::Null;
        let user = context
            .get_mut("user")
            .and_then(Value::as_object_mut)
            .context("no user")?;
        let read = ["id", "mail", "companyName", "userPrincipalName"];
        user.retain(|member, _| read.contains(&member.as_str()));
    }
    let mut length = serde_json::to_string(&body)?.len();
    let data = body.get_mut("data").and_then(Value::as_object_mut).context("no data")?;
    for number in 0.. {
        let mut name = String::new();
        write!(name, "extra{number:03}")?;
        // Quotes, colon and comma.
        let around = name.len() + 6;
        if length + around >= bytes {
            break;
        }
        let text = (bytes - length - around).min(1024);
        data.insert(name, "x".repeat(text).into());
        length += around + text;
    }
    Ok(serde_json::to_string(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_asked() {
        for bytes in [1024, 4096, 65536] {
            let length = request_of(bytes).unwrap().len();
            assert!(length <= bytes && length + 16 > bytes, "{bytes}: {length}");
        }
    }
}
