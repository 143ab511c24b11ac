//! The sections of the report.

use super::table::{median, number, spread, table};
use crate::host_calls::POINTS;
use crate::results::{Results, Sample};
use crate::rounds::{ARRIVALS, CONNECTIONS, arrivals, new_tokens, repeated};
use crate::scale::mebibytes;
use crate::shape::{CLAIMS, PAYLOADS, claims, payload};
use crate::statistics::Summary;
use crate::subjects::{CLAIMSMITH, NATIVE_TWIN};

pub(super) fn introduction(results: &Results) -> String {
    let kind = if results.is_whole() {
        ""
    } else {
        " This was a short or partial run: its numbers are rough."
    };
    format!(
        "# Benchmarks

Written by `cargo xtask bench`; edits are lost.{kind} Every number is the median over rounds that are interleaved over
the subjects ({} of them), with the smallest and the largest. Ratios are taken within a round, and are what should be quoted: the machine's
speed is in every absolute number.",
        results.rounds
    )
}

pub(super) fn charts() -> String {
    "![Callouts a second, the same token again](benchmarks.svg)

![Callouts a second, a new token each](benchmarks-new-tokens.svg)"
        .to_owned()
}

pub(super) fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let siblings = match machine.siblings {
        Some(true) => "threads of one physical core",
        Some(false) => "physical cores, or shown as such",
        None => "unknown",
    };
    let versions: Vec<_> = results
        .versions
        .iter()
        .map(|(what, version)| format!("{what} {version}"))
        .collect();
    format!(
        "## Machine and versions

| | |
|---|---|
| CPU | {}{}, {} cores ({siblings}) |
| memory | {} MiB |
| system | {}, Linux {} |
| versions | {} |
| duration of the run | {} minutes |",
        machine.cpu,
        if machine.is_virtual { ", virtual machine" } else { "" },
        machine.cores,
        machine.memory_mib,
        machine.system,
        machine.kernel,
        versions.join(", "),
        results.seconds.div_ceil(60),
    )
}

pub(super) fn subjects(results: &Results) -> String {
    let busy = |subject: &str, point: &str, value: fn(&Sample) -> f64| {
        Summary::of(results.values(subject, point, value))
            .map_or_else(|| "–".to_owned(), |summary| format!("{:.0} %", summary.median * 100.0))
    };
    let many = repeated(64).name();
    let rows: Vec<_> = results
        .subjects
        .iter()
        .map(|(name, title)| {
            let memory = results.values(name, &many, |sample| mebibytes(sample.resident_bytes));
            vec![
                title.clone(),
                busy(name, &many, |sample| sample.server_busy),
                busy(name, &many, |sample| sample.load.generator_busy),
                median(Summary::of(memory)),
            ]
        })
        .collect();
    let table = table(
        ["subject", "server's core", "generator's core", "resident, MiB"],
        &rows,
        1,
    );
    format!(
        "## What is compared

Each subject runs alone, with every thread on one core; the load generator, one thread, has the other, and never sleeps, or
the subjects' core would pay for waking it. Callouts are real HTTP/1.1 over kept connections: a tokenIssuanceStart body of 1.5 KB, and a bearer token signed with RS256 and a key of
2,048 bits. Every answer is compared byte by byte with the right one, and a wrong one ends the run. Before it is measured,
a subject must answer the good callout as expected and refuse a token that is missing, forged, expired, for another
audience or of another caller, and a body that is cut off, of another tenant or without correlation id.

- **Claimsmith** is the release build as it ships, with its defaults: every check, a fresh instance for each invocation,
  the plugin `attribute-map` with three rules, the audit `best_effort` unless another is named.
- **native twin** is the same server with the plugin's code linked in, so that the difference is the sandbox alone.
- **floor** reads the body and answers a constant: what HTTP alone costs. It validates nothing.
- The others validate the same and answer the same claims, each as its own ecosystem does it
  (`tests/bench/peers`).

How busy both cores were at 64 connections: as long as the server's is busy and the generator's is not, it is the server
that is measured.

{table}"
    )
}

pub(super) fn throughput(results: &Results) -> String {
    let points: Vec<_> = CONNECTIONS.into_iter().map(repeated).chain([new_tokens()]).collect();
    let rows: Vec<_> = results
        .subjects
        .iter()
        .map(|(name, title)| {
            let per_second = points.iter().map(|point| {
                spread(Summary::of(
                    results.values(name, &point.name(), |sample| sample.load.per_second),
                ))
            });
            std::iter::once(title.clone()).chain(per_second).collect()
        })
        .collect();
    let header = [
        "callouts/s",
        "1 connection",
        "16 connections",
        "64 connections",
        "16, new tokens",
    ];
    table(header, &rows, 1)
}

