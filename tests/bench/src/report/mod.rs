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
use crate::subjects::{CLAIMSMITH, FLOOR};
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
        sections::host_calls(results),
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
        // Several times as long as the others, which would be hard to tell apart beside it.
        .filter(|(name, _)| name != FLOOR)
        .filter_map(|(name, title)| {
            let theirs = per_second(name);
            let value = Summary::of(theirs.iter().copied())?.median;
            let is_ours = name == CLAIMSMITH;
            let ratio = Summary::by_round(&ours, &theirs, |ours, theirs| ours / theirs);
            let ratio = ratio
                .filter(|_| !is_ours)
                .map_or_else(String::new, |ratio| format!(" · {}×", number(ratio.median)));
            Some(Bar {
                label: title.replace('`', ""),
                value,
                note: format!("{}{ratio}", number(value)),
                is_ours,
            })
        })
        .collect();
    bars.sort_by(|first, second| second.value.total_cmp(&first.value));
    let floor = Summary::of(per_second(FLOOR)).map_or_else(String::new, |floor| {
        format!("; a constant without any check: {}", number(floor.median))
    });
    let subtitle = format!("{point}; × is how much of it Claimsmith does{floor}");
    chart::bars(title, &subtitle, &bars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Measured;
    use crate::results::Sample;
    use crate::subjects::NATIVE_TWIN;
    use machine::Machine;

    fn sample(per_second: f64) -> Sample {
        Sample {
            load: Measured {
                requests: 1,
                seconds: 1.0,
                per_second,
                p50: 1.0,
                p99: 2.0,
                p999: 3.0,
                max: 4.0,
                generator_busy: 0.5,
                kept_up: true,
                tokens_used_up: false,
            },
            server_busy: 1.0,
            resident_bytes: 1 << 20,
        }
    }

    /// Two subjects in three rounds, of which the machine was slow in the second.
    fn results() -> Results {
        let mut results = Results {
            machine: Machine::read().unwrap(),
            quick: true,
            partial: true,
            rounds: 3,
            seconds: 61,
            versions: vec![("fastify".to_owned(), "5".to_owned())],
            subjects: [CLAIMSMITH, NATIVE_TWIN]
                .map(|name| (name.to_owned(), name.to_owned()))
                .to_vec(),
            missing: vec![("FastAPI".to_owned(), "python3 cannot be started".to_owned())],
            series: Vec::new(),
            scale: Vec::new(),
            cold_start: None,
            reload: None,
        };
        let usual = repeated(USUAL_CONNECTIONS).name();
        for machine in [1.0, 0.1, 1.0] {
            results.add(CLAIMSMITH, &usual, sample(7000.0 * machine));
            results.add(NATIVE_TWIN, &usual, sample(10_000.0 * machine));
        }
        results
    }

    #[test]
    fn the_report_says_what_was_measured_and_what_was_not() {
        let results = results();
        let figures = crate::figures::of(&results);
        let document = document(&results, &figures);
        let twin = "| at least 0.65                | 0.70 (0.70 to 0.70)          | yes          |";
        for part in [
            twin,
            "| not measured |",
            "- FastAPI: python3 cannot be started",
            "What did not help",
            "fastify 5",
        ] {
            assert!(document.contains(part), "{part}:\n{document}");
        }
        // There is no section of what has no numbers.
        assert!(
            !document.contains("## Reload") && !document.contains("## Open loops"),
            "{document}"
        );
    }

    #[test]
    fn a_chart_has_a_bar_for_each_subject() {
        let chart = throughput_chart(&results(), &repeated(USUAL_CONNECTIONS).name(), "Callouts");
        assert_eq!(chart.matches("<rect").count(), 2, "{chart}");
        assert!(chart.contains("10,000 · 0.70×"), "{chart}");
    }
}
