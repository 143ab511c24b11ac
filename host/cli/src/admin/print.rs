//! The answers of the admin API, for people.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

/// Prints an answer as JSON, or as people read it.
pub(super) fn answer(
    answer: &Value,
    json: bool,
    print: impl FnOnce(&Value, &mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let mut output = std::io::stdout().lock();
    if json {
        writeln!(output, "{}", serde_json::to_string_pretty(answer)?)?;
    } else {
        print(answer, &mut output)?;
    }
    Ok(())
}

/// A member as text; `-` when there is none. What others wrote cannot break a line.
fn text(of: &Value, name: &str) -> String {
    let text = match of.get(name) {
        None | Some(Value::Null) => return "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

fn list<'v>(of: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn members<'v>(of: &'v Value, name: &str) -> impl Iterator<Item = (&'v String, &'v Value)> + use<'v> {
    of.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn texts(of: &Value, name: &str) -> Vec<String> {
    list(of, name).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn is_true(of: &Value, name: &str) -> bool {
    of.get(name).and_then(Value::as_bool).unwrap_or_default()
}

pub(super) fn pushed(answer: &Value, output: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        output,
        "{}@{} {} {} bytes, calls itself {}, {}",
        text(answer, "plugin"),
        text(answer, "version"),
        text(answer, "digest"),
        text(answer, "bytes"),
        text(answer, "describes_itself_as"),
        match (answer.get("signed"), is_true(answer, "has_signature")) {
            (Some(signed), _) => format!("signed by {}", text(signed, "key")),
            (None, true) => "signed, which nobody has checked".to_owned(),
            (None, false) => "not signed".to_owned(),
        },
    )?;
    let (plugin, itself) = (text(answer, "plugin"), text(answer, "describes_itself_as"));
    if itself.split(' ').next() != Some(&plugin) {
        writeln!(
            output,
            "warning: it calls itself {itself}: is it the right file for plugin {plugin}?"
        )?;
    }
    if is_true(answer, "needs_signature") && !is_true(answer, "has_signature") {
        writeln!(
            output,
            "warning: the tenant runs nothing that is not signed; sign it with `minisign -S -m FILE` and push it again"
        )?;
    }
    Ok(())
}

pub(super) fn activated(answer: &Value, output: &mut dyn Write) -> std::io::Result<()> {
    let plan = answer.get("plan").unwrap_or(&Value::Null);
    if list(plan, "plugins").next().is_none() {
        writeln!(output, "nothing changes: these versions are active")?;
    }
    for plugin in list(plan, "plugins") {
        let (from, to) = (plugin.get("from"), plugin.get("to").unwrap_or(&Value::Null));
        let version = |of: &Value| {
            let bytes = of
                .get("bytes")
                .map(|bytes| format!(", {bytes} bytes"))
                .unwrap_or_default();
            format!("{} ({:.12}{bytes})", text(of, "version"), text(of, "digest"))
        };
        let from = from.map_or_else(|| "nothing".to_owned(), version);
        writeln!(output, "{}: {from} -> {}", text(plugin, "plugin"), version(to))?;
        if to.get("describes_itself_as").is_some() {
            writeln!(output, "  calls itself {}", text(to, "describes_itself_as"))?;
        } else {
            writeln!(output, "  warning: no binding names this plugin, so it serves nothing")?;
        }
        if let Some(signed) = to.get("signed") {
            writeln!(
                output,
                "  signed by {}: {}",
                text(signed, "key"),
                text(signed, "trusted_comment")
            )?;
        }
        for (name, sign) in [("imports_added", '+'), ("imports_removed", '-')] {
            for import in texts(plugin, name) {
                writeln!(output, "  {sign} import {import}")?;
            }
        }
    }
    for binding in list(plan, "bindings") {
        let new = if is_true(binding, "added") { " (new)" } else { "" };
        writeln!(
            output,
            "binding {} of {}{new}",
            text(binding, "plugin"),
            text(binding, "extension")
        )?;
        for (name, what) in [
            ("settings_changed", "~ setting"),
            ("upstreams_added", "+ upstream"),
            ("upstreams_removed", "- upstream"),
        ] {
            for value in texts(binding, name) {
                writeln!(output, "  {what} {value}")?;
            }
        }
    }
    match answer.get("generation") {
        Some(generation) => writeln!(output, "active since generation {generation}"),
        None => writeln!(output, "nothing was changed"),
    }
}

pub(super) fn forgotten(answer: &Value, output: &mut dyn Write) -> std::io::Result<()> {
    writeln!(output, "forgotten, with its versions: {}", text(answer, "versions"))
}

pub(super) fn versions(answer: &Value, output: &mut dyn Write) -> std::io::Result<()> {
    for version in list(answer, "versions") {
        writeln!(
            output,
            "{} {}@{} {} {} bytes, pushed {} by {}{}{}",
            if is_true(version, "active") { "*" } else { " " },
            text(version, "plugin"),
            text(version, "version"),
            text(version, "digest"),
            text(version, "bytes"),
            text(version, "pushed"),
            text(version, "actor"),
            if is_true(version, "has_signature") {
                ", signed"
            } else {
                ""
            },
            if is_true(version, "is_missing") {
                ", its file is missing: push it again"
            } else {
                ""
            },
        )?;
    }
    Ok(())
}

pub(super) fn status(answer: &Value, output: &mut dyn Write) -> std::io::Result<()> {
    if members(answer, "tenants").next().is_none() {
        return writeln!(
            output,
            "no tenant to show: the service has none, or your roles let you look at none"
        );
    }
    for (name, tenant) in members(answer, "tenants") {
        match tenant.get("managed") {
            Some(_) => writeln!(output, "{name} (plugins managed by {})", text(tenant, "managed"))?,
            None => writeln!(output, "{name} (its tenant.toml does not say what manages its plugins)")?,
        }
        for mistake in texts(tenant, "mistakes") {
            writeln!(output, "  mistake: {mistake}")?;
        }
        for active in list(tenant, "active") {
            writeln!(
                output,
                "  active {}@{} since {} by {}, before {}",
                text(active, "plugin"),
                text(active, "version"),
                text(active, "since"),
                text(active, "actor"),
                text(active, "previous"),
            )?;
        }
        for (extension, status) in members(tenant, "extensions") {
            writeln!(output, "  {extension}: {}", text(status, "event"))?;
            for binding in list(status, "bindings") {
                writeln!(
                    output,
                    "    {} {} {:.12} breaker {}",
                    text(binding, "plugin"),
                    text(binding, "version"),
                    text(binding, "digest"),
                    text(binding, "breaker"),
                )?;
            }
        }
    }
    Ok(())
}

pub(super) fn log(answer: &Value, output: &mut dyn Write) -> std::io::Result<()> {
    for line in list(answer, "lines") {
        let detail = text(line, "detail");
        writeln!(
            output,
            "{} {} {} {} {}/{}@{} {}: {}{}",
            text(line, "seq"),
            text(line, "time"),
            text(line, "actor"),
            text(line, "action"),
            text(line, "tenant"),
            text(line, "plugin"),
            text(line, "version"),
            text(line, "result"),
            text(line, "reason"),
            if detail.is_empty() {
                String::new()
            } else {
                format!(" ({detail})")
            },
        )?;
    }
    Ok(())
}
