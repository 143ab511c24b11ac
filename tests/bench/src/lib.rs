//! The benchmark: the shipped server, a native twin that differs in the sandbox alone, a floor, and what one would use
//! instead, all on one core of one machine in one run, called over HTTP by a load generator on another.
//!
//! `cargo xtask bench` builds what is measured and runs it. Every number comes from several rounds that are interleaved
//! over the subjects, and ratios are taken within a round, so that what else the machine does falls on all of them.
//! Every answer is compared with the expected one; a wrong one fails the run.

pub mod configuration;
pub mod conformance;
pub mod entra;
pub mod figures;
pub mod floor;
pub mod host_calls;
pub mod load;
pub mod peers;
pub mod process;
pub mod progress;
pub mod reload;
pub mod report;
pub mod results;
pub mod rounds;
pub mod run;
pub mod scale;
pub mod scenario;
pub mod shape;
pub mod statistics;
pub mod subjects;
