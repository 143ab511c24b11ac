//! The HTTP server: the callout pipeline (`callout.rs`, which reads like the list in ARCHITECTURE.md), health, the
//! description of itself, and the process's start and end.

mod answer;
mod attempt;
mod audit;
mod callout;
mod client;
mod convert;
mod health;
mod invoke;
mod listener;
mod openapi;
mod password;
mod request;
pub mod schema;
mod server;
mod service;
mod status;
mod telemetry;
mod tls;

pub use convert::context;
pub use server::{Server, StartError};
pub use tls::check_tls;
