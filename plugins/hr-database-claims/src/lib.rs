//! Adds what a database knows of the user to the token.
//!
//! One statement is executed, with members of the callout as its parameters; columns become claims. See the README for the
//! settings.

mod settings;

use claimsmith_plugin::sql::{Row, Rows, Value};
use claimsmith_plugin::{Callout, ClaimValue, Claims, Context as _, Error, Result, log};

use crate::settings::{Claim, Missing, Settings, Unmapped};

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    let Some(parameters) = parameters(callout, settings) else {
        return without_rows(settings, "the callout does not have all parameters");
    };
    let database = &settings.database;
    let rows = database.query(settings.statement.as_str(), &parameters)?;
    if rows.is_empty() {
        return without_rows(settings, "the database does not know the user");
    }
    let mut claims = Claims::new();
    for (id, claim) in &settings.claims {
        if let Some(value) = value(&rows, claim).context(format_args!("claim `{id}`"))? {
            claims.insert(id, value);
        }
    }
    Ok(claims)
}

/// The parameters, if the callout has a value for each.
fn parameters(callout: &Callout, settings: &Settings) -> Option<Vec<Value>> {
    let paths = settings.parameters.iter();
    paths.map(|path| callout.get(path).map(Value::from)).collect()
}

/// The answer for a user of whom there are no rows.
fn without_rows(settings: &Settings, why: &str) -> Result<Claims> {
    log::debug!("{why}");
    match settings.missing {
        Missing::Omit => Ok(settings
            .defaults
            .iter()
            .map(|(id, value)| (id, value.as_str()))
            .collect()),
        Missing::Reject => Err(Error::rejected(why)),
    }
}

/// A claim's value, if it has one.
fn value(rows: &Rows, claim: &Claim) -> Result<Option<ClaimValue>> {
    if !claim.all_rows {
        let first = rows.first().map(|row| cell(row, claim)).transpose()?.flatten();
        return Ok(first.map(ClaimValue::from));
    }
    let mut values = Vec::new();
    for row in rows.iter() {
        // A few values at most: a token holds no more.
        values.extend(cell(row, claim)?.filter(|value| !values.contains(value)));
    }
    Ok(Some(values.into()))
}

/// What a claim makes of a row.
fn cell(row: Row<'_>, claim: &Claim) -> Result<Option<String>> {
    let column = claim.column.as_str();
    let value = row.get(column);
    let value = value.ok_or_else(|| Error::internal(format!("the statement gives no column `{column}`")))?;
    let text = match value {
        Value::Null => return Ok(None),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Text(text) => text.clone(),
        Value::Bytes(_) => {
            return Err(Error::internal(format!(
                "column `{column}` holds bytes: expected text or a number"
            )));
        }
    };
    Ok(match &claim.map {
        None => Some(text),
        Some(map) => match (map.get(&text), claim.unmapped) {
            (Some(mapped), _) => Some(mapped.clone()),
            (None, Unmapped::Keep) => Some(text),
            (None, Unmapped::Drop) => None,
        },
    })
}

#[cfg(test)]
mod tests;
