//! The HTTP server: the callout pipeline (`callout.rs`, which reads like the list in ARCHITECTURE.md), health, the
//! description of itself, and the process's start and end.

mod answer;
mod attempt;
mod audit;
mod callout;
mod claims;
mod client;
pub mod controls;
mod convert;
mod course;
mod facts;
mod health;
mod invoke;
mod listener;
mod merge;
mod openapi;
mod password;
mod policy;
mod probe;
mod quiet;
mod repeats;
mod request;
pub mod schema;
mod server;
mod service;
mod status;
mod strangers;
mod telemetry;
mod tls;
mod trace;

pub use convert::context;
pub use server::{Server, StartError};
pub use status::{Detail, Status, of as status};
pub use tls::check_tls;
pub use trace::check_traces;