pub(super) fn closed_loops(results: &Results) -> String {
    let points: Vec<_> = CONNECTIONS.into_iter().map(repeated).chain([new_tokens()]).collect();
    let rows: Vec<_> = results
        .subjects
        .iter()
        .map(|(name, title)| {
            let latencies = points.iter().map(|point| {
                let of = |value: fn(&Sample) -> f64| median(Summary::of(results.values(name, &point.name(), value)));
                format!("{} / {}", of(|sample| sample.load.p50), of(|sample| sample.load.p99))
            });
            std::iter::once(title.clone()).chain(latencies).collect()
        })
        .collect();
    let header = [
        "p50 / p99, ms",
        "1 connection",
        "16 connections",
        "64 connections",
        "16, new tokens",
    ];
    let used_up = results
        .series
        .iter()
        .any(|series| series.samples.iter().any(|sample| sample.load.tokens_used_up));
    let note = if used_up {
        "\n\nWhere a subject was faster than tokens had been signed for it, its measurement with new tokens ended with the \
         last of them; no token was sent twice."
    } else {
        ""
    };
    format!(
        "## Closed loops

Each connection sends its next callout when it has its answer. The first three columns send one token again and again,
which whoever remembers validated tokens checks once; the last sends another token each time.

{}

{}{note}",
        throughput(results),
        table(header, &rows, 1)
    )
}

