//! The figures that the project promises, with the bar that each has to reach.

use serde::Serialize;

use crate::results::{Results, Sample, ScaleSample};
use crate::rounds::{ARRIVALS, Point, arrivals, repeated};
use crate::statistics::Summary;
use crate::subjects::{CLAIMSMITH, CLAIMSMITH_REQUIRED, FASTIFY, FASTIFY_CACHE, NATIVE_TWIN, WASMTIME_SERVE};

/// One promise. What was not measured has no value, and is neither met nor missed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What it is of.
    pub figure: &'static str,
    /// The median over the rounds.
    pub value: Option<f64>,
    /// What the value counts; `ratio` if it counts nothing.
    pub unit: &'static str,
    /// The smallest and the largest of the rounds.
    pub spread: Option<[f64; 2]>,
    /// What it has to reach.
    pub bar: String,
    /// Whether it does.
    pub met: Option<bool>,
}

/// What a value has to be.
#[derive(Clone, Copy)]
enum Bar {
    AtLeast(f64),
    Under(f64),
}

/// All figures of a run.
#[must_use]
pub fn of(results: &Results) -> Vec<Figure> {
    let mut figures = throughput(results);
    figures.push(figure(
        "p99 of claimsmith minus p99 of native twin at 50 % of maximum, open loop",
        "ms",
        Bar::Under(0.3),
        added_latency(results),
    ));
    figures.extend(scale(results));
    figures.push(figure(
        "write of a new `.wasm` to first answer on it, less its compile time",
        "ms",
        Bar::Under(300.0),
        reload(results),
    ));
    figures
}

fn throughput(results: &Results) -> Vec<Figure> {
    let ratio = |first, second, point: Point| {
        let values = |subject| results.values(subject, &point.name(), |sample: &Sample| sample.load.per_second);
        Summary::by_round(&values(first), &values(second), |first, second| first / second)
    };
    let (usual, many) = (repeated(16), repeated(64));
    vec![
        figure(
            "claimsmith / native twin, requests/s, repeated token, `best_effort` audit, 16 connections",
            "ratio",
            Bar::AtLeast(0.65),
            ratio(CLAIMSMITH, NATIVE_TWIN, usual),
        ),
        figure(
            "claimsmith / Fastify + jose with token cache",
            "ratio",
            Bar::AtLeast(1.3),
            ratio(CLAIMSMITH, FASTIFY_CACHE, usual),
        ),
        figure(
            "claimsmith / Fastify + jose without token cache",
            "ratio",
            Bar::AtLeast(4.0),
            ratio(CLAIMSMITH, FASTIFY, usual),
        ),
        figure(
            "claimsmith / `wasmtime serve` doing the same",
            "ratio",
            Bar::AtLeast(1.5),
            ratio(CLAIMSMITH, WASMTIME_SERVE, usual),
        ),
        figure(
            "`required` / `best_effort` audit, 64 connections",
            "ratio",
            Bar::AtLeast(0.6),
            ratio(CLAIMSMITH_REQUIRED, CLAIMSMITH, many),
        ),
    ]
}

/// Milliseconds by which the sandbox makes the slowest hundredth slower. Nothing where either did not keep up.
fn added_latency(results: &Results) -> Option<Summary> {
    let half = arrivals(ARRIVALS.first()?.0);
    let both = [CLAIMSMITH, NATIVE_TWIN].map(|subject| results.samples(subject, &half));
    if both
        .iter()
        .any(|samples| samples.iter().any(|sample| !sample.load.kept_up))
    {
        return None;
    }
    let [claimsmith, twin] =
        [CLAIMSMITH, NATIVE_TWIN].map(|subject| results.values(subject, &half, |sample| sample.load.p99));
    Summary::by_round(&claimsmith, &twin, |claimsmith, twin| claimsmith - twin)
}

fn scale(results: &Results) -> Vec<Figure> {
    let values = |size: (usize, usize), value: fn(&ScaleSample) -> f64| -> Vec<f64> {
        results.scale(size.0, size.1).iter().map(value).collect()
    };
    let per_second = |size| values(size, |sample| sample.sample.load.per_second);
    let kibibytes = |size| values(size, |sample| kibibytes(sample.sample.resident_bytes));
    let warm = values((1000, 100), |sample| sample.warm_start);
    let parts = |cold: f64| Summary::of(warm.iter().map(|warm| warm / cold));
    let start = "start to ready with 1,000 bindings, 100 digests, warm AOT cache";
    vec![
        figure(
            "1,000 bindings over 100 digests / 1 binding, requests/s",
            "ratio",
            Bar::AtLeast(0.6),
            Summary::by_round(&per_second((1000, 100)), &per_second((1, 1)), |many, one| many / one),
        ),
        figure(
            "resident memory per further loaded digest",
            "MiB",
            Bar::Under(0.5),
            Summary::by_round(&kibibytes((1000, 100)), &kibibytes((1000, 1)), |hundred, one| {
                (hundred - one) / 99.0 / 1024.0
            }),
        ),
        figure(
            "resident memory per further binding of a loaded digest",
            "KiB",
            Bar::Under(32.0),
            Summary::by_round(&kibibytes((1000, 100)), &kibibytes((100, 100)), |thousand, hundred| {
                (thousand - hundred) / 900.0
            }),
        ),
        figure(start, "s", Bar::Under(1.0), Summary::of(warm.iter().copied())),
        figure(
            start,
            "of the cold start",
            Bar::Under(0.02),
            results.cold_start.and_then(parts),
        ),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn kibibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

fn reload(results: &Results) -> Option<Summary> {
    let reload = results.reload.as_ref()?;
    Summary::by_round(&reload.total, &reload.compiling, |total, compiling| total - compiling)
}

fn figure(name: &'static str, unit: &'static str, bar: Bar, summary: Option<Summary>) -> Figure {
    Figure {
        figure: name,
        value: summary.map(|summary| summary.median),
        unit,
        spread: summary.map(|summary| [summary.min, summary.max]),
        bar: match bar {
            Bar::AtLeast(least) => format!("at least {least}"),
            Bar::Under(most) => format!("under {most}"),
        },
        met: summary.map(|summary| match bar {
            Bar::AtLeast(least) => summary.median >= least,
            Bar::Under(most) => summary.median < most,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(bar: Bar, value: Option<f64>) -> Option<bool> {
        figure("x", "ms", bar, Summary::of(value)).met
    }

    #[test]
    fn a_bar_is_reached_or_not_or_nothing_is_known() {
        assert_eq!(met(Bar::AtLeast(0.65), Some(0.65)), Some(true));
        assert_eq!(met(Bar::AtLeast(0.65), Some(0.64)), Some(false));
        assert_eq!(met(Bar::Under(0.3), Some(0.3)), Some(false));
        assert_eq!(met(Bar::Under(0.3), Some(-0.1)), Some(true));
        assert_eq!(met(Bar::Under(0.3), None), None);
    }
}
