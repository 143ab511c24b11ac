//! From a place in the configuration to `file:line`.

use std::fmt;

use toml::de::{DeTable, DeValue};

use super::Error;

/// One thing that is wrong, and where.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) place: Place,
    pub(super) message: String,
}

/// A path into the document, such as `directories[0].listeners[1].extension`.
#[derive(Debug, Clone, Default)]
pub(super) struct Place(Vec<Step>);

#[derive(Debug, Clone, Copy)]
enum Step {
    Member(&'static str),
    Index(usize),
}

// === impl Place ===

impl Place {
    pub(super) fn member(&self, name: &'static str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Member(name));
        Self(steps)
    }

    pub(super) fn item(&self, name: &'static str, index: usize) -> Self {
        let mut place = self.member(name);
        place.0.push(Step::Index(index));
        place
    }

    /// Where the deepest part of this path that is written in the text begins.
    fn offset(&self, text: &str) -> usize {
        let Ok(document) = DeTable::parse(text) else { return 0 };
        let mut offset = document.span().start;
        let mut table = Some(document.get_ref());
        let mut array = None;
        for step in &self.0 {
            let found = match (step, table, array) {
                (Step::Member(name), Some(members), _) => members.get(*name),
                (Step::Index(index), _, Some(items)) => {
                    let items: &toml::de::DeArray<'_> = items;
                    items.get(*index)
                }
                _ => None,
            };
            let Some(found) = found else { break };
            offset = found.span().start;
            (table, array) = match found.get_ref() {
                DeValue::Table(members) => (Some(members), None),
                DeValue::Array(items) => (None, Some(items)),
                _ => (None, None),
            };
        }
        offset
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Member(name) if position == 0 => formatter.write_str(name)?,
                Step::Member(name) => write!(formatter, ".{name}")?,
                Step::Index(index) => write!(formatter, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.message)
    }
}

/// The problem as `file:line: place: message`.
pub(super) fn describe(problem: &Problem, text: &str, name: &str) -> String {
    format!("{name}:{}: {problem}", line_of(problem.place.offset(text), text))
}

/// A parser's error as `file:line`, with the nearest known name for a member that does not exist.
pub(super) fn syntax_error(error: &toml::de::Error, text: &str, name: &str) -> Error {
    let line = line_of(error.span().map_or(0, |span| span.start), text);
    let message = match nearest_name(error.message()) {
        Some(nearest) => format!("{}; did you mean `{nearest}`?", error.message()),
        None => error.message().to_owned(),
    };
    Error::Syntax {
        place: format!("{name}:{line}"),
        message,
    }
}

fn line_of(offset: usize, text: &str) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Reads serde's "unknown field `x`, expected one of `a`, `b`" for the expected name that resembles `x` most.
fn nearest_name(message: &str) -> Option<&str> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    names
        .map(|known| (strsim::jaro_winkler(unknown, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
