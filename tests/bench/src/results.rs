//! Everything that was measured in a run, from which figures and the report are made.

use serde::{Deserialize, Serialize};

use crate::load::Measured;
use crate::report::machine::Machine;

/// One run. It is kept as JSON, so that the report can be made again from it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Where it ran.
    pub machine: Machine,
    /// Whether it was a short one, whose numbers are rough.
    pub quick: bool,
    /// How many rounds.
    pub rounds: usize,
    /// How many seconds it took.
    pub seconds: u64,
    /// What is made of what: name and version.
    pub versions: Vec<(String, String)>,
    /// The subjects that were measured: name and title.
    pub subjects: Vec<(String, String)>,
    /// What was not measured, and why.
    pub missing: Vec<(String, String)>,
    /// Closed and open loops, payloads and claims.
    pub series: Vec<Series>,
    /// Bindings and digests.
    pub scale: Vec<ScaleRow>,
    /// Seconds from the start to ready of the largest start that is a figure, with an empty cache.
    pub cold_start: Option<f64>,
    /// New versions while running.
    pub reload: Option<Reload>,
}

/// One subject under one load, in each round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// The subject's name.
    pub subject: String,
    /// What was done, as `16 connections, repeated token`.
    pub point: String,
    /// One a round.
    pub samples: Vec<Sample>,
}

/// One measurement of a server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// What the load generator measured.
    #[serde(flatten)]
    pub load: Measured,
    /// The share of the time in which the server's core was busy with it.
    pub server_busy: f64,
    /// Resident memory afterwards.
    pub resident_bytes: u64,
}

/// So many bindings over so many digests, in each round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScaleRow {
    /// Bindings, each of an extension of its own.
    pub bindings: usize,
    /// Different components.
    pub digests: usize,
    /// One a round.
    pub samples: Vec<ScaleSample>,
}

/// One start with callouts over all bindings.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ScaleSample {
    /// Seconds from the start to ready, with every component in the cache.
    pub warm_start: f64,
    /// Resident memory when it was ready.
    pub idle_bytes: u64,
    /// Callouts in turn to all bindings; memory is after that.
    #[serde(flatten)]
    pub sample: Sample,
}

/// New versions while running.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reload {
    /// Milliseconds from a new component's file to the first answer from it, one a reload.
    pub total: Vec<f64>,
    /// Of them, what the host says that compiling took.
    pub compiling: Vec<f64>,
    /// Callouts at a constant rate without anything else.
    pub quiet: Sample,
    /// The same while components were swapped.
    pub swapping: Sample,
    /// How many swaps that were.
    pub swaps: u64,
}

impl Results {
    /// Whether it measured everything thoroughly enough to be published.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.quick && self.reload.is_some() && !self.scale.is_empty()
    }

    /// A subject's title.
    #[must_use]
    pub fn title<'a>(&'a self, subject: &'a str) -> &'a str {
        let found = self.subjects.iter().find(|(name, _)| name == subject);
        found.map_or(subject, |(_, title)| title)
    }

    /// The samples of a subject at a point, one a round.
    #[must_use]
    pub fn samples(&self, subject: &str, point: &str) -> &[Sample] {
        let found = self
            .series
            .iter()
            .find(|series| series.subject == subject && series.point == point);
        found.map_or(&[], |series| &series.samples)
    }

    /// One number of the samples of a subject at a point, one a round.
    #[must_use]
    pub fn values(&self, subject: &str, point: &str, value: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples(subject, point).iter().map(value).collect()
    }

    /// Adds a sample.
    pub fn add(&mut self, subject: &str, point: &str, sample: Sample) {
        let place = self
            .series
            .iter_mut()
            .find(|series| series.subject == subject && series.point == point);
        match place {
            Some(series) => series.samples.push(sample),
            None => self.series.push(Series {
                subject: subject.to_owned(),
                point: point.to_owned(),
                samples: vec![sample],
            }),
        }
    }

    /// The samples of so many bindings over so many digests.
    #[must_use]
    pub fn scale(&self, bindings: usize, digests: usize) -> &[ScaleSample] {
        let row = self
            .scale
            .iter()
            .find(|row| (row.bindings, row.digests) == (bindings, digests));
        row.map_or(&[], |row| &row.samples)
    }
}
