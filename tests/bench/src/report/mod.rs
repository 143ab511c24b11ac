//! What a run says: tables on the terminal, and `benchmarks.md` with charts for the documentation.

mod chart;
pub mod machine;
mod sections;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::figures::Figure;
use crate::results::Results;
use crate::rounds::{USUAL_CONNECTIONS, new_tokens, repeated};
use crate::statistics::Summary;
use crate::subjects::CLAIMSMITH;
use chart::Bar;
use table::{number, spread, table};

/// What is written by hand and stands in the report.
const NOTES: &str = include_str!("../../notes.md");

/// The figures and the throughput, for a terminal.
#[must_use]
pub fn terminal(results: &Results, figures: &[Figure]) -> String {
    format!("{}\n\n{}", figures_table(figures), sections::throughput(results))
}

/// Writes `benchmarks.md` and its charts into a directory.
///
/// # Errors
/// When it cannot be written.
pub fn write(results: &Results, figures: &[Figure], directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let write = |name: &str, text: String| {
        let file = directory.join(name);
        fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))
    };
    write("benchmarks.md", document(results, figures))?;
    let usual = repeated(USUAL_CONNECTIONS).name();
    write(
        "benchmarks.svg",
        throughput_chart(results, &usual, "Callouts a second on one core, the same token again"),
    )?;
    write(
        "benchmarks-new-tokens.svg",
        throughput_chart(
            results,
            &new_tokens().name(),
            "Callouts a second on one core, a new token each",
        ),
    )
}

fn document(results: &Results, figures: &[Figure]) -> String {
    let parts = [
        sections::introduction(results),
        figures_table(figures),
        sections::charts(),
        sections::machine(results),
        sections::subjects(results),
        sections::closed_loops(results),
        sections::open_loops(results),
        sections::scale(results),
        sections::shape(results),
        sections::reload(results),
        sections::missing(results),
        NOTES.trim().to_owned(),
    ];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("\n\n")
        + "\n"
}

fn figures_table(figures: &[Figure]) -> String {
    let rows: Vec<_> = figures
        .iter()
        .map(|figure| {
            let summary = figure
                .value
                .zip(figure.spread)
                .map(|(median, [min, max])| Summary { median, min, max });
            let met = match figure.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "not measured",
            };
            let unit = if figure.unit == "ratio" { "" } else { figure.unit };
            vec![
                figure.figure.to_owned(),
                format!("{} {unit}", figure.bar).trim_end().to_owned(),
                spread(summary),
                met.to_owned(),
            ]
        })
        .collect();
    table(["figure", "bar", "median (smallest to largest)", "met"], &rows, 4)
}

/// Throughput at a point, with Claimsmith's multiple of it.
fn throughput_chart(results: &Results, point: &str, title: &str) -> String {
    let per_second = |subject: &str| results.values(subject, point, |sample| sample.load.per_second);
    let ours = per_second(CLAIMSMITH);
    let mut bars: Vec<_> = results
        .subjects
        .iter()
        .filter_map(|(name, title)| {
            let theirs = per_second(name);
            let value = Summary::of(theirs.iter().copied())?.median;
            let is_ours = name == CLAIMSMITH;
            let ratio = Summary::by_round(&ours, &theirs, |ours, theirs| ours / theirs);
            let ratio = ratio.filter(|_| !is_ours).map_or_else(String::new, |ratio| {
                format!(" · Claimsmith does {}×", number(ratio.median))
            });
            Some(Bar {
                label: title.replace('`', ""),
                value,
                note: format!("{}{ratio}", number(value)),
                is_ours,
            })
        })
        .collect();
    bars.sort_by(|first, second| second.value.total_cmp(&first.value));
    let subtitle = format!("{point}; median of {} rounds", results.rounds);
    chart::bars(title, &subtitle, &bars)
}