pub(super) fn open_loops(results: &Results) -> String {
    let mut rows = Vec::new();
    for (share, _) in ARRIVALS {
        for subject in [CLAIMSMITH, NATIVE_TWIN] {
            let point = arrivals(share);
            let samples = results.samples(subject, &point);
            if samples.is_empty() {
                continue;
            }
            let of = |value: fn(&Sample) -> f64| Summary::of(samples.iter().map(value));
            let kept_up = samples.iter().all(|sample| sample.load.kept_up);
            rows.push(vec![
                format!("{share}, {}", results.title(subject)),
                median(of(|sample| sample.load.per_second)),
                spread(of(|sample| sample.load.p50)),
                spread(of(|sample| sample.load.p99)),
                spread(of(|sample| sample.load.p999)),
                if kept_up { "yes" } else { "**no**" }.to_owned(),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = ["arrivals", "callouts/s", "p50, ms", "p99, ms", "p99.9, ms", "kept up"];
    format!(
        "## Open loops

Callouts arrive at a constant rate, whatever the server does: at parts of the most that Claimsmith answered in a closed
loop, the same for both. A callout's latency counts from when it was due, so that a stall is charged to everything that
waited for it.

{}",
        table(header, &rows, 1)
    )
}

pub(super) fn scale(results: &Results) -> String {
    if results.scale.is_empty() {
        return String::new();
    }
    let mut rows: Vec<_> = results.scale.iter().collect();
    rows.sort_by_key(|row| (row.bindings, row.digests));
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let of = |value: fn(&crate::results::ScaleSample) -> f64| Summary::of(row.samples.iter().map(value));
            let least = |text: usize| number_of(text);
            vec![
                least(row.bindings),
                least(row.digests),
                spread(of(|sample| sample.sample.load.per_second)),
                median(of(|sample| sample.sample.load.p50)),
                median(of(|sample| sample.sample.load.p99)),
                median(of(|sample| sample.warm_start)),
                median(of(|sample| mebibytes(sample.idle_bytes))),
                median(of(|sample| mebibytes(sample.sample.resident_bytes))),
                row.samples.len().to_string(),
            ]
        })
        .collect();
    let header = [
        "bindings",
        "digests",
        "callouts/s",
        "p50, ms",
        "p99, ms",
        "warm start, s",
        "MiB at start",
        "MiB after",
        "rounds",
    ];
    let cold = results.cold_start.map_or_else(String::new, |seconds| {
        format!(
            " With an empty cache, 1,000 bindings over 100 digests are ready after {} s.",
            number(seconds)
        )
    });
    format!(
        "## Bindings and digests

16 connections call all bindings in turn, each an extension of its own, in up to 100 tenants. Digests are `attribute-map`
with another number in a custom section: the same code, which nothing shares. Memory is `Rss` of `/proc/PID/smaps_rollup`,
when the host is ready and after every binding has been called; the figures take the latter. A warm start has every
component in the cache of compiled plugins, and files that were not changed in its last seconds.{cold}

{}",
        table(header, &rows, 0)
    )
}

fn number_of(count: usize) -> String {
    number(f64::from(u32::try_from(count).unwrap_or(u32::MAX)))
        .replace(".00", "")
        .replace(".0", "")
}

pub(super) fn shape(results: &Results) -> String {
    let points = PAYLOADS.into_iter().map(payload).chain(CLAIMS.into_iter().map(claims));
    let rows: Vec<_> = points
        .filter(|point| !results.samples(CLAIMSMITH, point).is_empty())
        .map(|point| {
            let per_second = |subject| results.values(subject, &point, |sample| sample.load.per_second);
            let (claimsmith, twin) = (per_second(CLAIMSMITH), per_second(NATIVE_TWIN));
            vec![
                point,
                spread(Summary::of(claimsmith.iter().copied())),
                spread(Summary::of(twin.iter().copied())),
                spread(Summary::by_round(&claimsmith, &twin, |claimsmith, twin| {
                    claimsmith / twin
                })),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        "16 connections",
        "Claimsmith, callouts/s",
        "native twin, callouts/s",
        "ratio",
    ];
    format!(
        "## Payload and claims

Bodies are made longer by members that no field names, of which a plugin is given the first 64; claims are copies of
members of the user.

{}",
        table(header, &rows, 1)
    )
}

pub(super) fn host_calls(results: &Results) -> String {
    let rows: Vec<_> = POINTS
        .into_iter()
        .map(|point| (point, results.samples(CLAIMSMITH, &point.name())))
        .filter(|(_, samples)| !samples.is_empty())
        .map(|(point, samples)| {
            let of = |value: fn(&Sample) -> f64| Summary::of(samples.iter().map(value));
            vec![
                point.calls.to_string(),
                if point.calls == 0 {
                    "–".to_owned()
                } else {
                    point.milliseconds.to_string()
                },
                spread(of(|sample| sample.load.per_second)),
                median(of(|sample| sample.load.p50)),
                median(of(|sample| sample.load.p99)),
                median(of(|sample| sample.server_busy * 100.0)),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        "host calls",
        "upstream answers after, ms",
        "callouts/s",
        "p50, ms",
        "p99, ms",
        "server's core, %",
    ];
    format!(
        "## Host calls

The plugin `http-caller` asks an HTTP upstream so many times, one after the other, over the host's kept connections, and
answers a claim of the last response; 16 connections. The upstream is an axum server on loopback that answers 15 bytes of
JSON at once or after 20 ms. It runs on the load generator's core and shares it, so that the callouts/s of one that answers
at once are fewer than with an upstream elsewhere.

{}",
        table(header, &rows, 0)
    )
}

pub(super) fn reload(results: &Results) -> String {
    let Some(reload) = &results.reload else {
        return String::new();
    };
    let less = Summary::by_round(&reload.total, &reload.compiling, |total, compiling| total - compiling);
    let rows = [
        (
            "from a new file to the first answer from it, ms",
            Summary::of(reload.total.iter().copied()),
        ),
        ("of them compiling, ms", Summary::of(reload.compiling.iter().copied())),
        ("less compiling, ms", less),
    ]
    .map(|(what, summary)| vec![what.to_owned(), spread(summary)]);
    let (quiet, swapping) = (reload.quiet.load, reload.swapping.load);
    format!(
        "## Reload

A component is replaced by one with another digest and another answer, {} times. The wait for files to be quiet
(`watch.debounce`, 200 ms by default) is part of it.

{}

At {} callouts/s, an open loop at 30 % of the maximum, p99 is {} ms and p99.9 {} ms. While components are swapped one after the other ({} times),
each of which is compiled on the server's own core, they are {} ms and {} ms. Every answer was right.",
        reload.total.len(),
        table(["", "median (smallest to largest)"], &rows, 1),
        number(quiet.per_second),
        number(quiet.p99),
        number(quiet.p999),
        reload.swaps,
        number(swapping.p99),
        number(swapping.p999),
    )
}

pub(super) fn missing(results: &Results) -> String {
    let lines: Vec<_> = results
        .missing
        .iter()
        .map(|(title, reason)| format!("- {title}: {reason}"))
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("## Not measured\n\n{}", lines.join("\n"))
}
