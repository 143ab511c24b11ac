//! A binding's settings, from TOML to the JSON that plugins read.

use serde_json::{Map, Number, Value};

/// The settings as one JSON object.
///
/// # Errors
/// The path and the reason of a value that JSON does not have.
pub(crate) fn to_json(settings: &toml::Table) -> Result<String, (String, String)> {
    object(settings, "").map(|object| Value::Object(object).to_string())
}

fn object(table: &toml::Table, path: &str) -> Result<Map<String, Value>, (String, String)> {
    let member = |(name, value): (&String, &toml::Value)| {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        Ok((name.clone(), json(value, path)?))
    };
    table.iter().map(member).collect()
}

fn json(value: &toml::Value, path: String) -> Result<Value, (String, String)> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Integer(number) => Value::Number((*number).into()),
        toml::Value::Float(number) => match Number::from_f64(*number) {
            Some(number) => Value::Number(number),
            None => return Err((path, format!("{number} is not a number that JSON has"))),
        },
        toml::Value::Boolean(value) => Value::Bool(*value),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => {
            let items = items.iter().enumerate();
            Value::Array(
                items
                    .map(|(index, item)| json(item, format!("{path}[{index}]")))
                    .collect::<Result<_, _>>()?,
            )
        }
        toml::Value::Table(table) => Value::Object(object(table, &path)?),
    })
}
